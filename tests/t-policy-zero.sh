#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 120
# A policy says when memory is zeroed, and never whether (invariants 1 and 2): under every combination of
# zeroing at first use or at allocation, and of giving back or scrubbing what is freed, guest and host read
# zeroes wherever memory is new, was punched out, or was another VM's, and what they wrote wherever it was not.
# Where the bytes were zeroed is told exactly, by fdinfo and by the trace.
. "$(dirname "$0")/policy.sh"

# ---- zero_alloc: what it is shipped for ----

load zero_alloc
counted zero_alloc
vm_new a
vm a 'create 4M; bind 1 4G 0 4M; convert private 4G 4M; fallocate 0 1M'
fdinfo_is a zeroed-alloc=$M zeroed-first-use=0 resident=$M ready=$M
counted zero_alloc 'zeroed_early=256' 'fallocate'
vm a 'gcheck 4G 1M 0'
fdinfo_is a zeroed-alloc=$M zeroed-first-use=0
vm a "gcheck $((4 * G + M)) 64K 0"
fdinfo_is a zeroed-alloc=$((M + 64 * K)) zeroed-first-use=0 ready=$((M + 64 * K))
counted zero_alloc 'zeroed_early=16' 'faults'

replace zero_alloc --set faults=false
_base=()
vm a "gcheck $((4 * G + 2 * M)) 64K 0"
fdinfo_is a zeroed-alloc=$((M + 64 * K)) zeroed-first-use=$((64 * K))
counted zero_alloc 'left_alone=16' 'faults with faults=false'
vm a 'fallocate 3M 64K'
fdinfo_is a zeroed-alloc=$((M + 128 * K)) zeroed-first-use=$((64 * K))
counted zero_alloc 'zeroed_early=16' 'fallocate with faults=false'

replace zero_alloc --set max_mb=2
_base=()
vm a "close; create 4M; fallocate 0 4M"
fdinfo_is a zeroed-alloc=$((2 * M)) zeroed-first-use=0 resident=$((4 * M)) ready=$((2 * M))
counted zero_alloc 'zeroed_early=512 left_alone=512' 'fallocate with max_mb=2'
vm_end a
unload zero_alloc

# ---- All combinations, on both kinds of VM ----

trace_begin free zero
tag=0
scribble() { # VM GPA LEN: fill with what nobody else writes, and check
	tag=$((tag + 1))
	vm "$1" "gfill $2 $3 $tag; gcheck $2 $3 $tag"
}

load hostile
for zero in 0 1; do
	for mode in 0 1; do
		note "zero=$zero mode=$mode"
		replace hostile --set zero=$zero --set mode=$mode

		# The guest's private memory: punch in the middle, and all
		vm_new p
		vm p 'create 2M; bind 1 4G 0 2M; convert private 4G 2M; fallocate 0 1M'
		fdinfo_is p zeroed-alloc=$((zero * M)) zeroed-first-use=0 ready=$((zero * M)) policy=hostile
		scribble p 4G 2M
		fdinfo_is p zeroed-alloc=$((zero * 2 * M)) zeroed-first-use=$(((1 - zero) * 2 * M)) ready=$((2 * M))
		fdinfo_is p zeroed-free=0
		echo >"$TRACE/trace"
		vm p 'punch 256K 512K'
		fdinfo_is p zeroed-free=$((mode * 512 * K)) scrub-failed=0 resident=$((2 * M - 512 * K))
		words=(give_back scrub)
		assert_traced "free: .*index=64 nr=128 why=punch mode=${words[mode]} pages=128 failed=0" 1 'frees'
		assert_traced 'zero: .* when=free' $mode 'scrubs'
		vm p "gcheck 4G 256K $tag; gcheck $((4 * G + 256 * K)) 512K 0; gcheck $((4 * G + 768 * K)) 1280K $tag"
		# what was scrubbed is zeroed again before it is used: free pages are nobody's
		fdinfo_is p resident=$((2 * M)) ready=$((2 * M))
		scribble p 4G 2M
		vm p 'punch 0 2M; gcheck 4G 2M 0'
		fdinfo_is p zeroed-free=$((mode * (2 * M + 512 * K))) scrub-failed=0
		fdinfo_is p "zeroed-$( ((zero)) && echo alloc || echo first-use)=$((4 * M + 512 * K))"
		# A hole that the guest never filled again, and one that fallocate did
		scribble p 4G 2M
		vm p 'punch 0 1M; fallocate 0 512K; gcheck 4G 1M 0'

		# Shared memory: by the host's mapping, and by guest and host in turns
		vm_new s
		vm s 'vmtype=default; create 2M mmap shared; mmap; bind 1 4G 0 2M; checkzero 0 64K'
		vm s "hfill 0 2M 0x5aa55aa55aa55aa5; hcheck 0 2M 0x5aa55aa55aa55aa5; punch 64K 1M"
		vm s "checkzero 64K 256K; gcheck $((4 * G + 320 * K)) 256K 0; checkzero 64K 1M"
		vm s "hcheck 0 64K 0x5aa55aa55aa55aa5; hcheck $((M + 64 * K)) 960K 0x5aa55aa55aa55aa5"
		fdinfo_is s zeroed-free=$((mode * M)) scrub-failed=0
		vm s 'hfill 0 2M 0x1234; munmap; punch 0 2M; mmap; checkzero 0 2M'

		# What one VM leaves behind, another gets
		scribble p 4G 2M
		vm s 'hfill 0 2M 0xdeadbeef'
		echo >"$TRACE/trace"
		vm_kill p
		vm_end s
		wait_for 20 no_objects
		assert_traced "why=evict mode=${words[mode]} " 2 'evictions'
		vm_new q
		vm q 'create 8M; bind 1 4G 0 8M; convert private 4G 8M; fallocate 0 2M; gcheck 4G 8M 0'
		fdinfo_is q clamped=0 fitted=0
		vm_end q
	done
done
assert_eq "$(pol hostile '"\(.state) \(.clamps)"')" 'active 0' 'the policy'
unload hostile

# ---- A change while memory is there: each page is zeroed once, whoever was asked ----

vm_new c
vm c 'create 4M; bind 1 4G 0 4M; convert private 4G 4M; fallocate 0 2M; gtouch 4G 1M'
fdinfo_is c zeroed-first-use=$M zeroed-alloc=0 ready=$M
load zero_alloc
policy_becomes c zero_alloc global
vm c 'gtouch 4G 4M'
fdinfo_is c zeroed-first-use=$((2 * M)) zeroed-alloc=$((2 * M)) ready=$((4 * M))
unload zero_alloc
vm c 'punch 0 4M; gcheck 4G 4M 0'
fdinfo_is c zeroed-first-use=$((6 * M)) zeroed-alloc=$((2 * M)) policy=builtin
