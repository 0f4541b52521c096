#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 120
# Every op is called when, and only when, something happens that it is for: on misses and not on hits, for
# conversions that change something, once per bound range, once per object. "counted" fails for any counter
# that it is not told of, so each step below also proves what is NOT called.
. "$(dirname "$0")/policy.sh"

load count
counted count
trace_begin policy_attach policy_detach

# ---- Private memory of a software-protected VM ----

vm_new a
vm a 'create 4M'
counted count 'init_taken=1 prealloc_create=1' 'create'
vm a 'bind 1 4G 0 4M'
counted count 'prealloc_bind=1' 'bind'
vm a 'convert private 4G 4M'
counted count 'prealloc_convert=1 convert_private=1' 'convert to private'
vm a 'convert private 4G 4M; convert private 4G 64K'
counted count '' 'conversions that change nothing'

vm a 'gtouch 4G 28K'
counted count 'alloc_guest_fault=7 prealloc_fault=7' 'the guest touches 7 pages'
vm a 'gtouch 4G 28K; gwrite 4G 1; gread 4G'
counted count '' 'the guest touches them again'
vm a 'convert shared 4G 28K'
counted count 'convert_shared=1' 'convert to shared, and keep the memory'
vm a 'convert private 4G 28K'
counted count 'prealloc_convert=1 convert_private=1' 'convert back'
vm a 'gtouch 4G 28K'
counted count '' 'faults that find the memory that was kept'

vm a 'fallocate 1M 1M'
counted count 'alloc_fallocate=256' 'fallocate'
vm a "fallocate 1M 1M; gtouch $((4 * G + M)) 1M"
counted count '' 'fallocate and faults of what is there'
vm a "fallocate 0 32K"
counted count 'alloc_fallocate=1' 'fallocate where one page of 8 is missing'
vm a "prefault $((4 * G + 2 * M)) 64K"
counted count 'alloc_guest_fault=16 prealloc_fault=16' 'KVM_PRE_FAULT_MEMORY'
vm a "prefault $((4 * G + 2 * M)) 64K; gtouch $((4 * G + 2 * M)) 64K"
counted count '' 'and of what is there'

vm a 'punch 0 16K'
counted count 'free_punch=1' 'punch'
vm a 'gtouch 4G 32K'
counted count 'alloc_guest_fault=4 prealloc_fault=4' 'faults in the hole and beside it'
vm a 'punch 3M 64K'
counted count 'free_punch=1' 'punch where nothing is'

# ---- Conversions are told once for each bound range ----

vm a 'unbind 1'
counted count '' 'unbind'
vm a "bind 1 4G 0 2M; bind 2 $((4 * G + 2 * M)) 2M 2M; plain 3 8G 2M"
counted count 'prealloc_bind=2' 'two binds, and a slot without guest_memfd'
vm a "convert shared $((4 * G + M)) 2M"
counted count 'convert_shared=2' 'a conversion across two slots'
vm a "convert private $((4 * G + M)) 2M"
counted count 'prealloc_convert=2 convert_private=2' 'and back'
vm a 'convert private 8G 2M; convert private 12G 2M; convert shared 8G 2M'
counted count '' 'conversions of what is bound to no guest_memfd'
vm a "convert shared $((4 * G)) 4K; convert private $((4 * G)) 2M"
counted count 'prealloc_convert=1 convert_private=1 convert_shared=1' 'a conversion of which one page is new'
vm a "gconvert shared $((4 * G + 2 * M)) 16K; gconvert private $((4 * G + 2 * M)) 16K"
counted count 'prealloc_convert=1 convert_private=1 convert_shared=1' 'hypercalls'

# ---- Host and guest on shared memory of an ordinary VM ----

vm_new b
vm b 'vmtype=default; create 2M mmap shared; mmap'
counted count 'init_taken=1 prealloc_create=1' 'create with mmap'
vm b 'hwrite 0 1; hwrite 4K 1; hread 8K'
counted count 'alloc_host_fault=3 prealloc_fault=3' 'the host touches 3 pages'
vm b 'hwrite 8 1; hread 8K; hread 4K; munmap; mmap; hread 0'
counted count '' 'the host touches them again, by a new mapping too'
vm b 'madvise populate_write 0 64K'
counted count 'alloc_host_fault=13 prealloc_fault=13' 'MADV_POPULATE_WRITE of 16 pages, 3 are there'
vm b 'bind 1 4G 0 2M; gtouch 4G 64K'
counted count 'prealloc_bind=1' 'the guest touches what the host did'
vm b "gtouch $((4 * G + M)) 16K; hread 1M"
counted count 'alloc_guest_fault=4 prealloc_fault=4' 'the guest touches more, and the host the same'

# ---- The end: exit once for each init, by close and by exit of the VMM ----

vm a 'create 1M; close'
wait_for 10 counter_is count exit_called 1
counted count 'init_taken=1 exit_called=1 prealloc_create=1 free_evict=1' 'a file is closed'
vm_end a
vm_kill b
wait_for 10 no_objects
counted count 'exit_called=2 free_evict=2' 'two VMs are gone'
assert_eq "${_base[count.init_taken]}/${_base[count.exit_called]}/${_base[count.other]}" 3/3/0 'inits, exits, others'
assert_traced 'policy_attach: id=[1-9].* name=count ' 3 'objects that came under it'
assert_traced 'policy_detach: id=[1-9].* name=count ' 3 'objects that left it'

# ---- A policy that is loaded and unloaded beside a running VM: init when it comes, exit when it goes ----

vm_new c
vm c 'create 2M; create 4M'
counted count 'init_taken=2 prealloc_create=2' 'two files'
unload count
assert_traced 'policy_detach: id=[1-9].* name=count .*reason="policy changed"' 2 'exits at unload'
load count
_base=()
counted count 'init_taken=2' 'two inits at load, and nothing else'
replace count --set min_mb=3
_base=()
counted count 'init_taken=1 init_declined=1' 'inits at replace'
assert_eq "$(pol count .declines)" 1 'objects declined'
unload count

# ---- quiet_ms: asked once more when the range was left alone, and not again for that ----

trace_begin policy_decision
load hostile --set only_op=convert --set quiet_ms=150
vm c 'use 0; bind 1 4G 0 2M; convert private 4G 1M'
quiet='op=convert why=quiet index=0 nr=256 '
wait_for 20 traced_at_least "$quiet" 1
vm c 'sleep 600'
assert_traced "$quiet" 1 'calls for a range that became quiet'
assert_traced 'op=convert why=quiet .* fitted=1 clamped=0' 1 'a call for quiet asks for no other'
assert_traced 'op=convert why=convert index=0 nr=256 .* b=150 fitted=0' 1 'the call that asked'

# ---- mute: nothing of the block until then, but to who takes over or shadows ----

told='op=convert why=convert '
replace hostile --set only_op=convert --set quiet_ms=600000 --set mute=1
echo >"$TRACE/trace"
vm c 'convert shared 4G 64K; convert private 4G 64K; convert shared 4G 4K'
assert_traced "$told" 1 'calls, with the block muted by the first one'
assert_traced "$told.*index=0 nr=16 " 1 'the call that muted it'
load count --flags shadow
vm c 'convert private 4G 4K'
assert_traced "name=hostile $told" 2 'calls, with a shadow'
unload count
# Long enough for two conversions to be within that
replace hostile --set only_op=convert --set quiet_ms=5000 --set mute=1
vm c 'convert shared 4G 64K; convert private 4G 64K'
assert_traced "name=hostile $told" 3 'calls, with another policy'
wait_for 20 traced_at_least 'op=convert why=quiet index=0 nr=16 ' 1
vm c 'convert shared 4G 64K'
assert_traced "name=hostile $told" 4 'calls, after it was quiet'
replace hostile --set only_op=convert --set quiet_ms=150
vm c 'sleep 1; convert private 4G 1M; convert shared 4G 1M; close'
unload hostile
