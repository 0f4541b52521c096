#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 600
# The N-th allocation fails, N = 1, 2, ..., of every operation on guest memory, without a policy and under those that
# allocate otherwise, and of loading, replacing and unloading policies: the right error or none, right bytes, no
# leak, and it works the second time (invariants 1 to 4).
. "$(dirname "$0")/policy.sh"

keep_failing_knobs
# vmalloc() and the per-CPU allocator tell of a failure with a call trace. What is worse has a line of its own.
allow_splat 'Call Trace:'

cgroup faultinj
group=$CGROUPS/faultinj

# Memory of files, and what the kernel keeps for them, but for a few slabs that are shared with others
nothing_charged() {
	awk '/^(unevictable|sec_pagetables) / { files += $2 } /^(slab_unreclaimable|percpu|vmalloc) / { kept += $2 }
		END { exit files > 0 || kept > 65536 }' "$group/memory.stat"
}

# operations WHAT [PATH]: all of them, or one
operations() {
	note "$1"
	in_cgroup "$group" gmem_faultinj "${@:2}" | tee "$TMP/sweep"
	[ "${PIPESTATUS[0]}" = 0 ] || die "gmem_faultinj, $1"
	wait_for 20 no_objects
	wait_for 20 nothing_charged
}

# swept PATH FAIL|SURVIVE: that many allocations were made to fail, and the operation failed, or did not
swept() {
	local how='[1-9][0-9]* fail it'
	if [ "$2" = SURVIVE ]; then how='[1-9][0-9]* do not'; fi
	assert_ge "$(grep -cE " $1 .* $how" "$TMP/sweep")" 1 "'$1' with failing allocations ($2)"
}

operations 'no policy'
for path in create bind unbind fallocate 'guest fault' prefault 'convert to shared' mbind; do swept "$path" FAIL; done
swept 'host fault' SURVIVE

load huge --set min_mb=0
operations 'under huge'
for path in 'punch in a block' 'punch over the bounds of two' fallocate 'guest fault'; do swept "$path" SURVIVE; done
unload huge

load prealloc --set background=false --set at_create=true
operations 'under prealloc, at create'
swept create SURVIVE
replace prealloc --set background=false --set max_mb=1
operations 'under prealloc, when it is bound' bind
swept bind SURVIVE
replace prealloc --set background=false --set at_bind=false
operations 'under prealloc, when it is converted' convert
swept 'convert to private' SURVIVE
unload prealloc

load scrub
operations 'under scrub'
unload scrub

sum() { js "[.pools[].$1] | add"; }

load prezero --set recycle=true --set pool_small_mb=32 --set pool_large_mb=64
full 32 64
operations 'under prezero, which recycles'
assert_ge "$(sum taken)" 1 'folios that came from pools'
assert_ge "$(sum recycled)" 1 'folios that were recycled'
unload prezero
load boot --set pool_small_mb=16 --set pool_large_mb=64
full 16 64
taken=$(sum taken)
operations 'under boot'
assert_ge $(($(sum taken) - taken)) 1 'folios that came from pools'
unload boot
wait_for 20 pools_are "$NONE"
none_lost

load count --flags named
operations 'with a policy that is named' --policy count create
swept create FAIL
unload count

# ---- Workers ----

# What is done in the background finds no page at all, and later does
fail=/sys/kernel/debug/fail_page_alloc
mark_workers() {
	local pid
	# Number 2 is what makes new ones, which inherit it.
	for pid in 2 $(pgrep '^kworker/u|^gmem_pool/'); do echo "$1" >"/proc/$pid/make-it-fail" || :; done 2>/dev/null
}
mark_workers 1
echo Y >$fail/task-filter
echo -1 >$fail/times
cleanup "echo 0 >$fail/probability; echo N >$fail/task-filter; mark_workers 0"

note 'workers that populate'
load prealloc --set at_create=true
vm_new w
echo 100 >$fail/probability
vm w 'create 4M'
wait_for 20 idle w
fdinfo_is w resident=0 prealloc='0 of 1024'
echo 0 >$fail/probability
vm w 'bind 1 4G 0 4M; convert private 4G 4M; gfill 4G 4M 3; gcheck 4G 4M 3'
vm_end w
unload prealloc

note 'threads that fill pools'
max=/sys/module/gmem_pool/parameters/max_percent
percent=$(<$max)
cleanup "echo $percent >$max"
filled=$(sum filled)
# Not before everything else that loading wants of workers is done
echo 0 >$max
load prezero --set pool_small_mb=4 --set pool_large_mb=8
sleep 1
echo 100 >$fail/probability
echo "$percent" >$max
wait_for 10 pools_are '.high > 0'
sleep 1
pools_are '.ready + .dirty == 0' || die "there is something in pools: $(js .pools)"
assert_eq "$(sum filled)" "$filled" 'folios that were allocated for pools'
vm_new p
vm p 'create 4M; bind 1 4G 0 4M; convert private 4G 4M; gcheck 4G 4M 0; gfill 4G 4M 5; gcheck 4G 4M 5'
fdinfo_is p zeroed-pool=0
assert_ge "$(fdinfo p pool-misses)" 1 'misses of empty pools'
echo 0 >$fail/probability
# They try again after a while
full 4 8
vm p 'punch 0 4M; gcheck 4G 4M 0'
fdinfo_is p zeroed-pool=$((4 * M))
vm_end p
unload prezero
wait_for 20 pools_are "$NONE"

note 'workers that rebuild'
load huge_adaptive --set min_mb=0 --set quiet_ms=100 --set often=1 --set busy_order=0
vm_new w
vm w "create 4M; bind 1 4G 0 4M; convert private 4G 4M; gfill 4G 4M 8; convert shared $((4 * G + M)) 64K; punch 1M 64K"
echo 100 >$fail/probability
vm w "convert private $((4 * G + M)) 64K"
wait_for 20 fdinfo_at_least w rebuilds-failed 1
fdinfo_is w rebuilds=0
echo 0 >$fail/probability
vm w "gcheck 4G 1M 8; gcheck $((4 * G + M)) 64K 0; convert shared $((4 * G + M)) 4K; convert private $((4 * G + M)) 4K"
wait_for 20 fdinfo_at_least w rebuilds 1
vm w "gcheck 4G 1M 8; gcheck $((4 * G + M)) 64K 0; gcheck $((4 * G + M + 64 * K)) $((3 * M - 64 * K)) 8"
vm_end w
unload huge_adaptive

note 'workers whose allocations fail now and then'
slab=/sys/kernel/debug/failslab
cleanup "echo 0 >$slab/probability; echo N >$slab/task-filter"
echo Y >$slab/task-filter
echo -1 >$slab/times
echo 25 >$slab/probability
load chaos --set nodes="$(find /sys/devices/system/node -maxdepth 1 -name 'node[0-9]*' | wc -l)"
echo 25 >$fail/probability
gmem_fuzz --no-failing --ops $((8000 / ${TIME_SCALE:-1})) --leak-bound 160M
echo 0 >$slab/probability
echo 0 >$fail/probability
assert_ge "$(pol chaos '.counters[] | select(.name == "rebuilt").value')" 1 'decisions to rebuild'
unload chaos

# ---- Policies ----

# sweep CALL WELL COMMAND...: all allocations of CALLs fail, one in each run of COMMAND, which says so with status 1
# unless nothing is lost by it. WELL checks that what is there is whole, and brings back what was there before.
sweep() {
	local call=$1 well=$2 n rc out failed=0
	shift 2
	for ((n = 1; ; n++)); do
		rc=0
		out=$(gmem_failcmd $n "$call" -- "$@" 2>&1) || rc=$?
		if [[ $out == *'gmem_failcmd: there was none' ]]; then break; fi
		assert_match "$out" 'gmem_failcmd: it failed' "allocation $n of $call of '$*'"
		if [ $rc != 0 ]; then
			failed=$((failed + 1))
			assert_eq "$rc" 1 "status of '$*' when allocation $n of $call fails: $out"
			assert_match "$out" 'gmem-policy: .*: .' 'what it says'
		fi
		$well
	done
	assert_eq "$rc" 0 "status of '$*' when nothing fails: $out"
	note "$call of '$*': $((n - 1)) allocations: $failed fail it"
	assert_ge $n 2 "allocations of $call of '$*'"
}

vm_new a
vm a 'create 4M; bind 1 4G 0 4M; convert private 4G 4M; gfill 4G 4M 7'

# Loaded and pinned, also if it could not be shown then; or not at all.
loaded_or_not() {
	if [ -e "$PINS/huge" ]; then
		policy_becomes a huge global
		unload huge
	fi
	policy_becomes a builtin builtin
	assert_eq "$(js '.policies | length')" 0 'policies'
}
for call in map_update_elem link_create obj_pin; do
	sweep $call loaded_or_not gmem-policy load huge
	unload huge
done

load huge
still_huge() {
	policy_becomes a huge global
	assert_eq "$(pol huge .state)" active 'the policy that was there'
}
for call in map_update_elem link_update; do sweep $call still_huge gmem-policy replace huge; done

# Detached, though its pin may have stayed, which the next load takes.
detached() {
	policy_becomes a builtin builtin
	load huge
	policy_becomes a huge global
}
sweep unlink detached gmem-policy unload huge
load huge
sweep iter_create true gmem-policy status
vm a 'gcheck 4G 4M 7; punch 1M 8K'
vm_end a
unload huge

wait_for 20 nothing_there
splat_end
kvm_reload
