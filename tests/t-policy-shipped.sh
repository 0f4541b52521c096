#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 180
# scrub, fault_around, prealloc around faults and from pools, prezero and boot do what their headers say. (zero_alloc: policy-zero;
# the rest of prealloc: policy-prealloc; huge: policy-huge; huge_adaptive: policy-adaptive.)
. "$(dirname "$0")/policy.sh"

trace_begin zero prealloc fault

# ---- scrub ----

load scrub
counted scrub
vm_new a
vm a 'create 4M; bind 1 4G 0 4M; convert private 4G 4M; gfill 4G 4M 5; punch 1M 1M'
fdinfo_is a zeroed-free=$M scrub-failed=0
vm a "gcheck 4G 1M 5; gcheck $((4 * G + M)) 1M 0; gcheck $((4 * G + 2 * M)) 2M 5"
counted scrub 'punches=1' 'a punch'
vm_end a
wait_for 20 no_objects
counted scrub 'ends=1' 'the end of a VM'
assert_traced 'zero: .* nr=1024 when=free' 1 'memory that was zeroed at the end'

replace scrub --set at_punch=false --set at_end=false
_base=()
vm_new b
vm b 'create 4M; bind 1 4G 0 4M; convert private 4G 4M; gfill 4G 4M 5; punch 1M 1M'
fdinfo_is b zeroed-free=0
vm_end b
wait_for 20 no_objects
counted scrub 'left_alone=2' 'at_punch=false at_end=false'
unload scrub

# ---- fault_around ----

load fault_around
counted fault_around
vm_new c
vm c "create 4M; bind 1 4G 0 4M; convert private 4G 4M; gtouch $((4 * G + 100 * K)) 4K"
# 100K is in the window from 64K to 128K
fdinfo_is c resident=$((64 * K)) ready=$((64 * K)) zeroed-ahead=$((60 * K))
assert_traced 'prealloc: .* index=16 nr=16 why=guest_fault background=0 done=15 ret=0' 1 'windows'
vm c "gcheck $((4 * G + 64 * K)) 64K 0"
counted fault_around 'windows=1' 'a window'
vm c "gcheck $((4 * G + M)) 1M 0"
counted fault_around 'windows=16' '1M in sequence'
# The last window reaches past the end of the file no more than the file does
vm c "close; create 36K; bind 2 5G 0 36K; convert private 5G 36K; gtouch 5G 4K"
fdinfo_is c resident=$((36 * K)) clamped=0

# The window of a vCPU that faulted is mapped for it: it faults once, and what it then reads and writes is right. What is
# shared stays out, though it is populated, and what lies behind the memslot
replace fault_around --set map=true
vm c "use 0; close; create 4M; bind 4 7G 0 160K; bind 5 8G 160K 1M; convert private 7G 160K; convert shared $((7 * G + 16 * K)) 8K"
: >"$TRACE/trace"
vm c 'gtouch 7G 4K'
assert_traced 'kvm_gmem_fault: .*allocated=1 .*prefetch=0' 1 'faults'
assert_traced 'kvm_gmem_fault: .*allocated=0 .*prefetch=1' 13 'pages that were mapped ahead'
vm c "gcheck 7G 16K 0; gfill $((7 * G + 24 * K)) 40K 3; gcheck $((7 * G + 24 * K)) 40K 3"
assert_traced 'kvm_gmem_fault: .*prefetch=0' 1 'faults in the window'
vm c "gtouch $((7 * G + 128 * K)) 32K"
assert_traced 'kvm_gmem_fault: .*prefetch=0' 2 'faults in a window of which the slot has half'
assert_traced 'kvm_gmem_fault: .*prefetch=1' $((13 + 7)) 'pages that were mapped ahead'
vm c "punch 0 64K; gcheck 7G 16K 0"
assert_traced 'kvm_gmem_fault: .*prefetch=0' 3 'faults, after a hole was punched'
assert_traced 'kvm_gmem_fault: .*allocated=1 .*prefetch=1' 0 'pages that were allocated to be mapped ahead'
fdinfo_is c clamped=0

replace fault_around --set window_kb=4
_base=()
vm c "close; create 4M; bind 3 6G 0 4M; convert private 6G 4M; gtouch 6G 64K"
fdinfo_is c resident=$((64 * K)) zeroed-ahead=0
counted fault_around '' 'windows of one page'

replace fault_around --set window_kb=256 --set background=true
vm c "gtouch $((6 * G + 2 * M)) 4K"
wait_for 20 fdinfo_at_least c resident $((320 * K))
vm_end c

replace fault_around --set guest=false --set host=true
_base=()
vm_new d
vm d 'vmtype=default; create 4M mmap shared; mmap; bind 1 4G 0 4M; hread 1M'
wait_for 20 fdinfo_at_least d resident $((64 * K))
vm d "gread $((4 * G + 2 * M))"
fdinfo_is d resident=$((68 * K))
counted fault_around 'windows=1' 'guest=false host=true'
vm_end d
unload fault_around

# ---- prealloc: around faults, from pools, within a budget ----

load prealloc --set at_bind=false --set at_convert=false --set around_kb=256 --set background=false --set max_mb=2 \
	--set from_pool=true --set pool_small_mb=8
wait_for 30 pools_are "$FULL"
counted prealloc
echo >"$TRACE/trace"
vm_new e
vm e "create 8M; bind 1 4G 0 8M; convert private 4G 8M; gtouch $((4 * G + 100 * K)) 4K"
fdinfo_is e resident=$((256 * K)) ready=$((256 * K)) zeroed-pool=$((252 * K)) pool-misses=0 zeroed-first-use=$((4 * K))
assert_traced 'prealloc: .* index=0 nr=64 why=guest_fault background=0 done=63 ret=0' 1 'windows'
counted prealloc 'ranges=1 pages=64' 'a window'
vm e 'gcheck 4G 8M 0'
fdinfo_is e resident=$((8 * M)) pool-misses=0
assert_le "$(fdinfo e zeroed-pool)" $((2 * M)) 'populated within the budget'
assert_ge "$(fdinfo e zeroed-pool)" $((2 * M - 256 * K)) 'populated within the budget'
vm_end e
unload prealloc

# ---- prezero: takes, recycles (policy and pools: t-pools.sh, t-pools-recycle.sh) ----

load prezero --set pool_large_mb=16 --set pool_small_mb=4
wait_for 30 pools_are "$FULL"
counted prezero
vm_new f
vm f 'create 6M; bind 1 4G 0 5M; convert private 4G 5M; gcheck 4G 5M 0'
fdinfo_is f folios-order-9=2 folios-order-0=256 zeroed-pool=$((5 * M)) fitted=0 clamped=0
counted prezero 'blocks=2 pages=256' 'blocks, and pages where the memslot ends'
vm f 'punch 0 2M'
fdinfo_is f recycled=0
vm_end f
unload prezero

# ---- boot: ahead of the guest ----

load boot --set first_mb=8 --set next_mb=4 --set pool_large_mb=64 --set pool_small_mb=4
wait_for 30 pools_are "$FULL"
counted boot
vm_new g
vm g 'create 64M; bind 1 4G 0 64M; convert private 4G 64M'
wait_for 20 fdinfo_at_least g ready $((8 * M))
wait_for 20 idle g
fdinfo_is g resident=$((8 * M)) folios-order-9=4 zeroed-pool=$((8 * M))
counted boot 'blocks=4 ahead=1' 'the first of what is bound'
vm g 'gcheck 4G 8M 0'
fdinfo_is g resident=$((8 * M))
vm g "gtouch $((4 * G + 32 * M)) 4K"
wait_for 20 fdinfo_at_least g ready $((14 * M))
wait_for 20 idle g
fdinfo_is g resident=$((14 * M)) pool-misses=0
counted boot 'blocks=3 ahead=1' 'the next blocks behind one that was missing'
vm g "gcheck $((4 * G + 32 * M)) 6M 0"
fdinfo_is g resident=$((14 * M))
counted boot '' 'what was populated is found'
vm_end g

replace boot --set first_mb=64 --set max_mb=6 --set next_mb=4 --set pool_large_mb=64 --set pool_small_mb=4
_base=()
vm_new h
vm h 'create 64M; bind 1 4G 0 64M; convert private 4G 64M'
wait_for 20 fdinfo_at_least h ready $((6 * M))
wait_for 20 idle h
vm h "gtouch $((4 * G + 32 * M)) 4K"
fdinfo_is h resident=$((8 * M))
counted boot 'blocks=4 ahead=1 at_limit=2' 'the budget'
vm_end h
unload boot
