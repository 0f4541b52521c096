#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 600
# Attach, replace and detach at any time (invariant 4): while VMs convert memory and check every byte of it, one
# policy is replaced 100 times, its shadow 100 times, and a third is loaded and unloaded all the while. The
# policies themselves keep book (test/census.bpf.c): an exit for each init, no op outside of the two, no cookie
# but one's own. In the end nothing of them is left in the kernel, and kvm.ko can be unloaded.
. "$(dirname "$0")/policy.sh"

ROUNDS=100
cleanup 'rm -f /sys/fs/bpf/census_counts /sys/fs/bpf/census_members'
before=$(bpf_census)

cgroup busy
load census --set instance=1
load census --as beside --flags shadow --set instance=1001
link=$(bpftool -j link list | jq -c '[.[] | select(.type == "struct_ops") | .id]')

(
	close_vms
	echo "$BASHPID" >"$CGROUPS/busy/cgroup.procs"
	exec nice -n 10 gmem_workload -v 2 -c 1 -p random -s 256K -t 1000 --ready-file "$TMP/ready" -j
) >"$TMP/work" 2>&1 &
work=$!
cleanup "kill $work 2>/dev/null; wait $work 2>/dev/null"
wait_for 60 grep -qs running "$TMP/ready"

modes=(give_back scrub) hows=(none now background)
again() { # NAME FIRST
	local i
	for ((i = 1; i < ROUNDS + 1; i++)); do
		replace census --as "$1" --set instance=$(($2 + i)) --set zero_early=$((i & 1)) \
			--set mode="${modes[i / 2 % 2]}" --set how="${hows[i % 3]}"
	done
}
in_and_out() {
	local i=0
	while [ ! -e "$TMP/stop" ]; do
		load census --as third --cgroup busy --set instance=$((2001 + i)) --set zero_early=true
		unload third
		i=$((i + 1))
		sleep 1
	done
	echo $i >"$TMP/loads"
}
quietly() { "$@" >"$TMP/quietly.$BASHPID" 2>&1 || die "'$*' ended with $?: $(cat "$TMP/quietly.$BASHPID")"; }

again census 1 &
one=$!
again beside 1001 &
two=$!
in_and_out &
three=$!
wait $one || die 'replacing the effective policy'
wait $two || die 'replacing the shadow'
touch "$TMP/stop"
wait $three || die 'loading and unloading'
note "$((2 * ROUNDS)) times replaced, $(<"$TMP/loads") times loaded and unloaded"

assert_eq "$(bpftool -j link list | jq -c '[.[] | select(.type == "struct_ops") | .id]')" "$link" 'the links are the same'
assert_eq "$(js '.policies | map("\(.name) \(.state) \(.clamps)") | sort | join(", ")')" \
	'beside active 0, census active 0' 'what is loaded'
assert_eq "$(pol census '.tunables[] | select(.name == "instance").value')" $((1 + ROUNDS)) 'the last one'

kill -0 $work 2>/dev/null || die "the workload ended early: $(cat "$TMP/work")"
kill -TERM $work
wait $work || die "the workload: $(cat "$TMP/work")"
jq -e '.total | .errors == 0 and .conversions == .requested and .conversions > 100' "$TMP/work" >/dev/null || die "the workload: $(cat "$TMP/work")"
note "$(jq -c .total "$TMP/work")"
wait_for 20 no_objects
unload --all

# The book
book=$(bpftool -j map dump pinned /sys/fs/bpf/census_counts | jq -c 'map(.formatted.value)')
note "inits, exits, calls; errors: $book"
read -r inits exits calls errors < <(jq -r '"\(.[0]) \(.[1]) \(.[2]) \(.[3:] | add)"' <<<"$book")
assert_eq "$exits" "$inits" 'an exit for each init'
assert_eq "$errors" 0 "inits twice, exits alone, calls for objects that were not there, foreign cookies: $book"
# Two objects, each under every instance of three policies at most, and at least under some of each
assert_ge "$inits" $((2 * ROUNDS)) 'inits'
assert_ge "$calls" 100 'calls'
assert_eq "$(bpftool -j map dump pinned /sys/fs/bpf/census_members | jq length)" 0 'objects that were never left'

# What is left
rm -f /sys/fs/bpf/census_counts /sys/fs/bpf/census_members
assert_eq "$(ls "$PINS")" '' 'pins'
wait_for 20 no_policies
same() { [ "$(bpf_census)" = "$before" ]; }
wait_for 20 same
kvm_reload

# Loaded while kvm.ko is not there, a policy is for the VMs that come
vendor=$(lsmod | awk '/^kvm_(amd|intel) / { print $1 }')
modprobe -r "$vendor"
load count
modprobe "$vendor"
vm_new a
vm a 'create 1M'
policy_is a count global
vm_end a
