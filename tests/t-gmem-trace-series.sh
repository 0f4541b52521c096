#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 400
# gmem-trace faults, zero, alloc, policy, memory and events count what the workload, or a VM that is told what to do,
# did; what is lost is counted.
. "$(dirname "$0")/gmem-trace.sh"

note faults
trace_start faults -j
work -v 2 -c 2 -n 40
trace_stop
assert_no_losses
for pid in $PIDS; do
	n=$(did "$pid" .faults)
	assert_eq "$(of "$pid" '[.faults[] | select(.memory == "allocated" or .memory == "found") | .count] | add')" "$n" "faults of VM $pid"
	assert_eq "$(of "$pid" '[.faults[] | select(.memory != "raced") | [.access, .largest, .mapping]] | unique | tostring')" \
		'[["private","4 KiB","4 KiB"]]' "VM $pid: what its faults map"
	assert_eq "$(of "$pid" '[.faults[] | [.memory, .source] | select(. != ["found", "found"] and . != ["raced", "-"])] | tostring')" \
		'[["allocated","first_use"]]' "VM $pid: where it comes from"
	assert_eq "$(of "$pid" '[.faults[] | .count == .latency.count and .count == ([.latency.buckets[][2]] | add)] | all')" true \
		"VM $pid: histograms"
done
trace_start faults -j
vm_new a
vm a 'vmtype=default; create 2M mmap shared; mmap; hwrite 0 1; bind 1 4G 0 2M; gtouch 4G 16K; prefault 4G 64K'
# Allocated, but not zeroed: but for two pages, which the VMM zeroes, by the same thread, just before the guest has them
vm a 'fallocate 64K 32K; hread 64K; gtouch 0x100010000 12K; hread 76K; gtouch 0x100013000 20K'
trace_stop
assert_eq "$(of "${VM_PID[a]}" '[.faults[] | [.access, .memory, .source, .count]] | sort | tostring')" \
	'[["prefault","allocated","first_use",12],["prefault","found","found",4],["shared","allocated","first_use",3],["shared","found","first_use",6],["shared","found","found",3]]' \
	'shared faults and prefaults'
vm_end a
load zero_alloc
trace_start faults -j
vm_new z
vm z 'create 2M; bind 1 4G 0 2M; convert private 4G 2M; gtouch 4G 16K; prefault 4G 32K'
trace_stop
assert_eq "$(of "${VM_PID[z]}" '[.faults[] | [.access, .memory, .source, .count]] | sort | tostring')" \
	'[["prefault","allocated","alloc",4],["prefault","found","found",4],["private","allocated","alloc",4]]' 'faults on what is zeroed as it is allocated'
vm_end z
unload zero_alloc

note zero
trace_start zero -j
work -v 2 -n 40
trace_stop
assert_no_losses
for pid in $PIDS; do
	n=$(did "$pid" .allocations)
	assert_eq "$(of "$pid" '[.zeroed[] | .bytes_per_second > 0] | all')" true "rate of VM $pid"
	assert_eq "$(of "$pid" '[.zeroed[] | [.when, .count, .pages, (.latency.sum_ns > 0)]] | tostring')" "[[\"first_use\",$n,$n,true]]" \
		"zeroing of VM $pid"
done

note alloc
trace_start alloc -j
work -v 2 -n 40
trace_stop
assert_no_losses
for pid in $PIDS; do
	n=$(did "$pid" .allocations)
	assert_eq "$(of "$pid" '[.allocated[] | select(.why == "guest_fault") | [.asked, .got, .order, .zero]] | unique | tostring')" \
		'[["4 KiB","4 KiB","as asked","first_use"]]' "VM $pid: sizes asked and got"
	assert_eq "$(of "$pid" '[.allocated[] | select(.why == "guest_fault") | .pages] | add')" "$n" "allocations of VM $pid"
	assert_eq "$(of "$pid" '[.freed[] | select(.why == "punch") | .count] | add')" "$(did "$pid" .punches)" "holes of VM $pid"
	assert_eq "$(of "$pid" '[.freed[].pages] | add')" "$n" "pages freed of VM $pid"
	assert_eq "$(of "$pid" '.failed | length')" 0 "VM $pid: allocations that failed"
done
load prealloc --set at_bind=true --set background=false
trace_start alloc -j
vm_new b
vm b 'create 2M; bind 1 4G 0 1M; fallocate 1M 64K; punch 0 16K'
trace_stop
unload prealloc
assert_eq "$(of "${VM_PID[b]}" '[.populated[] | [.why, .how, .pages]] | tostring')" '[["bind","now",256]]' 'populated ahead'
assert_eq "$(of "${VM_PID[b]}" '[.allocated[] | [.why, .pages]] | total | tostring')" '[["fallocate",16],["prealloc",256]]' 'allocated'
assert_eq "$(of "${VM_PID[b]}" '[.freed[] | [.why, .mode, .pages]] | tostring')" '[["punch","give_back",4]]' 'freed'
vm_end b

note 'large folios'
load huge --set min_mb=0
trace_start alloc -j
vm_new h
vm h 'create 7M; bind 1 4G 0 7M; convert private 4G 7M; gfill 4G 7M 1; punch 0 4K'
assert_eq "$(gmem-trace memory -j -p "${VM_PID[h]}" | jq -c '[.vms[].folios[] | select(.order >= 8) | [.order, .folios]]')" \
	'[[8,2],[9,2]]' 'folios, after the first one was split'
trace_stop
assert_eq "$(of "${VM_PID[h]}" '[.allocated[] | select(.got != "4 KiB") | [.got, .order, .count]] | total | tostring')" \
	'[["1 MiB","as asked",1],["2 MiB","as asked",3]]' 'large folios that were allocated'
assert_eq "$(of "${VM_PID[h]}" '[.split[] | [.folio, .result]] | unique | tostring')" '[["2 MiB","done"]]' 'folios that were split'
unload huge
vm_end h

note pools
sum_pools() { gmem-trace memory -j | jq "[.pools[].$1] | add"; }
load prezero --set large=false --set recycle=true --set pool_large_mb=0 --set pool_small_mb=32 --set pool_low_percent=5
wait_for 60 pools_are "$FULL"
ready=$(sum_pools ready_bytes)
assert_eq "$ready" "$(js '[.pools[].ready] | add')" 'bytes in pools, as gmem-policy has them'
assert_match "$(gmem-trace memory)" 'Pools of this host.*node [0-9]+ +[0-9.]+ [KMG]iB zeroed of at most [0-9.]+ [KMG]iB, in folios of 4 KiB; 0 B to be zeroed' \
	'pools as text'
trace_start alloc -j
gmem-trace events -j --event pool >"$TMP/pool" 2>"$TMP/pool.err" &
pool_tracer=$!
wait_for 30 grep -q '^Tracing' "$TMP/pool.err"
vm_new p
vm p 'create 4M; bind 1 4G 0 4M; convert private 4G 4M; gfill 4G 64K 1'
assert_eq "$(sum_pools ready_bytes)" $((ready - 64 * K)) 'bytes in pools, while the VM has some'
vm p 'punch 0 64K'
wait_for 60 pools_are "$FULL"
trace_stop
kill -INT $pool_tracer
wait $pool_tracer
assert_eq "$(of "${VM_PID[p]}" '[.allocated[] | [.why, .zero, .pages]] | total | tostring')" '[["guest_fault","pool",16]]' 'allocated from a pool'
assert_eq "$(of "${VM_PID[p]}" '[.freed[] | [.why, .mode, .pages]] | tostring')" '[["punch","recycle",16]]' 'freed into a pool'
assert_eq "$(jq -s -c '[.[] | select(.event)] | group_by(.action) | map([.[0].action, ([.[].nr] | add)]) | map(select(.[0] == "recycle" or .[0] == "take"))' "$TMP/pool")" \
	'[["recycle",16],["take",16]]' 'what pools say'
assert_eq "$(jq -s -c '[.[] | select(.event) | [.pid, .vm, .id]] | unique' "$TMP/pool")" '[[0,null,0]]' 'they are of no VM'
trace_start faults -j
vm p 'gfill 4G 64K 2; fallocate 64K 16K; gtouch 0x100010000 16K'
trace_stop
assert_eq "$(of "${VM_PID[p]}" '[.faults[] | [.memory, .source, .count]] | sort | tostring')" \
	'[["allocated","pool",16],["found","found",4]]' 'faults on what a pool had'
unload prezero
vm_end p
wait_for 60 pools_are "$NONE"

note policy
trace_start policy -j
load count
vm_new c
vm c 'create 2M; bind 1 4G 0 2M; convert private 4G 2M; gfill 4G 64K 1; punch 0 64K'
# Programs that are gone when it reports tell nothing any more.
trace_stop
assert_no_losses
policy_events() { jq -c 'select(.event and .id == 0) | [.event, .name]' "$TMP/trace" | paste -sd' '; }
assert_eq "$(policy_events)" '["policy_attach","count"]' 'events of a policy that is loaded'
assert_eq "$(tail -n 1 "$TMP/trace" | jq -c --argjson pid "${VM_PID[c]}" '[.decisions[] | select(.pid == $pid and .op != "prealloc") | [.policy, .op, .count, .clamped]] | sort')" \
	'[["count","alloc",16,0],["count","convert",1,0],["count","free",1,0]]' 'decisions'
# What the kernel's statistics say of the program that decides
assert_eq "$(tail -n 1 "$TMP/trace" | jq -c '[.programs[] | select(.program == "op_alloc") | [.runs, .ns > 0]]')" '[[16,true]]' \
	'runs of the program for alloc'
vm_end c
trace_start policy -j
unload count
trace_stop
assert_eq "$(policy_events)" '["policy_detach","count"]' 'events of a policy that goes'

note memory
vm_new d
vm d 'create 4M; bind 1 4G 0 2M; convert private 4G 1M; gfill 4G 64K 1; convert shared 4G 32K; gfill 4G 16K 2'
output=$(gmem-trace memory -j -p "${VM_PID[d]}")
# 64K are private, of which the first 32K became shared without being punched; 16K of them were written as shared
assert_eq "$(jq -c '.vms[] | [.private_size, .private_bytes, .folios]' <<<"$output")" \
	"[$((4 * M)),$((64 * K)),[{\"order\":0,\"folios\":16,\"bytes\":$((64 * K))}]]" 'private memory'
assert_eq "$(jq -c '.vms[] | [.shared_size, .shared_bytes]' <<<"$output")" "[$((2 * M)),$((16 * K))]" 'shared memory'
assert_eq "$(jq -c '.vms[] | [.doubly_bytes_min, .doubly_bytes_max]' <<<"$output")" "[0,$((16 * K))]" 'limits of what both back'
vm d 'punch 0 32K'
assert_eq "$(gmem-trace memory -j -p "${VM_PID[d]}" | jq -c '.vms[] | [.private_bytes, .shared_bytes]')" "[$((32 * K)),$((16 * K))]" \
	'after the hole'
assert_match "$(gmem-trace memory)" "VM gmem_vm \\(${VM_PID[d]}\\).*private +32 KiB of 4 MiB.*shared +16 KiB of 2 MiB.*doubly +0 B to 16 KiB" 'as text'
vm_end d
assert_match "$(gmem-trace memory)" 'No VM here has guest memory' 'memory when there are no VMs'

note events
trace_start events -j
vm_new e
vm e 'create 2M; bind 1 4G 0 2M; convert private 4G 1M; gfill 4G 16K 1; punch 0 8K'
pid=${VM_PID[e]}
vm_end e
wait_for 20 grep -q '"release"' "$TMP/trace"
trace_stop
assert_no_losses
assert_eq "$(jq -r --argjson pid "$pid" 'select(.pid == $pid) | .event' "$TMP/trace" | sort | uniq -c | awk '{ print $2 "=" $1 }' | paste -sd' ')" \
	'alloc=4 bind=1 conversion=1 convert_begin=1 convert_end=1 create=1 fault=4 free=2 invalidate=2 punch_hole=1 release=1 zero=4' 'events'
assert_eq "$(jq -c --argjson pid "$pid" 'select(.pid == $pid and .event == "punch_hole") | [.index, .nr, .ret]' "$TMP/trace")" '[0,2,0]' \
	'fields of an event'
assert_eq "$(jq -c --argjson pid "$pid" 'select(.pid == $pid and .event == "fault") | [.allocated, .source]' "$TMP/trace" | sort | uniq -c | xargs)" \
	'4 [true,first_use]' 'where the memory of faults comes from'
trace_start events --event fault,punch_hole --number 3
work -n 4
wait "$TRACER"
assert_eq "$(grep -cE '^[0-9:.]+ (fault|punch_hole) +pid=' "$TMP/trace")" 3 'lines of the events that were asked for'
trace_start events -j --event zero --slower 100s
work -n 4
trace_stop
assert_eq "$(wc -l <"$TMP/trace")" 1 'events slower than 100 s: only the summary'

# ---- Losses are counted ----

note 'a reader that does not read'
trace_start events -j --event alloc,zero,conversion
kill -STOP "$TRACER"
work -p accept -n 40
kill -CONT "$TRACER"
trace_stop
dropped=$(tail -n 1 "$TMP/trace" | jq .losses.dropped)
assert_ge "$dropped" 1 'events dropped'
# All that happened was told or is counted as dropped; what is counted in the kernel misses nothing.
told=$(($(wc -l <"$TMP/trace") - 1))
assert_eq "$((told + dropped))" "$((2 * $(jq .total.allocations "$TMP/log") + $(jq .total.conversions "$TMP/log")))" 'told and dropped'
assert_eq "$(of "$PIDS" .conversions)" "$(jq .total.conversions "$TMP/log")" 'conversions counted in the kernel'
