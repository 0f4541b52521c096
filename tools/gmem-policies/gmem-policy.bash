# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# bash completion for gmem-policy

_gmem_policy()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local commands='list load replace unload status show check wait help' command='' policy='' i words
	local -A options=(
		[list]='--names' [status]='--names' [show]='' [check]='' [help]=''
		[load]='--cgroup --as --set --flags --dry-run --timeout'
		[replace]='--as --set --expect --dry-run --timeout'
		[unload]='--all --timeout' [wait]='--timeout'
	)

	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--cgroup | --as | --set | --flags | --timeout | --expect) ((i++)) ;;
		-*) ;;
		*)
			if [ -z "$command" ]; then command=${COMP_WORDS[i]}; else policy=${COMP_WORDS[i]}; fi
			;;
		esac
	done

	case $prev in
	--cgroup)
		mapfile -t COMPREPLY < <(compgen -d -- "${cur:-/sys/fs/cgroup/}")
		compopt -o filenames -o nospace
		return
		;;
	--flags)
		mapfile -t COMPREPLY < <(compgen -W 'named enforced shadow' -- "$cur")
		return
		;;
	--set)
		# The tunables of the policy that stands on the line, from the error that a wrong one gets
		words=$(gmem-policy load "$policy" --dry-run --set = 2>&1 |
			awk '/^  TUNABLE/ { on = 1; next } on && /^  [^ ]/ { print $1 "=" }')
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
		compopt -o nospace
		return
		;;
	--as | --expect | --timeout)
		return
		;;
	esac

	if [ -z "$command" ]; then
		mapfile -t COMPREPLY < <(compgen -W "$commands --json --verbose --help --version" -- "$cur")
		return
	fi
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "${options[$command]} --json --verbose --help" -- "$cur")
		return
	fi

	case $command in
	load | replace)
		mapfile -t COMPREPLY < <(compgen -W "$(gmem-policy list --names 2>/dev/null)" -- "$cur"
			compgen -f -X '!*.bpf.o' -- "$cur"
			compgen -d -S / -- "$cur")
		compopt -o nospace
		;;
	unload | show | wait)
		mapfile -t COMPREPLY < <(compgen -W "$(gmem-policy status --names 2>/dev/null)" -- "$cur")
		;;
	help)
		mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur")
		;;
	esac
}
complete -F _gmem_policy gmem-policy
