#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 120
# scrub and fault_around do what their headers say. (zero_alloc: policy-zero; prealloc: policy-prealloc; huge:
# policy-huge; huge_adaptive: policy-adaptive.)
. "$(dirname "$0")/policy.sh"

trace_begin zero prealloc

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
