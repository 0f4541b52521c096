#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 200
# gmem-trace against bad input, without privileges, and on a kernel that has only a part of what it wants: each ends
# with the exit status of the man page and says what is wrong, or what cannot be shown, and shows the rest.
. "$(dirname "$0")/gmem-trace.sh"

# fails STATUS CODE REGEX ARG...: as text, and as JSON
fails() {
	local status=$1 code=$2 regex=$3 rc=0
	shift 3
	gmem-trace "$@" >"$TMP/out" 2>"$TMP/err" || rc=$?
	assert_eq "$rc" "$status" "exit status of: gmem-trace $*: $(cat "$TMP/out" "$TMP/err")"
	assert_eq "$(cat "$TMP/out")" '' "stdout of: gmem-trace $*"
	assert_match "$(cat "$TMP/err")" "$regex" "gmem-trace $*"
	rc=0
	gmem-trace -j "$@" >"$TMP/out" 2>"$TMP/err" || rc=$?
	assert_eq "$rc" "$status" "exit status of: gmem-trace -j $*"
	assert_eq "$(jq -r '"\(.schema) \(.error.code)"' "$TMP/out")" "1 $code" "gmem-trace -j $*: $(cat "$TMP/out")"
	assert_match "$(jq -r '.error.message' "$TMP/out")" . "the message of: gmem-trace -j $*"
}

note usage
assert_fails 2 gmem-trace
assert_match "$output" '^usage: gmem-trace'
fails 2 USAGE "no command 'conv'" conv
fails 2 USAGE "no command 'conv'" help conv
fails 2 USAGE 'no option --bogus' conversions --bogus
fails 2 USAGE 'no option -x' -x faults
fails 2 USAGE 'takes a value' faults --vm
fails 2 USAGE 'conversions has no option --slower' conversions --slower 1ms
fails 2 USAGE 'events has no option --once' events --once
fails 2 USAGE 'interval 0: it is a number of seconds' faults 0
fails 2 USAGE 'interval x: it is a number of seconds' faults x
fails 2 USAGE 'interval nan' faults nan
fails 2 USAGE 'interval -1: |no option -1' faults -1
fails 2 USAGE 'count 0: it is a number' faults 1 0
fails 2 USAGE 'count 1x: it is a number' faults 1 1x
fails 2 USAGE 'count 99999999999999999999' faults 1 99999999999999999999
fails 2 USAGE 'usage: gmem-trace faults' faults 1 2 3
fails 2 USAGE 'usage: gmem-trace events' events 1
fails 2 USAGE 'makes no sense' faults --once 1 2
fails 2 USAGE 'number of seconds' faults --duration soon
fails 2 USAGE 'id of a process' faults -p x
fails 2 USAGE 'id of a process' faults -p 0
fails 2 USAGE 'a time with its unit' events --slower 5
fails 2 USAGE 'number of events' events --number 0
fails 2 USAGE 'there is no such event' events --event fault,bogus
fails 2 USAGE 'it is a list of events' events --event ''
fails 2 USAGE 'it is ADDRESS:PORT' export --listen 127.0.0.1
fails 2 USAGE 'it is ADDRESS:PORT' export --listen :10920
fails 2 USAGE 'it is ADDRESS:PORT' export --listen 127.0.0.1:65536
fails 2 USAGE 'number from 1 to 512' export --max-vms 0
fails 2 USAGE 'number from 1 to 512' export --max-vms 513
fails 2 USAGE 'export has no option --once' export --once
fails 2 USAGE 'faults has no option --textfile' faults --textfile /tmp/x
fails 1 EINVAL '--listen nosuch.invalid:1: ' export --listen nosuch.invalid:1
fails 1 EADDRNOTAVAIL 'cannot listen on 192.0.2.1:1: Cannot assign' export --listen 192.0.2.1:1
fails 1 ENOENT '/nosuch/x.prom cannot be written: No such file' export --textfile /nosuch/x.prom
fails 1 ESRCH 'no process 4000000' faults -p 4000000
fails 1 ENOENT 'no cgroup /nosuch' faults --cgroup /nosuch
fails 1 ENOENT 'no cgroup /cgroup.procs' faults --cgroup /sys/fs/cgroup/cgroup.procs
fails 2 USAGE 'usage: gmem-trace record' record
fails 2 USAGE 'usage: gmem-trace report' report a b
fails 2 USAGE 'report has no option --duration' report --duration 1 a
fails 1 EINVAL 'nosuch.*No such file' report "$TMP/nosuch"
fails 1 EINVAL 'no recording' report "$0"
: >"$TMP/empty"
fails 1 EINVAL 'shorter than the header' report "$TMP/empty"
printf 'GMTRACE\n\2\0\0\0 \0\0\0%16s' '' >"$TMP/later"
fails 1 EINVAL 'its version is none' report "$TMP/later"
printf 'GMTRACE\n\1\0\0\0 \0\0\0%16s\377\377\377' '' >"$TMP/damaged"
fails 1 EINVAL 'record 1 is damaged' report "$TMP/damaged"
mkfifo "$TMP/pipe"
head -c 64 "$TMP/damaged" >"$TMP/pipe" &
assert_fails 1 gmem-trace report "$TMP/pipe"
assert_match "$output" 'it is read twice' 'a pipe'
assert_fails 1 gmem-trace record --duration 1 /nosuch/file
assert_match "$output" '/nosuch/file cannot be written: No such file' 'a directory that is not there'
assert_fails 1 gmem-trace record --duration 5 /dev/full
assert_match "$output" '/dev/full cannot be written: No space left' 'a full disk'
gmem-trace record --duration 1 "$TMP/short" 2>/dev/null
for format in '--output -' --text --svg --perfetto; do
	rc=0
	# shellcheck disable=SC2086 # an option and its value
	gmem-trace report $format "$TMP/short" >/dev/full 2>"$TMP/err" || rc=$?
	assert_eq "$rc" 1 "exit status of report $format, on a full disk"
	assert_match "$(cat "$TMP/err")" 'cannot be written' "report $format, on a full disk"
done
# Whoever made the file may have called a VM anything.
printf 'GMTRACE\n\1\0\0\0 \0\0\0%16s\013\100\007a\033]0;b\007c\n' '' >"$TMP/names"
# an event of it, so that there is something to tell
printf '\007\005\002\007\007\0\001\002' >>"$TMP/names"
assert_eq "$(gmem-trace report --text "$TMP/names" 2>/dev/null | grep -c 'VM a?]0;b?c? (7)')" 1 'control characters in a name'
for c in conversions faults zero alloc policy memory events record report export; do
	assert_match "$(gmem-trace help)" $'\n'"  $c +[a-z]" "help has $c"
	assert_match "$(gmem-trace help "$c")" "^usage: gmem-trace $c" "help $c"
	assert_eq "$(gmem-trace "$c" --help)" "$(gmem-trace help "$c")" "$c --help"
done
assert_match "$(gmem-trace --help)" 'Examples:' 'help'
assert_eq "$(gmem-trace -j --version | jq .schema)" 1 'version'

note 'without privileges'
nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
for c in conversions faults memory events export; do
	assert_fails 1 nobody gmem-trace "$c"
	assert_match "$output" 'Operation not permitted.*Run it as root: it needs CAP_BPF, CAP_PERFMON' "$c"
done
assert_eq "$(nobody gmem-trace -j zero | jq -r .error.code)" EPERM 'as JSON'
nobody gmem-trace help >/dev/null

note 'without KVM'
vendor=$(lsmod | awk '/^kvm_(amd|intel) / { print $1 }')
cleanup "modprobe '$vendor'"
modprobe -r "$vendor"
gmem-trace conversions -j --once >"$TMP/out" 2>"$TMP/err"
assert_eq "$(jq -c '[.vms, (.cannot_show | length > 0)]' "$TMP/out")" '[[],true]' 'conversions without KVM'
assert_match "$(cat "$TMP/err")" 'does not tell: how long KVM takes.*the way back.*KVM, which is not loaded' 'what it says'
gmem-trace faults --once >/dev/null
assert_match "$(gmem-trace memory)" 'No VM here' 'memory'
modprobe "$vendor"

note 'what it costs to trace'
trace_start events
# The process, and its maps in the kernel
rss=$(awk '/^VmHWM/ { print $2 }' "/proc/$TRACER/status")
maps=$(bpftool -j map | jq --argjson pid "$TRACER" '[.[] | select(.pids // [] | map(.pid) | index($pid)) | .bytes_memlock] | add')
assert_ge "$maps" 1000000 'bytes of its maps'
assert_le "$((rss * 1024 + maps))" $((64 * M)) 'memory of the tracer'
trace_stop
