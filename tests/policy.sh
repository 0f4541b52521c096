# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# For tests of policies:  . "$(dirname "$0")/policy.sh"   (which has lib.sh in it)
#
# A test starts with no policy, no guest memory and nothing of BPF that another test left, and ends so.
#   VMs      vm_new NAME [CGROUP]; vm NAME 'COMMANDS of gmem_vm'; fdinfo NAME KEY; vm_end, vm_kill NAME
#   policies shipped_policies; load, replace, unload; counters by counted; status by js, pol and pool
#   events   trace_begin EVENT...; traced REGEX
# shellcheck source=SCRIPTDIR/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PATH=$PATH:$SELFTESTS
# Objects that no operator has, beside the policies that are shipped
TESTBPF=/opt/gmem/lib/gmem/test
export GMEM_POLICY_PATH=/opt/gmem/lib/gmem/policies:$TESTBPF
PINS=/sys/fs/bpf/gmem
K=1024 M=$((1024 * 1024)) G=$((1024 * 1024 * 1024))
export PATH TESTBPF PINS K M G

TMP=$(mktemp -d /tmp/gmem.XXXXXX)
cleanup "rm -rf '$TMP'"
mkfifo "$TMP/never"
# Whether there are large folios is not up to what other tests left in the page cache: pools are filled without reclaim
# and compaction, and may wait long for some.
echo 1 >/proc/sys/vm/drop_caches
echo 1 >/proc/sys/vm/compact_memory
# For who wonders why there were none
echo "gmem-test: free memory by size: $(sed -E 's/^Node ([0-9]), zone +/\1 /' /proc/buddyinfo | tr -s ' \n' ' ;')" >/dev/kmsg
# A VM that died is found out by whoever talks to it.
trap '' PIPE

# ---- VMs: processes of gmem_vm that are told what to do, one command after the other ----

declare -A VM_PID=() VM_IN=() VM_OUT=() VM_FD=()
reply='' # what the last command said, after "ok NAME" or "err ERRNO ENAME NAME"

# What runs beside the test must not hold the pipes to the VMs: they end when the last writer is gone.
close_vms() {
	local fd
	for fd in "${VM_IN[@]}" "${VM_OUT[@]}"; do exec {fd}>&-; done
}

# vm_new NAME [CGROUP]
vm_new() {
	local in out
	mkfifo "$TMP/$1.in" "$TMP/$1.out"
	(
		close_vms
		exec gmem_vm <"$TMP/$1.in" >"$TMP/$1.out" 2>"$TMP/$1.err"
	) &
	VM_PID[$1]=$!
	cleanup "kill -9 $! 2>/dev/null; wait $! 2>/dev/null"
	exec {in}>"$TMP/$1.in" {out}<"$TMP/$1.out"
	VM_IN[$1]=$in VM_OUT[$1]=$out
	rm -f "$TMP/$1.in" "$TMP/$1.out"
	if [ -n "${2:-}" ]; then echo "${VM_PID[$1]}" >"$2/cgroup.procs"; fi
}

# What a VM is doing that does not answer: its threads, how long they have run, where they wait.
_vm_stuck() {
	local t i
	echo "VM $1 (${VM_PID[$1]}) is stuck: $(cat "$TMP/$1.err")"
	for i in 1 2 3; do
		for t in "/proc/${VM_PID[$1]}"/task/*; do
			echo "$(cat "$t/comm") $(cut -d' ' -f3,14,15 "$t/stat") syscall $(cat "$t/syscall")"
			cat "$t/stack"
		done
		sleep 0.5
	done
} 2>&1

# One command; its status is 0 for "ok". The line is in $line.
_vm_do() {
	printf '%s\n' "$2" >&"${VM_IN[$1]}" || die "VM $1 is gone: $(cat "$TMP/$1.err")"
	while :; do
		read -r -t $((60 * ${TIME_SCALE:-1})) line <&"${VM_OUT[$1]}" ||
			die "VM $1: no answer to '$2': $(_vm_stuck "$1")"
		case $line in
		'ok '*)
			reply=${line#ok } reply=${reply#* }
			if [[ $line =~ ^'ok create '.*\ fd=([0-9]+) ]]; then VM_FD[$1]=${BASH_REMATCH[1]}; fi
			return 0
			;;
		'err '*)
			reply=${line#err * * }
			return 1
			;;
		esac
	done
}

# vm NAME 'COMMAND[; COMMAND]...': each must succeed
vm() {
	local cmds cmd line
	IFS=';' read -ra cmds <<<"$2"
	for cmd in "${cmds[@]}"; do
		_vm_do "$1" "$cmd" || die "VM $1: '$cmd': $line"
	done
}

# vm_fails NAME ENAME COMMAND
vm_fails() {
	local line
	if _vm_do "$1" "$3"; then die "VM $1: '$3' should have failed with $2: $line"; fi
	[[ $line == "err "*" $2 "* ]] || die "VM $1: '$3' should have failed with $2: $line"
}

# vm_end NAME: it exits by itself
vm_end() {
	# shellcheck disable=SC1083,SC2086,SC2093 # {array[index]} is bash's, and this exec only closes
	exec {VM_IN[$1]}>&- {VM_OUT[$1]}<&-
	unset "VM_IN[$1]" "VM_OUT[$1]"
	wait "${VM_PID[$1]}" 2>/dev/null || :
}

vm_kill() {
	kill -9 "${VM_PID[$1]}"
	vm_end "$1"
}

# fdinfo NAME KEY: of /proc/PID/fdinfo of the file that it created last, without "gmem-"
fdinfo() {
	local key value
	while IFS=$'\t' read -r key value; do
		if [ "$key" = "gmem-$2:" ]; then
			echo "$value"
			return
		fi
	done < <(cat "/proc/${VM_PID[$1]}/fdinfo/${VM_FD[$1]}") # in one go: bash reads, and seeks back, line by line
	echo none
}

# fdinfo_is NAME KEY=VALUE...
fdinfo_is() {
	local name=$1 pair
	shift
	for pair; do
		assert_eq "$(fdinfo "$name" "${pair%%=*}")" "${pair#*=}" "fdinfo of VM $name: gmem-${pair%%=*}"
	done
}

# ---- Policies ----

# The names of those that are shipped, one a line
shipped_policies() { basename -as .bpf.o /opt/gmem/lib/gmem/policies/*.bpf.o; }

# A command that takes for ever is asked what it is doing, and killed.
QUIETLY_SECONDS=120
quietly() {
	local pid dog rc=0
	"$@" >"$TMP/quietly" 2>&1 &
	pid=$!
	# nothing comes by that pipe: a sleep that dies at once when it is not wanted any more
	{ read -r -t $((QUIETLY_SECONDS * ${TIME_SCALE:-1})) <>"$TMP/never" || {
		echo "'$*' takes longer than $((QUIETLY_SECONDS * ${TIME_SCALE:-1})) s"
		"$(dirname "${BASH_SOURCE[0]}")/stuck" "$pid"
		kill -9 "$pid"
	}; } >&2 &
	dog=$!
	wait "$pid" || rc=$?
	kill "$dog" 2>/dev/null || :
	wait "$dog" 2>/dev/null || :
	[ $rc = 0 ] || die "'$*' ended with $rc: $(cat "$TMP/quietly")"
}
load() { quietly gmem-policy load "$@"; }
replace() { quietly gmem-policy replace "$@"; }
unload() { quietly gmem-policy unload "$@"; }

# js FILTER: of "gmem-policy status -j"
js() { gmem-policy status -j | jq -r "$1"; }
# pol NAME FILTER: of that policy
pol() { gmem-policy show -j "$1" | jq -r ".policy | $2"; }
# obj NAME FILTER: of the guest memory of VM NAME, as the iterator tells it
obj() { gmem-policy show -j "${VM_PID[$1]}" | jq -r ".objects[-1] | $2"; }

# pool NODE ORDER FILTER: of that pool
pool() { js ".pools[] | select(.node == $1 and .order == $2) | ${3#| }"; }
# pools_are CONDITION: there are some, and for all of them it is true
pools_are() { [ "$(js ".pools | length > 0 and all($1)")" = true ]; }
# full SMALL_MB LARGE_MB [SECONDS]: until each node's pools are of that size, which is a moment after the policy came or
# went, and full
full() { wait_for "${3:-60}" pools_are ".ready == .high and .high == (if .order == 0 then $1 else $2 end) * $M"; }
# make test FULL=1: what that says is kept, for the name is taken here
FULL_RUN=${FULL_RUN-${FULL:-}}
FULL='.ready == .high'
NONE='.ready + .dirty + .high == 0'
export FULL NONE FULL_RUN
# Pools may lack memory, or whole blocks of it
in_vain() {
	js .pools | jq -c .
	grep -hE '^(MemFree|Cached|SUnreclaim|KReclaimable|pageoutrun|slabs_scanned|compact_(daemon_wake|fail)) ?' /proc/{meminfo,vmstat}
	cat /proc/buddyinfo
}

# What came into pools, that are empty now, has left them
none_lost() {
	assert_eq "$(js '[.pools[] | .filled + .recycled + .returned] | add')" "$(js '[.pools[] | .taken + .given_back] | add')" \
		'folios that came into pools, and that left them'
}

# MiB of free memory, with what CPUs have in their lists of free pages, which may be much
free_mb() {
	awk '/^ +nr_free_pages / { pages += $2 } $1 == "count:" { pages += $2 } END { print int(pages / 256) }' /proc/zoneinfo
}

# event NAME: how often it happened, by /proc/vmstat
event() { awk -v what="$1" '$1 == what { print $2 }' /proc/vmstat; }

# knob FILE VALUE: as long as the test runs
knob() {
	cleanup "echo '$(<"$1")' >'$1'"
	echo "$2" >"$1"
}

# leave_mb MB: all but so much free memory, on all nodes, is in $TMP/fill/zeroes, and cannot be reclaimed, for want of swap.
# Sets $filled_mb, a multiple of 4.
leave_mb() {
	mkdir "$TMP/fill"
	mount -t tmpfs -o size=100%,mpol=interleave fill "$TMP/fill"
	cleanup "umount -l '$TMP/fill'"
	filled_mb=$((($(free_mb) - $1) & ~3))
	dd if=/dev/zero of="$TMP/fill/zeroes" bs=1M count=$filled_mb 2>/dev/null
}

# policy_is VM POLICY SCOPE: in fdinfo
policy_is() { fdinfo_is "$1" "policy=$2" "scope=$3"; }

# For wait_for
_policy_is() { [ "$(fdinfo "$1" policy)/$(fdinfo "$1" scope)" = "$2/$3" ]; }
fdinfo_at_least() { [ "$(fdinfo "$1" "$2")" -ge "$3" ]; }
counter_is() { [ "$(pol "$1" ".counters[] | select(.name == \"$2\").value")" = "$3" ]; }
# No background work is left for VM NAME
idle() { [ "$(obj "$1" .ahead.background_total)" = 0 ]; }

policy_becomes() { wait_for 20 _policy_is "$@"; }

declare -A _base=()

# counted POLICY 'COUNTER=N ...' WHAT: by how much its own counters grew since they were last looked at. All
# that are not named must not have moved. With no more than POLICY, only look.
counted() {
	local name value delta=
	gmem-policy show -j "$1" | jq -r '.policy.counters[] | "\(.name) \(.value)"' >"$TMP/counters"
	[ -s "$TMP/counters" ] || die "policy $1 has no counters"
	while read -r name value; do
		if [ "$value" != "${_base[$1.$name]:-0}" ]; then
			delta+=" $name=$((value - ${_base[$1.$name]:-0}))"
		fi
		_base[$1.$name]=$value
	done <"$TMP/counters"
	[ $# = 1 ] || assert_eq "${delta# }" "$2" "calls of policy $1: $3"
}

# ---- Events ----

TRACE=

# trace_begin EVENT...: of kvm_gmem, into a buffer of our own
trace_begin() {
	local event
	if [ -z "$TRACE" ]; then
		TRACE=/sys/kernel/tracing/instances/t$$
		mkdir "$TRACE"
		cleanup "echo 0 >'$TRACE/events/enable'; rmdir '$TRACE'"
		echo 8192 >"$TRACE/buffer_size_kb"
	fi
	echo 0 >"$TRACE/events/enable"
	for event; do echo 1 >"$TRACE/events/kvm_gmem/kvm_gmem_$event/enable"; done
	echo >"$TRACE/trace"
}

# traced REGEX: number of events that are like that
traced() { grep -cE -- "$1" "$TRACE/trace" || :; }
traced_at_least() { [ "$(traced "$1")" -ge "$2" ]; }
# assert_traced REGEX N WHAT
assert_traced() { assert_eq "$(traced "$1")" "$2" "${3:-events} ($1)"; }

# ---- Before and after ----

no_objects() { [ "$(js '.objects | length')" = 0 ]; }
no_policies() { [ "$(js '.policies | length')" = 0 ]; }

# What BPF has in the kernel; what bpftool itself needs to tell comes and goes.
bpf_census() {
	local what
	for what in map prog link; do
		bpftool -j "$what" list | jq -r --arg what "$what" '.[] |
			select((.pids // [] | map(.comm) | index("bpftool")) | not) |
			select(.name // "" | test("^(libbpf_|pid_iter|det_)") | not) |
			"\($what) \(.id) \(.type) \(.name // "")"'
	done
}

CGROUPS=/sys/fs/cgroup

# cgroup PATH [FILE=VALUE]...: below the mount; removed at the end. Only those at the top have controllers.
cgroup() {
	local dir=$CGROUPS/$1 file
	mkdir "$dir"
	cleanup "rm_cgroup '$dir'"
	shift
	for file; do echo "${file#*=}" >"$dir/${file%%=*}"; done
}

rm_cgroup() {
	local i
	for ((i = 0; i < 100; i++)); do
		if rmdir "$1" 2>/dev/null || [ ! -d "$1" ]; then return; fi
		sleep 0.1
	done
	echo "$1 cannot be removed: $(cat "$1/cgroup.procs")" >&2
}

# kvm.ko goes, as nothing holds it. It is there again at the end of the test.
kvm_unload() {
	VENDOR=$(lsmod | awk '/^kvm_(amd|intel) / { print $1 }')
	cleanup "modprobe '$VENDOR'"
	wait_for 30 modprobe -r "$VENDOR"
	assert_no_match "$(lsmod)" $'(^|\n)kvm' "modules that are still there"
}

kvm_reload() {
	kvm_unload
	modprobe "$VENDOR"
}

nothing_there() { [ "$(js '"\(.policies | length) \(.objects | length)"')" = '0 0' ]; }
wait_for 20 nothing_there
cleanup 'gmem-policy unload --all >/dev/null'
