# page.sh - for tests of what is shown to people: commands on a page, and what they print.  Read
# after shell.sh.
#
#   ```c        with a first line "/* NAME.c ..." is the file NAME.c
#   ```ini      with a first line "# plugins.conf" is that file; parloop must take it
#   ```console  "$ " begins a command, which a backslash at its end continues; the lines after
#               it are its output, in which "..." stands for anything, and by itself on a
#               line for any number of lines
here=$PWD
parts() { # parts PAGE: its blocks, into files in $work, and the list of commands
	awk -v dir="$work" '
	/^```/ && inside { inside = 0; next }
	/^```(c|ini|console)$/ { inside = 1; kind = substr($0, 4); first = 1; next }
	!inside { next }
	first {
		first = 0
		file = ""
		if (kind == "c" && $1 == "/*" && $2 ~ /\.c$/)
			file = dir "/" $2
		if (kind == "ini" && $2 == "plugins.conf")
			file = dir "/page.conf"
		if (file != "")
			printf "" > file
	}
	kind != "console" { if (file != "") print > file; next }
	/^\$ / {
		n++
		printf "" > (dir "/" n ".expected")
		print substr($0, 3) > (dir "/" n ".command")
		goes_on = /\\$/
		next
	}
	goes_on { print > (dir "/" n ".command"); goes_on = /\\$/; next }
	{ print > (dir "/" n ".expected") }' "$1"
}

# The lines of the second file are those of the first, whose "..." stand for anything.
prints() { # prints EXPECTED GOT
	awk '
	function pattern(line) {
		gsub(/[][\\.^$*+?(){}|\/]/, "\\\\&", line)
		gsub(/\\\.\\\.\\\./, ".*", line)
		return "^" line "$"
	}
	FNR == NR { want[++n] = $0; next }
	BEGIN { at = 1 }
	{
		if (want[at] == "...") {
			if (at < n && $0 ~ pattern(want[at + 1]))
				at += 2
			next
		}
		if (at > n || $0 !~ pattern(want[at])) {
			print "line " FNR " is \"" $0 "\", the page says \"" want[at] "\""
			bad = 1
			exit
		}
		at++
	}
	END {
		while (want[at] == "...")
			at++
		if (!bad && at <= n)
			print "the page goes on: \"" want[at] "\""
		exit bad || at <= n
	}' "$1" "$2"
}

types() { # types N
	(
		cd "$work" || exit 1
		cc() {
			command $CC $SANFLAGS "$@"
		}
		(eval "$(cat "$1.command")") >"$1.got" 2>&1 </dev/null
		status=$?
		cat "$1.got"
		prints "$1.expected" "$1.got" && { [ "$status" -eq 0 ] || [ -s "$1.expected" ]; }
	)
}

# A folder that looks as a checkout does; its plugins/ is a second plugin folder, so that
# nothing is dropped into the real one.
begin_page() {
	rm -rf "$work"/* && mkdir "$work/plugins"
	for link in include core tests Makefile; do
		ln -s "$here/$link" "$work/$link"
	done
	case $O in
	/*) ln -s "$O" "$work/build" ;;
	*) ln -s "$here/$O" "$work/build" ;;
	esac
	printf '[parloop]\nplugin_dir = %s\n' "$work/plugins" >"$work/plugins.conf"
	export PARLOOP_CONF="$work/plugins.conf"
}

# Types all commands of a page but those of which this very test is a part.
type_page() { # type_page NAME
	n=1
	while [ -f "$work/$n.command" ]; do
		command=$(cat "$work/$n.command")
		case $command in
		make* | sudo* | git*) ;;
		*) expect "$1: $command" types "$n" ;;
		esac
		n=$((n + 1))
	done
}
