# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# bash completion for gmem-trace

_gmem_trace()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local commands='conversions top faults zero alloc policy memory events record report export help' command='' i
	local common='--pid --vm --cgroup --duration --timestamp --json --verbose --help'
	local -A options=(
		[conversions]="$common --once" [top]="$common" [faults]="$common --once" [zero]="$common --once"
		[alloc]="$common --once" [policy]="$common --once" [memory]="$common --once"
		[events]="$common --event --slower --number" [record]="$common"
		[report]='--pid --vm --output --text --svg --perfetto'
		[export]="$common --listen --textfile --max-vms" [help]=''
	)
	local events='create release bind unbind alloc zero free fault prealloc fallocate punch_hole invalidate error split collapse
		convert_begin convert_end convert_request policy_attach policy_detach policy_trip policy_decision
		pool conversion first_fault'

	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-p | --pid | --vm | --cgroup | --duration | --event | --slower | --number | --output | --listen | --textfile | --max-vms)
			((i++))
			;;
		-*) ;;
		*) command=${command:-${COMP_WORDS[i]}} ;;
		esac
	done

	case $prev in
	--cgroup)
		mapfile -t COMPREPLY < <(compgen -d -- "${cur:-/sys/fs/cgroup/}")
		compopt -o filenames -o nospace
		return
		;;
	--event)
		# the last one of a list
		mapfile -t COMPREPLY < <(compgen -P "${cur%"${cur##*,}"}" -W "$events" -- "${cur##*,}")
		return
		;;
	-p | --pid)
		mapfile -t COMPREPLY < <(compgen -W "$(gmem-trace memory --json 2>/dev/null |
			sed 's/"pid":/\n/g' | sed -n '2,$s/^\([0-9]*\).*/\1/p')" -- "$cur")
		return
		;;
	--output | --textfile)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		compopt -o filenames
		return
		;;
	--vm | --duration | --slower | --number | --listen | --max-vms)
		return
		;;
	esac

	if [ -z "$command" ]; then
		mapfile -t COMPREPLY < <(compgen -W "$commands --json --verbose --help --version" -- "$cur")
	elif [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "${options[$command]}" -- "$cur")
	elif [ "$command" = help ]; then
		mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur")
	elif [ "$command" = record ] || [ "$command" = report ]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		compopt -o filenames
	fi
}
complete -F _gmem_trace gmem-trace
