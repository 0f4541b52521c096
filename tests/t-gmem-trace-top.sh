#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 600
# gmem-trace top in a terminal (tmux): the VM that converts comes first, with its phase, its ranges and its vCPUs; counts
# are those of the workload's own log; each key does what it is for; it lives in any size; and however it ends, the
# terminal is as it was.
. "$(dirname "$0")/gmem-trace.sh"

command -v tmux >/dev/null || die 'the image has no tmux'
cd "$TMP"

# ---- The terminal ----

tm() { tmux -S "$TMP/tmux" -f /dev/null "$@"; }
screen() { tm capture-pane -p; }
state() { tm display-message -p '#{alternate_on} #{cursor_flag} #{keypad_flag}'; }
keys() { tm send-keys "$@"; }
answer() { keys -l "$1" && keys -l "$2" && keys Enter; }
# What the shell of the terminal is told
type_line() { keys -l "$1" && keys Enter; }
is_on_screen() { grep -qE -- "$1" <<<"$(screen)"; }
is_not_on_screen() { ! is_on_screen "$1"; }
has_text() { grep -qF -- "$1" <<<"$(screen)"; }
shows() { wait_for 20 is_on_screen "$1"; }
hides() { wait_for 20 is_not_on_screen "$1"; }

cleanup 'tm kill-server 2>/dev/null'
cleanup 'echo "The screen at the end:"; screen; cat status said 2>/dev/null'
# The shell must not edit lines: it would change the terminal between two commands.
tm new-session -d -x 110 -y 40 "exec env 'PS1=$ ' bash --norc --noprofile --noediting"
shows '^\$ *$'

top_pid() { pgrep -x gmem-trace; }

# top ARG...: begin
top() {
	type_line 'clear; stty -g >before'
	wait_for 10 test -s before
	before=$(state)
	rm -f after status
	type_line "gmem-trace top $*; echo \$? >status; stty -g >after"
}

is_up() {
	wait_for 60 is_on_screen '^gmem-trace top - '
	assert_eq "$(state | cut -c1)" 1 'the alternate screen is on'
}

# It has ended with 0, and the terminal is as it was.
gone() {
	wait_for 60 test -s after
	assert_eq "$(cat status)" 0 'exit status of top'
	assert_eq "$(cat after)" "$(cat before)" 'settings of the terminal, after and before'
	assert_eq "$(state)" "$before" 'alternate screen, cursor and keypad, after and before'
	assert_no_match "$(screen)" 'these VMs'
	rm -f before after
}

# Rows of the table: PID NAME LOST/s UNIT CONV/s ...
row() { screen | sed -n "/^[> ] *$1 /{s/^>/ /p;q}"; }
line_of() { screen | sed -n "/^[> ] *$1 /{=;q}"; }
is_above() { [ "$(line_of "$1")" -lt "$(line_of "$2")" ]; }

note 'two VMs, of which one converts'
top 0.5
is_up
shows 'no VM has converted'
vm_new idle
vm idle 'create 2M; bind 1 4G 0 2M; convert private 4G 1M; convert shared 4G 1M'
idle=${VM_PID[idle]}
shows "^> *$idle gmem_vm"

# load STATE ARG...: run gmem_workload until it is there
load() {
	local state=$1
	shift
	rm -f ready
	(
		close_vms
		exec gmem_workload --json --ready-file "$TMP/ready" "$@" >"$TMP/log" 2>"$TMP/log.err"
	) &
	load=$!
	cleanup "kill -9 $load 2>/dev/null; wait $load 2>/dev/null"
	wait_for 60 grep -q "$state" ready
	busy=$(pgrep -P "$load")
}

load running -c 4 -e both -t 1000
is_first() { [ -n "$(row "$busy")" ] && is_above "$busy" "$idle" && [ "$(row "$busy" | awk '{ print $5 }')" != 0.0 ]; }
wait_for 20 is_first
time='[0-9.]+ [num]?s'
is_whole() {
	screen >seen
	grep -qE "^>? *$busy +gmem_workload +$time +[0-9.]+ +(exit|think|lock|zap|store|punch|back) [0-9]+% +$time +[0-9.]+ +$time" seen &&
		grep -qE "^gmem_workload \($busy\): [1-9][0-9]* conversions" seen &&
		grep -qE "^ lock +[0-9]+% +$time +$time" seen && grep -qE "^ total +$time +$time" seen &&
		grep -qE " (4K|[0-9]+[KM]-<[0-9]+[KM]) +[0-9.]+ +$time +$time +$time" seen &&
		grep -qE " 3-4 +[0-9.]+ +$time +$time +$time" seen
}
wait_for 20 is_whole

note 'the same in 80x24'
tm resize-window -x 80 -y 24
wait_for 20 is_whole
for what in PHASE FLOST/s first_fault 'range ' 'at once' 'lost: 0 events' "$idle"; do
	grep -qF "$what" seen || die "80x24 has no '$what': $(cat seen)"
done
kill -TERM "$load"
wait "$load" || :
hides "^[> ] *$busy "

note 'counts, against the log of the workload'
load held -c 2 -e both -n 30 --hold 1000
answer o name
shows ' by name;'
keys Home
shows "^gmem_vm \($idle\): 2 conversions, 2 unasked; 0 faults; 0 now"
keys Down
wait_for 20 has_text "$(jq -r '.vms[0] | "gmem_workload (\(.pid)): \(.conversions) conversions, \(.by_vmm) unasked; \(.faults) faults; 0 now"' log)"
sum() { jq -r ".vms[0] | \"these VMs: \(.conversions + $1) conversions, \(.by_vmm + $1) unasked, 0 partial; 0 requests unanswered\"" log; }
has_text "$(sum 2)" || die "no '$(sum 2)'"
has_text 'lost: 0 events dropped, 0 of VMs too many, 0 of series too many, 0 of threads' || die 'losses'

note keys
is_above "$idle" "$busy" || die 'gmem_vm comes before gmem_workload'
keys -l R
shows ' by name reversed;'
is_above "$busy" "$idle" || die 'reversed, gmem_workload comes before gmem_vm'
keys -l '<'
keys -l R
shows ' by pid;'
[ "$busy" -gt "$idle" ] && first=$busy last=$idle || first=$idle last=$busy
is_above "$first" "$last" || die 'the larger pid comes first'
keys -l '>'
shows ' by name;'
answer o nonsense
shows "'nonsense' is not a column"
answer d 0.3
shows 'every 0.3 s'
answer s 0
shows "'0' is not a number of seconds"
keys -l s
shows 'seconds between updates: _'
keys Escape
hides 'seconds between updates'
for what in 'to shared' 'to private' 'both ways'; do
	keys -l t
	shows "VMs, $what,"
done
keys -l h
shows 'time that vCPUs lose'
keys -l x
shows '^gmem-trace top - '
keys -l z
answer p "$idle"
hides "^[> ] *$busy "
shows ' 1 VMs, '
answer p 0
shows "^[> ] *$busy "
# Figures come when they are due, or are asked for.
answer d 1000
shows 'every 1000 s'
vm idle 'convert private 4G 64K'
sleep 1
has_text "$(sum 2)" || die "figures came early: no '$(sum 2)'"
keys -l ' '
wait_for 20 has_text "$(sum 3)"
answer d 0.3
shows 'every 0.3 s'

note 'small screens, and large ones'
for size in '40 10' '20 5' '10 3' '2 1' '200 60'; do
	tm resize-window -x "${size% *}" -y "${size#* }"
	sleep 0.5
	top_pid >/dev/null || die "top died in $size: $(cat status)"
done
tm resize-window -x 80 -y 24
shows '^ first_fault'
shows 'h: help$'

note 'a VM that ends goes'
vm_end idle
hides "^[> ] *$idle "

note 'ways to end'
keys -l q
gone
top -p "$busy" --duration 2 0.2
gone
top 0.2 3
gone
for signal in INT TERM HUP QUIT; do
	top 0.5
	is_up
	kill -s "$signal" "$(top_pid)"
	gone
done
top 0.5
is_up
keys C-c
gone
top 0.5
is_up
keys C-z
shows 'Stopped'
gone_status=$(cat status)
assert_eq "$gone_status" 148 'the shell says that it is stopped'
echo 0 >status
gone
type_line fg
is_up
keys -l q
hides 'these VMs'
type_line 'stty -g >after'
wait_for 10 test -s after
assert_eq "$(state | cut -c1)" 0 'the alternate screen is off'

note 'what it costs'
top 0.5
is_up
work -v 32 -c 1 -n 4
sleep 2
pid=$(top_pid)
# The process, and its maps in the kernel
rss=$(awk '/^VmHWM/ { print $2 }' "/proc/$pid/status")
maps=$(bpftool -j map | jq --argjson pid "$pid" '[.[] | select(.pids // [] | map(.pid) | index($pid)) | .bytes_memlock] | add')
note "32 VMs: $rss KiB, and $((maps / 1024)) KiB of maps"
assert_ge "$maps" 1000000 'bytes of its maps'
# With as many VMs as it traces, of three ranges and three crowds each way and four kinds of faults (KiB each)
assert_le "$((rss * 1024 + maps + (224 - 32) * (48 + 12 * 3 + 4 * 2 * 3) * K))" $((64 * M)) 'memory of top'
keys -l q
gone

note 'where there is no terminal'
assert_fails 1 gmem-trace top
assert_match "$output" 'top needs a terminal.*gmem-trace conversions 1'
assert_fails 2 gmem-trace top -j
assert_match "$output" 'conversions -j'
assert_fails 2 gmem-trace top --once
rm -f status
type_line 'TERM=nosuch gmem-trace top 2>said; echo $? >status'
wait_for 30 test -s status
assert_eq "$(cat status)" 1 'status with an unknown terminal'
assert_match "$(cat said)" "does not know the terminal 'nosuch'"
