# Who may include whom.  The core's modules stand in layers, and each sees only what is
# below it; a plugin sees <parloop/backend.h>; the command sees what anybody sees.
. tests/shell.sh

# From the bottom up.  Among the words, on the ground and in the ring a module may include
# those that stand before it in its line; the stages do not see each other.  conf_check is a
# part of conf, and stands where conf does; wire_batch and wire_answer are parts of wire.
cat >"$work/layers" <<'END'
words  forked peak error log nearest cgroup cores cpu inner_threads budget options arena cursor slots context redo events call ticket batch batcher
words  pre_dispatch progress worker_env outcome abi
ground elf_file note paths trust probe scan module wire shared ring channel_memory last_words runner fork_server serve channel remote conf settings loader lookup retriever
stages registry dispatcher results loop
ring   listing watch nesting instance engine scope hints parallel closing turn started iter
END

# Prints every include that goes up or sideways.
layers_hold() { # layers_hold FILE ...
	awk '
	function part_of(name) {
		while (!(name in place) && sub(/_[^_]*$/, "", name))
			;
		return name
	}
	FNR == NR {
		if ($1 != kind[layers])
			kind[++layers] = $1
		for (i = 2; i <= NF; i++) {
			layer[$i] = layers
			place[$i] = ++places
		}
		next
	}
	FNR == 1 {
		name = FILENAME
		gsub(/^.*\/|\.[ch]$/, "", name)
		me = part_of(name)
		if (!(me in place)) {
			print FILENAME ": give it a layer in tests/test_layers.sh"
			bad = 1
		}
	}
	/^#[ \t]*include[ \t]*"/ {
		split($0, part, "\"")
		other = part[2]
		sub(/\.h$/, "", other)
		other = part_of(other)
		if (other == me)
			next
		if (!(other in place) || place[other] > place[me] ||
		    (layer[other] == layer[me] && kind[layer[me]] == "stages")) {
			print FILENAME " includes " part[2]
			bad = 1
		}
	}
	END { exit bad }' "$work/layers" "$@"
}

refused() { # refused COMMAND ...
	! "$@"
}

# Prints includes other than those: REGEX is what follows the word include.
includes_only() { # includes_only REGEX FILE ...
	only=$1
	shift
	grep -HnE '^#[[:space:]]*include' "$@" >"$work/includes"
	! grep -vE "include[[:space:]]*($only)" "$work/includes"
}

expect "no module of the core includes one above or beside it" layers_hold core/*.c core/*.h
for wrong in results:dispatcher error:loop loop:parallel log:batcher conf:nothing unheard-of:error \
	conf_check:registry; do
	printf '#include "%s.h"\n' "${wrong#*:}" >"$work/${wrong%:*}.c"
	expect "${wrong%:*} including ${wrong#*:} would be seen" refused layers_hold "$work/${wrong%:*}.c"
done

clean=$(ls core/dispatcher.[ch] core/batcher.[ch] core/results.[ch])
expect "dispatcher, batcher and results touch no clock, descriptor, thread or loop" \
	refused grep -nE 'include *<(uv|time|sys/time|unistd|poll|pthread|threads)\.h>' $clean

system='<[a-z_]+(/[a-z_]+)?\.h>'
expect "the command includes what anybody can" \
	includes_only "<parloop/(error|task|parloop|worker)\.h>|$system|\"(\.\./check/)?[a-z_]+\.h\"" core/cli/*.[ch]
expect "what it checks plugins with includes what a plugin sees as well" \
	includes_only "<parloop/[a-z]+\.h>|$system|\"[a-z_]+\.h\"" core/check/*.[ch]
expect "and its tasks what a task does" \
	includes_only "<parloop/(task|parloop)\.h>|$system|\"\.\./tasks\.h\"" core/check/tasks/*.c
expect "the worker includes <parloop/worker.h>, and nothing else of ours" \
	includes_only "<parloop/worker\.h>|$system" core/worker/*.[ch]
plugins=$(ls plugins/*.c plugins/*/*.[ch])
if grep -nE 'include *<parloop/' $plugins | grep -vE '<parloop/(backend|error)\.h>'; then
	found=true
else
	found=false
fi
expect "plugins include nothing of ours but <parloop/backend.h>" refused $found
expect "and otherwise only what the system has, and what lies beside them" \
	includes_only "$system|\"[a-z_]+\.h\"" $plugins
summary
