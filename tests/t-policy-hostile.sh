#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 300
# A policy can decide what it likes: every field, absurd. Nonsense is clamped and counted, and the 64th of it
# trips the policy, with a reason that status, show, wait and the trace tell; the VM goes on under the next one,
# and no byte of it is ever wrong (invariants 1 to 4). What is merely large is fitted, and trips nothing.
. "$(dirname "$0")/policy.sh"

trace_begin policy_trip
load count
cgroup evil
load hostile --cgroup evil
vm_new a "$CGROUPS/evil"
vm a 'create 8M; bind 1 4G 0 8M; convert private 4G 8M; gfill 4G 1M 5'
policy_is a hostile cgroup

declare -A act=(
	[alloc]="punch 2M 2M; gcheck $((4 * G + 2 * M)) 400K 0"
	[convert]="repeat 50 convert shared $((4 * G + 4 * M)) 4K, convert private $((4 * G + 4 * M)) 4K"
	[free]='repeat 100 punch 6M 4K'
)
act[prealloc]=${act[alloc]}

# nonsense OP REASON VAR=VALUE...: the op is called 100 times
nonsense() {
	local op=$1 reason=$2 clamped set=() v
	shift 2
	for v; do set+=(--set "$v"); done
	note "$op: $*"
	replace hostile "${set[@]}"
	policy_becomes a hostile cgroup
	clamped=$(fdinfo a clamped)
	: >"$TRACE/trace"
	vm a "${act[$op]}"
	assert_eq $(($(fdinfo a clamped) - clamped)) 64 "answers that were clamped ($op: $*)"
	policy_becomes a count global
	assert_eq "$(pol hostile '"\(.state) \(.clamps) \(.objects) \(.trip_reason)"')" "tripped 64 0 $reason" "$op: $*"
	assert_traced "policy_trip: .*name=hostile .*reason=\"$reason\"" 1 'trips in the trace'
	assert_le "$(fdinfo a resident)" $((8 * M)) 'resident'
}

nonsense alloc 'alloc: order above that of a PMD' order=10
assert_match "$(gmem-policy status)" 'hostile: tripped.*alloc: order above that of a PMD' 'status'
assert_match "$(gmem-policy show hostile)" 'alloc: order above that of a PMD' 'show'
assert_match "$(gmem-policy show "${VM_PID[a]}")" 'hostile +not taken: tripped, alloc: order' 'show of the process'
assert_fails 3 gmem-policy wait hostile
assert_match "$output" 'alloc: order above that of a PMD' 'wait'
assert_match "$(dmesg)" 'gmem_policy: policy hostile disabled: alloc: order above that of a PMD' 'the log'
nonsense alloc 'alloc: order above that of a PMD' order=0xffffffff
nonsense alloc 'alloc: no such node' node=1000
nonsense alloc 'alloc: no such node' node=-2
nonsense alloc 'alloc: unknown zero mode' zero=3
nonsense alloc 'alloc: unknown zero mode' zero=0xffffffff order=0 node=0
nonsense prealloc 'prealloc: unknown how' how=3
nonsense prealloc 'prealloc: impossible range' how=1 from_set=true from=0xffffffffffffffff count=1
nonsense prealloc 'prealloc: impossible range' how=2 count=0xffffffffffffffff
nonsense prealloc 'prealloc: unknown map' map=2 how=1 count=1
nonsense convert 'convert: unknown how' convert_how=0xffffffff
nonsense convert 'convert: unknown rebuild' rebuild=2
nonsense convert 'convert: unknown mute' mute=2
nonsense free 'free: unknown mode' mode=0x80000000

# harmless FITTED VAR=VALUE...: all ops are called, nothing is clamped
harmless() {
	local least=$1 fitted clamped set=() v
	shift
	for v; do set+=(--set "$v"); done
	note "harmless: $*"
	replace hostile "${set[@]}"
	policy_becomes a hostile cgroup
	fitted=$(fdinfo a fitted) clamped=$(fdinfo a clamped)
	vm a "${act[alloc]}; ${act[convert]}; ${act[free]}"
	assert_ge $(($(fdinfo a fitted) - fitted)) "$least" 'answers that were fitted'
	assert_eq "$(fdinfo a clamped)" "$clamped" 'answers that were clamped'
	policy_is a hostile cgroup
}

harmless 0 order=9
harmless 100 max_holes=0xffffffff rebuild=1
harmless 0 cookie_set=true cookie=0xffffffffffffffff
harmless 100 quiet_ms=0xffffffff
harmless 50 convert_how=2
harmless 25 how=2 map=1 count=4
harmless 0 how=1 map=1 count=512
harmless 1 how=1 map=1 count=513
harmless 100 how=2 from_set=true from=2000 count=0x7ffffffffffff
replace hostile --set init_ret=-4096
scopes=$(fdinfo a policy)
assert_eq "$scopes" count 'the policy of an object that was declined with nonsense'
replace hostile --set init_ret=0x7fffffff
assert_eq "$(fdinfo a policy)" count 'the policy of an object that was declined with nonsense'
vm a 'gcheck 4G 1M 5'
vm_end a
unload hostile

note 'random answers, for as long as it takes VMs to convert and verify'
workload() { # ARG...: beside the test, until it ends by itself
	(
		close_vms
		exec gmem_workload "$@" --ready-file "$TMP/ready" -j
	) >"$TMP/work" 2>&1 &
	work=$!
	cleanup "kill $work 2>/dev/null; wait $work 2>/dev/null"
	wait_for 60 grep -qs running "$TMP/ready"
}
verified() {
	wait $work || die "the workload: $(cat "$TMP/work")"
	jq -e '.total.errors == 0 and .total.conversions == .total.requested and .total.verified_bytes > 1000000' \
		"$TMP/work" >/dev/null || die "the workload: $(cat "$TMP/work")"
	note "$(jq -c '.total | {vms, vcpus, conversions, verified_bytes, errors, ms}' "$TMP/work")"
	rm -f "$TMP/ready"
}
: >"$TRACE/trace"
load hostile --as wild --flags enforced --cgroup / --set random=true
workload -v 2 -c 2 -p random -s 256K -n 40
trips=0
while kill -0 $work 2>/dev/null && [ $trips -lt 20 ]; do
	if [ "$(pol wild .state)" = tripped ]; then
		trips=$((trips + 1))
		replace hostile --as wild --set random=true
	fi
done
verified
assert_ge $trips 1 'trips, replaced each time'
assert_ge "$(traced 'policy_trip: .*name=wild ')" $trips 'trips in the trace'
unload wild

note 'random answers that are all carried out'
# shellcheck disable=SC2012 # the kernel names them: node0, node1
load chaos --flags enforced --cgroup / --set nodes="$(ls -d /sys/devices/system/node/node[0-9]* | wc -l)"
workload -v 2 -c 2 -p random -s 256K -n 40 --seed 2
verified
workload -v 2 -p bounce -n 40 -e both --seed 3
verified
assert_eq "$(pol chaos '"\(.state) \(.clamps)"')" 'active 0' 'chaos'
assert_ge "$(pol chaos '.counters[] | select(.name == "populated").value')" 10 'decisions to populate'
wait_for 20 no_objects
