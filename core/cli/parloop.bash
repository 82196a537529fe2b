# bash completion of parloop: commands, options, names of backends, and their options with the
# values that their notes allow.  Nothing of a plugin is run for it.

# Of "parloop show NAME": KEY TYPE RANGE, a line each.
_parloop_options() {
	"${words[0]}" show ${config:+--config "$config"} "$1" 2>/dev/null </dev/null | tr -d , | awk '
		/^options:/ { inside = 1 }
		inside && /^  [a-z]/ { key = $1 }
		inside && /^    type / { print key, $2, $3 }'
}

_parloop_commands() {
	"${words[0]}" --help 2>/dev/null </dev/null | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p'
}

_parloop_backends() {
	"${words[0]}" backends ${config:+--config "$config"} 2>/dev/null </dev/null |
		awk -F '\t' '!/^#/ && NF > 1 { print $1 }
			sub(/^# nested: /, "") { gsub(/, /, "\n"); print }'
}

# The options that a command lists in its help.
_parloop_flags() {
	"${words[0]}" "$1" --help 2>/dev/null </dev/null |
		grep -oE -- '(^|[ ,])(--?[a-z0-9][a-z0-9-]*)' | tr -d ' ,' | sort -u
}

_parloop() {
	local current previous words cword config= backend= command= i key
	COMPREPLY=()
	# A word is what stands between blanks: "=" and ":" are of it.
	read -ra words <<<"${COMP_LINE:0:COMP_POINT}"
	[[ ${COMP_LINE:0:COMP_POINT} == *[[:blank:]] ]] && words+=("")
	cword=$((${#words[@]} - 1))
	current=${words[cword]}
	previous=${words[cword - 1]}
	command=${words[1]}
	for ((i = 2; i < cword; i++)); do
		case ${words[i]} in
		--config) config=${words[i + 1]} ;;
		--config=*) config=${words[i]#*=} ;;
		-b | --backend) backend=${words[i + 1]} ;;
		--backend=*) backend=${words[i]#*=} ;;
		esac
	done
	if ((cword == 1)); then
		COMPREPLY=($(compgen -W "$(_parloop_commands) --help --version" -- "$current"))
		return
	fi
	case $previous in
	-b | --backend)
		COMPREPLY=($(compgen -W "$(_parloop_backends)" -- "$current"))
		return
		;;
	--config)
		compopt -o filenames
		COMPREPLY=($(compgen -f -- "$current"))
		return
		;;
	-o | --option)
		[[ -n $backend ]] || return
		if [[ $current == *=* ]]; then
			key=${current%%=*}
			COMPREPLY=($(compgen -W "$(_parloop_options "$backend" |
				awk -v key="$key" '$1 == key && ($2 == "choice" || $2 == "bool") {
					gsub(/\|/, " ", $3); print $3 }')" -- "${current#*=}"))
		else
			compopt -o nospace
			COMPREPLY=($(compgen -S = -W "$(_parloop_options "$backend" |
				awk '{ print $1 }')" -- "$current"))
		fi
		return
		;;
	esac
	if [[ $current == -* ]]; then
		COMPREPLY=($(compgen -W "$(_parloop_flags "$command")" -- "$current"))
	elif [[ $command == show ]]; then
		COMPREPLY=($(compgen -W "$(_parloop_backends)" -- "$current"))
	elif [[ $command == help ]]; then
		COMPREPLY=($(compgen -W "$(_parloop_commands)" -- "$current"))
	elif [[ $command == map && $current == *.so:* ]]; then
		return
	else
		compopt -o filenames
		COMPREPLY=($(compgen -f -- "$current"))
	fi
}
complete -F _parloop parloop
