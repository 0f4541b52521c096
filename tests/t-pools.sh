#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 240
# Pools of zeroed memory hold what policies want: filled to the high watermark on each node, at the rate, and then left
# alone; filled again below the low one; never above max_percent; shared by policies, and gone with the last that
# wanted them. Memory comes from the pool of the right node, and an empty one falls back. Numbers agree everywhere.
. "$(dirname "$0")/policy.sh"

[ -d /sys/devices/system/node/node1 ] || skip 'this machine has one NUMA node'

# How often the threads of the pools ran
switches() {
	local pid
	for pid in $(pgrep '^gmem_pool/'); do
		echo "$pid $(sed -n 's/^\(non\)\?voluntary_ctxt_switches:\t//p' "/proc/$pid/status" | tr '\n' ' ')"
	done
}
threads() { pgrep -c '^gmem_pool/' || :; }
# node_vm NAME NODE: a VM that runs on a CPU of NODE
node_vm() {
	vm_new "$1"
	taskset -cp "$(<"/sys/devices/system/node/node$2/cpulist")" "${VM_PID[$1]}" >/dev/null
}
sum() { js "[.pools[].$1] | add"; }

MAX=/sys/module/gmem_pool/parameters/max_percent
cleanup "echo $(<$MAX) >$MAX"
bytes_of() { # NODE PERCENT
	awk -v node="$1" -v percent="$2" '/^Node/ { here = $2 == node "," } here && $1 == "present" { pages += $2 }
		END { printf "%d\n", pages * 4096 * percent / 100 }' /proc/zoneinfo
}
bounded() { # PERCENT
	local node high
	for node in 0 1; do
		high=$(js "[.pools[] | select(.node == $node).high] | add")
		assert_le "$high" "$(bytes_of $node "$1")" "bytes in pools of node $node, with max_percent=$1"
		assert_ge "$high" $(($(bytes_of $node "$1") - 4 * K)) "bytes in pools of node $node, with max_percent=$1"
	done
}

note 'filled, and then left alone'
before=$(free_mb)
load prezero --set pool_large_mb=32 --set pool_small_mb=4
full 4 32
for node in 0 1; do
	assert_eq "$(pool $node 9 '| "\(.low) \(.high) \(.dirty)"')" "$((24 * M)) $((32 * M)) 0" "blocks of node $node"
	assert_eq "$(pool $node 0 '| "\(.low) \(.high) \(.dirty)"')" "$((3 * M)) $((4 * M)) 0" "pages of node $node"
done
assert_eq "$(threads)" 2 'threads'
idle=$(switches)
sleep 4
assert_eq "$(switches)" "$idle" 'switches of the threads while pools are full'
assert_ge "$(awk '/^KReclaimable:/ { print $2 }' /proc/meminfo)" $((72 * K)) 'KiB that can be reclaimed, with what is in pools'
assert_match "$(gmem-policy status)" 'node 1, 2 MiB +32 MiB +0 B +24 MiB - 32 MiB +idle +[0-9]+ ' 'status'

note 'memory comes from the pool of the right node'
trace_begin pool alloc
first=$(sum taken)
for node in 0 1; do
	here=$(pool $node 9 .taken) there=$(pool $((1 - node)) 9 .taken)
	node_vm n $node
	vm n 'create 4M; bind 1 4G 0 4M; convert private 4G 4M; gcheck 4G 4M 0'
	fdinfo_is n zeroed-pool=$((4 * M)) zeroed-alloc=0 zeroed-first-use=0 pool-misses=0 ready=$((4 * M))
	assert_eq "$(pool $node 9 .taken)" $((here + 2)) "blocks that a VM on node $node took there"
	assert_eq "$(pool $((1 - node)) 9 .taken)" "$there" "blocks that a VM on node $node took elsewhere"
	assert_traced "pool: node=$node order=9 action=take nr=512" 2 'takes'
	assert_traced "alloc: .* order=9 node=$node zero=pool" 2 'allocations'
	assert_eq "$(obj n '"\(.zeroed.pool) \(.pool_misses)"')" "$((4 * M)) 0" 'status -j'
	assert_match "$(gmem-policy status)" '4 MiB from pools, 0 misses' 'status'
	assert_match "$(gmem-policy show "${VM_PID[n]}")" 'pools +4 MiB taken, 0 folios were not there; 0 pages' 'show'
	vm_end n
done
# mbind() goes before where the VM runs
here=$(pool 0 9 .taken) there=$(pool 1 9 .taken)
node_vm n 0
vm n 'vmtype=default; create 4M mmap shared; mmap; mbind 0 4M 1; checkzero 0 4M; node 0'
assert_eq "${reply#* }" 'node=1' 'where mbind() wants it'
assert_eq "$(pool 0 9 .taken) $(pool 1 9 .taken)" "$here $((there + 2))" 'blocks taken, with mbind()'
vm_end n
# So does the cpuset
cgroup far cpuset.mems=1
here=$(pool 0 9 .taken) there=$(pool 1 9 .taken)
vm_new n "$CGROUPS/far"
taskset -cp "$(</sys/devices/system/node/node0/cpulist)" "${VM_PID[n]}" >/dev/null
vm n 'create 2M; bind 1 4G 0 2M; convert private 4G 2M; gcheck 4G 2M 0'
assert_eq "$(pool 0 9 .taken) $(pool 1 9 .taken)" "$here $((there + 1))" 'blocks taken, with cpuset.mems of another node'
vm_end n

note 'single pages, and no orders to decide'
replace prezero --set pool_large_mb=0 --set pool_small_mb=4 --set large=false
assert_eq "$(pol prezero '.flags | join(" ")')" '' 'flags with large=false'
full 4 0
assert_eq "$(pool 0 9 '.high')$(pool 1 9 .ready)" 00 'blocks, which nobody wants any more'
taken=$(pool 1 0 .taken)
node_vm n 1
vm n 'create 4M; bind 1 4G 0 4M; convert private 4G 4M; gcheck 4G 512K 0'
assert_eq $(($(pool 1 0 .taken) - taken)) 128 'pages taken'
fdinfo_is n zeroed-pool=$((512 * K)) folios-order-0=128 fitted=0
assert_eq "$(traced 'action=take')" $(($(sum taken) - first)) 'takes in the trace, and counted'
vm_end n

note 'watermarks'
replace prezero --set pool_large_mb=32 --set pool_low_percent=50 --set pool_small_mb=0
full 0 32
filled=$(pool 0 9 .filled) other=$(pool 1 9 .filled)
node_vm n 0
vm n 'create 32M; bind 1 4G 0 32M; convert private 4G 32M; gtouch 4G 16M 2M'
idle=$(switches)
sleep 2
assert_eq "$(switches)" "$idle" 'switches of the threads when no less than the low watermark is left'
assert_eq "$(pool 0 9 '| "\(.ready) \(.filled)"')" "$((16 * M)) $filled" 'at the low watermark'
vm n "gtouch $((4 * G + 16 * M)) 2M 2M"
wait_for 30 pools_are "$FULL"
assert_eq "$(pool 0 9 .filled) $(pool 1 9 .filled)" "$((filled + 9)) $other" 'filled again, below the low watermark'
vm_end n

note 'the last unload gives all back'
unload prezero
wait_for 20 pools_are "$NONE"
none_lost
assert_ge "$(free_mb)" $((before - 64)) 'MiB of free memory'
assert_no_match "$(gmem-policy status)" 'POOL' 'status'

note 'rate'
# What the threads have used, ns: exact, by the scheduler
cpu_ns() {
	local pid sum=0
	for pid in $(pgrep '^gmem_pool/'); do sum=$((sum + $(cut -d' ' -f1 "/proc/$pid/schedstat"))); done
	echo $sum
}
# The same bytes without a rate, to compare with
used=$(cpu_ns)
load prezero --set pool_large_mb=52 --set pool_small_mb=12
full 12 52
unlimited=$(($(cpu_ns) - used))
unload prezero
wait_for 20 pools_are "$NONE"

trace_begin pool
used=$(cpu_ns)
load prezero --set pool_large_mb=52 --set pool_small_mb=12 --set pool_rate_mb=8
full 12 52
limited=$(($(cpu_ns) - used))
assert_eq "$(pool 0 9 .rate_mib)" 8 'rate in status'
for node in 0 1; do
	# When each step ended, in ms, and how many pages it filled
	sed -nE "s/.* ([0-9]+)\.([0-9]{3})[0-9]*: kvm_gmem_pool: node=$node .* action=fill nr=([0-9]+) .*/\1\2 \3/p" "$TRACE/trace" >"$TMP/steps"
	read -r ms kib < <(awk 'NR == 1 { first = $1; next } { kib += $2 * 4; last = $1 } END { print last - first, kib }' "$TMP/steps")
	# What the faster quarter of them reached, in KiB/s: others may have had to wait for a CPU.
	quarter=$(awk 'NR > 1 { print int($2 * 4000 / ($1 > last ? $1 - last : 1)) } { last = $1 }' "$TMP/steps" |
		sort -rn | awk '{ rate[NR] = $1 } END { print rate[int(NR / 4) + 1] }')
	note "node $node: $kib KiB in $ms ms, $quarter KiB/s"
	assert_ge "$kib" $((61 * K)) 'KiB filled after the first step'
	# 10 percent, and one step
	assert_le "$kib" $((ms * 8192 * 11 / 10000 + 2048)) 'KiB filled, at most'
	assert_ge "$quarter" $((8192 * 9 / 10)) 'KiB/s in the faster quarter of the steps, at least'
done
note "CPU time of the threads: $((limited / 1000000)) ms, $((unlimited / 1000000)) ms without a rate"
assert_ge "$unlimited" 1000000 'ns of CPU time for 128 MiB'
# A thread that was busy while it waits would use 50 times as much; an emulator that does other things in between makes
# it some more.
assert_le "$limited" $((unlimited * 3)) 'ns of CPU time for the same bytes, with a rate'

note 'policies share: the most, and the fastest'
# Pools follow a moment after what policies want
pools_of_1() { [ "$(pool 1 0 .high) $(pool 1 9 '| "\(.high) \(.rate_mib)"')" = "$1" ]; }
replace prezero --set pool_large_mb=8 --set pool_small_mb=4 --set pool_rate_mb=2
wait_for 10 pools_of_1 "$((4 * M)) $((8 * M)) 2"
cgroup other
load prealloc --cgroup other --set pool_large_mb=16 --set pool_small_mb=1 --set pool_rate_mb=100
note 'the most of both'
wait_for 10 pools_of_1 "$((4 * M)) $((16 * M)) 100"
wait_for 30 pools_are "$FULL"
load zero_alloc --flags shadow
load want --as shadow --cgroup other --flags shadow --set pool_large_mb=64 --set pool_rate_mb=0
sleep 1
pools_of_1 "$((4 * M)) $((16 * M)) 100" || die "with a shadow that wants more: $(js .pools)"
unload prezero
note 'what the one that is left wants'
wait_for 10 pools_of_1 "$M $((16 * M)) 100"
unload prealloc
note 'a shadow has none'
wait_for 10 pools_are "$NONE"
unload --all

note 'a policy that is tripped has none'
load hostile --set order=10 --set pool_large_mb=8
wait_for 30 pools_are '.order == 0 or .ready == 8388608'
vm_new t
vm t 'create 1M; bind 1 4G 0 1M; convert private 4G 1M; gcheck 4G 1M 0'
assert_eq "$(pol hostile .state)" tripped 'the policy'
wait_for 30 pools_are "$NONE"
vm_end t
unload hostile

note 'at run time'
load want --set small_mb=2 --set large_mb=4
sleep 1
pools_are "$NONE" || die "wanted before it was said: $(js .pools)"
vm_new w
vm w 'create 4M'
wait_for 30 pools_are "$FULL and .high == if .order == 0 then $((2 * M)) else $((4 * M)) end"
vm_end w
wait_for 30 pools_are "$NONE"
counter_is want asked 2
counter_is want refused 0
# An update begins with what its members say
replace want --set pool_small_mb=3 --set small_mb=4294967295 --set large_mb=4294967295 --set pool_rate_mb=1
note 'wanted by an update'
wait_for 10 pools_of_1 "$((3 * M)) 0 1"
vm_new w
vm w 'create 4M'
wait_for 30 pools_are '.order == 0 or .high > 0'
bounded "$(<$MAX)"
unload want
wait_for 20 pools_are "$NONE"
vm_end w
for what in 'struct_ops register' 'prog load'; do
	rc=0
	# shellcheck disable=SC2086 # words
	output=$(bpftool $what "$TESTBPF/foreign_${what%% *}.bpf.o" /sys/fs/bpf/foreign 2>&1) || rc=$?
	[ $rc != 0 ] || die "the kernel took it: bpftool $what"
	assert_match "$output" 'gmem_pool_want.*EACCES' 'the verifier, of a program that is no policy'
done

note 'an empty pool falls back, counted'
load prezero --set large=false --set pool_large_mb=0 --set pool_small_mb=1 --set pool_low_percent=1 --set pool_rate_mb=1
full 1 0
misses=$(sum missed) taken=$(sum taken)
vm_new e
vm e 'create 8M; bind 1 4G 0 8M; convert private 4G 8M; gcheck 4G 8M 0'
misses=$(($(sum missed) - misses)) taken=$(($(sum taken) - taken))
assert_ge "$misses" 1 'misses'
assert_ge "$taken" 256 'taken'
assert_eq $((misses + taken)) 2048 'misses and takes'
fdinfo_is e pool-misses=$misses zeroed-alloc=$((misses * 4 * K)) zeroed-pool=$((taken * 4 * K)) zeroed-first-use=0 clamped=0
vm_end e
unload prezero

note 'bounds'
for bad in 91 -1 x; do
	if echo "$bad" 2>/dev/null >$MAX; then die "max_percent took $bad"; fi
done
echo 1 >$MAX
load prezero --set pool_large_mb=4294967295 --set pool_small_mb=0xffffffff
wait_for 10 pools_are '.high > 0'
bounded 1
wait_for 60 pools_are "$FULL"
echo 2 >$MAX
bounded 2
wait_for 60 pools_are "$FULL"
echo 1 >$MAX
bounded 1
pools_are '.ready + .dirty <= .high' || die "above a new bound: $(js .pools)"
echo 0 >$MAX
wait_for 20 pools_are "$NONE"
echo 1 >$MAX
wait_for 60 pools_are "$FULL"

note 'nothing of it holds kvm.ko'
kvm_reload
unload prezero
wait_for 20 pools_are "$NONE"
