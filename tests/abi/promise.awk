# promise.awk - headers as they were released, turned into C that compiles with those of today only
# if they keep what was promised: no struct, constant, function or macro is gone or another, and what
# has a size has only grown at its end.
#
#	gcc -E -Itests/abi/1.0 ... | awk -v was=tests/abi/1.0/ -f promise.awk - tests/abi/1.0/parloop/*.h
#
# The first input is those headers, preprocessed; of that, what comes from other files is left out.

function trimmed(text) {
	gsub(/[ \t\n]+/, " ", text)
	sub(/^ /, "", text)
	sub(/ $/, "", text)
	return text
}

function is(text) {
	print "_Static_assert(" text ", \"is as it was\");"
}

function constants(body,    n, i, list, part) {
	n = split(body, list, ",")
	for (i = 1; i <= n; i++) {
		list[i] = trimmed(list[i])
		if (list[i] == "")
			continue
		if (split(list[i], part, " = ") != 2)
			print "#error " list[i] ": a public constant has a value that is written down"
		is(part[1] " == (" part[2] ")")
	}
}

# "void (*name)(...)", "char text[8]", "int32_t in, out"
function names_of(member, names,    n, i) {
	if (match(member, /\(\*[a-z_0-9]+\)\(/)) {
		names[1] = substr(member, RSTART + 2, RLENGTH - 4)
		return 1
	}
	n = split(member, names, ",")
	for (i = 1; i <= n; i++) {
		sub(/(\[.*\])?$/, "", names[i])
		sub(/.*[^a-z_0-9]/, "", names[i])
	}
	return n
}

function struct(type, body,    n, i, k, n_names, members, names) {
	print "struct was_" type " {" body "};"
	n = split(body, members, ";")
	for (i = 1; i < n; i++) {
		n_names = names_of(trimmed(members[i]), names)
		for (k = 1; k <= n_names; k++)
			print "MEMBER(" type ", " names[k] ")"
	}
	print (trimmed(members[1]) == "uint32_t size" ? "MAY_GROW(" : "IS_FIXED(") type ")"
}

# Of a type "typedef x (*name)(...)" or "typedef x name", or of a function.
function name_of(text,    names) {
	if (text ~ /^typedef /) {
		names_of(text, names)
		return names[1]
	}
	match(text, /[ *]par[a-z_]*[0-9]?\(/)
	return substr(text, RSTART + 1, RLENGTH - 2)
}

function declaration(text,    at, type, body) {
	text = trimmed(text)
	if (text == "")
		return
	at = index(text, "{")
	if (at == 0) {
		# What is not there any more could be declared anew.
		if (text ~ /^typedef /)
			print "extern " name_of(text) " *a_" name_of(text) ";"
		else if (index(text, "("))
			print "extern __typeof__(" name_of(text) ") " name_of(text) ";"
		print text ";"
		return
	}
	body = substr(text, at + 1)
	sub(/}[^}]*$/, "", body)
	if (text ~ /^enum {/) {
		constants(body)
		return
	}
	type = substr(text, 1, at - 1)
	sub(/^(typedef )?struct /, "", type)
	struct(trimmed(type), body)
}

BEGIN {
	print "#include <parloop/backend.h>"
	print "#include <parloop/parloop.h>"
	print "#include <parloop/task.h>"
	print "#include <parloop/worker.h>"
	print "#define MEMBER(type, name) \\"
	print "_Static_assert(offsetof(struct type, name) == offsetof(struct was_##type, name) && \\"
	print "__builtin_types_compatible_p(__typeof__(((struct type *)0)->name), \\"
	print "__typeof__(((struct was_##type *)0)->name)), \"is as it was\");"
	print "#define MAY_GROW(type) \\"
	print "_Static_assert(sizeof(struct type) >= sizeof(struct was_##type), \"is as it was\");"
	print "#define IS_FIXED(type) \\"
	print "_Static_assert(sizeof(struct type) == sizeof(struct was_##type), \"is as it was\");"
}

# --- what the preprocessor left of them ---------------------------------------------------------

FNR == 1 {
	files++
}

files == 1 && /^# [0-9]+ "/ {
	split($0, part, "\"")
	is_ours = index(part[2], was) == 1
	next
}

files == 1 && is_ours && !/^#/ {
	for (i = 1; i <= length($0); i++) {
		c = substr($0, i, 1)
		depth += (c == "{") - (c == "}")
		if (c == ";" && depth == 0) {
			declaration(text)
			text = ""
			continue
		}
		text = text c
		if (c == "}" && depth == 0 && text ~ /static inline/)
			text = ""
	}
	text = text "\n"
}

# --- and what it would not show: macros -----------------------------------------------------------

files > 1 && /^#define PAR_[A-Z]/ && !/^#define PAR__/ {
	name = $2
	sub(/\(.*/, "", name)
	print "#ifndef " name
	print "#error " name " is gone"
	print "#endif"
	value = $0
	sub(/^#define [^ \t]+[ \t]*/, "", value)
	gsub(/[ \t]*\/\*.*/, "", value)
	if (index($2, "(") > 0 || name == "PAR_VERSION_STRING")
		next
	if (name == "PAR_ABI_MINOR")
		is(name " >= " value)
	else if (value ~ /^"/)
		is("__builtin_strcmp(" name ", " value ") == 0")
	else if (value ~ /^\(?-?[0-9]+\)?$/ || value ~ /^INT32_MIN$/)
		is(name " == " value)
}

END {
	if (files < 2 || depth != 0 || trimmed(text) != "")
		print "#error promise.awk has not understood: " trimmed(text)
}
