#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 180
# Which policy decides for which VM: enforced, then named by the VMM, then that of the nearest cgroup, then the
# global one, then built in; what init declines goes to the next; a shadow is asked and never applied. All of it
# for VMs that run, with each change seen in fdinfo and by the iterator, and with no word to VMs elsewhere.
. "$(dirname "$0")/policy.sh"

cgroup gt
cgroup gt/a
cgroup gt/a/aa
cgroup gt/b

vm_new aa "$CGROUPS/gt/a/aa"
vm aa 'create 2M; bind 1 4G 0 2M; convert private 4G 2M'
vm_new b "$CGROUPS/gt/b"
vm b 'create 4M; bind 1 4G 0 4M; convert private 4G 4M'

# scopes 'VM=POLICY/SCOPE ...': by fdinfo
scopes() {
	local pair
	for pair in $1; do
		policy_is "${pair%%=*}" "$(cut -d/ -f1 <<<"${pair#*=}")" "${pair#*/}"
	done
}

# The same, and by the iterator
told() {
	local pair all
	scopes "$1"
	all=" $(js '.objects[] | "\(.tgid)=\(.policy)/\(.scope)"' | tr '\n' ' ')"
	for pair in $1; do
		[[ $all == *" ${VM_PID[${pair%%=*}]}=${pair#*=} "* ]] ||
			die "status, of VM ${pair%%=*} (${VM_PID[${pair%%=*}]}): $all, wanted $pair"
	done
}

note 'precedence and inheritance, for running VMs'
scopes 'aa=builtin/builtin b=builtin/builtin'
load count --as host
scopes 'aa=host/global b=host/global'
load count --as top --cgroup gt
scopes 'aa=top/cgroup b=top/cgroup'
load count --as mid --cgroup /gt/a
scopes 'aa=mid/cgroup b=top/cgroup'
load count --as near --cgroup "$CGROUPS/gt/a/aa"
told 'aa=near/cgroup b=top/cgroup'
vm_new new "$CGROUPS/gt/a"
vm new 'create 2M'
scopes 'new=mid/cgroup'
vm_end new

note 'what decides is what is shown'
counted near
counted top
counted host
vm aa 'gtouch 4G 16K'
counted near 'alloc_guest_fault=4 prealloc_fault=4' 'the nearest decides'
vm b 'gtouch 4G 8K'
counted top 'alloc_guest_fault=2 prealloc_fault=2' 'that above decides'
counted near '' 'for another VM'
counted host '' 'for VMs of a cgroup'

note 'named by the VMM'
vm_new n "$CGROUPS/gt/a/aa"
vm_fails n ENOENT 'create 2M policy=menu'
vm_fails n ENOENT 'create 2M policy=host' # is loaded, but not as one that VMMs may name
load count --as menu --flags named
vm n 'create 2M policy=menu'
told 'n=menu/named aa=near/cgroup b=top/cgroup'
assert_eq "$(obj n .asked_name)" menu 'asked_name'
vm n 'flags'
assert_eq "$((reply & (1 << 24)))" $((1 << 24)) "KVM_CAP_GUEST_MEMFD_FLAGS ($reply)"
vm_fails n ENOENT 'create 2M policy=men'
vm_fails n ENOENT 'create 2M policy=menu2'
# An empty name asks for nothing; a name without the flag is not read; one without an end is refused
vm n 'create 2M flags=0x1000000'
scopes 'n=near/cgroup'
vm n 'close; use 0; create 2M reserved=2:0x756e656d'
scopes 'n=near/cgroup'
vm n 'close; use 0; create 2M flags=0x1000000 reserved=2:0x756e656d'
scopes 'n=menu/named'
x=0x6161616161616161
vm_fails n EINVAL "create 2M flags=0x1000000 reserved=2:$x reserved=3:$x reserved=4:$x reserved=5:$x"
vm_fails n ENOENT "create 2M flags=0x1000000 reserved=2:$x reserved=3:$x reserved=4:$x reserved=5:0x61616161616161"
long=abcdefghijklmnopqrstuvwxyz01234
load zero_alloc --as $long --flags named
vm n "close; use 0; close; create 2M policy=$long"
scopes "n=$long/named"
unload $long
policy_becomes n near cgroup
load count --as $long --flags named
policy_becomes n $long named
unload $long
vm n 'close; create 2M policy=menu'
scopes 'n=menu/named'

note 'enforced: before what the VMM named, the nearest first'
unload top
scopes 'aa=near/cgroup b=host/global n=menu/named'
load zero_alloc --as must --cgroup gt --flags enforced
scopes 'aa=must/enforced b=must/enforced n=must/enforced'
unload host
load zero_alloc --as must_all --flags enforced
scopes 'aa=must/enforced b=must/enforced n=must/enforced'
vm_new out
vm out 'create 1M'
scopes 'out=must_all/enforced'
unload must
scopes 'aa=must_all/enforced b=must_all/enforced n=must_all/enforced'
unload mid
load zero_alloc --as must_mid --cgroup gt/a --flags enforced
told 'aa=must_mid/enforced b=must_all/enforced n=must_mid/enforced out=must_all/enforced'

note 'removal: the next in scope'
unload must_all
scopes 'aa=must_mid/enforced b=builtin/builtin n=must_mid/enforced out=builtin/builtin'
unload must_mid
scopes 'aa=near/cgroup n=menu/named'
unload menu
scopes 'aa=near/cgroup n=near/cgroup'
load count --as host
load count --as top --cgroup gt
unload near
scopes 'aa=top/cgroup n=top/cgroup b=top/cgroup out=host/global'
unload top
scopes 'aa=host/global n=host/global b=host/global out=host/global'
unload host
told 'aa=builtin/builtin n=builtin/builtin b=builtin/builtin out=builtin/builtin'
vm_end n
vm_end out

note 'declined: the next, and not asked again'
load count --as host
load count --as picky --cgroup gt --set min_mb=3
told 'aa=host/global b=picky/cgroup'
_base=()
counted picky 'init_taken=1 init_declined=1' 'one of two'
load count --as near --cgroup gt/b
unload near
scopes 'aa=host/global b=picky/cgroup'
counted picky 'init_taken=1 exit_called=1' 'one that left and came back; the other is not asked again'
assert_eq "$(pol picky '"\(.declines) \(.objects)"')" '1 1' 'declines and objects'
assert_match "$(gmem-policy show "${VM_PID[aa]}")" 'picky +not taken: its init declined' 'show says why'
replace count --as picky --set min_mb=1
scopes 'aa=picky/cgroup b=picky/cgroup'
unload picky
scopes 'aa=host/global b=host/global'
unload host

note 'a shadow: asked, counted, traced, and never applied'
trace_begin policy_decision policy_trip prealloc
load hostile --as ghost --flags shadow --set zero=1 --set how=1 --set from_set=true --set count=64 --set convert_how=1 --set mode=1
fdinfo_is aa shadow=ghost policy=builtin scope=builtin
vm_new s
vm s 'create 2M; bind 1 4G 0 2M; convert private 4G 2M; gtouch 4G 4K'
fdinfo_is s resident=$((4 * K)) zeroed-first-use=$((4 * K)) zeroed-alloc=0 zeroed-ahead=0 decisions=0 'prealloc=0 of 0' shadow=ghost
vm s 'punch 0 2M'
fdinfo_is s zeroed-free=0
assert_eq "$(pol ghost '.decisions | "\(.alloc) \(.prealloc) \(.convert) \(.free)"')" '1 4 1 1' 'decisions of the shadow'
assert_traced 'name=ghost op=alloc why=guest_fault .* a=0 b=1 .* shadow=1' 1 'the decision that was not applied'
assert_traced 'policy_decision: .*shadow=0' 0 'decisions that were'
assert_traced 'kvm_gmem_prealloc:' 0 'populating'
# It has a cookie of its own, and nonsense of it hurts nobody else
load hostile --as real --set cookie_set=true --set cookie=111
replace hostile --as ghost --set cookie_set=true --set cookie=222 --set order=99
vm s 'gtouch 4G 2M'
fdinfo_is s clamped=0 policy=real scope=global
assert_eq "$(obj s .cookie)" 111 'the cookie of the effective policy'
assert_eq "$(pol ghost '"\(.state) \(.clamps)"') $(pol real '"\(.state) \(.clamps) \(.decisions.alloc)"')" 'tripped 64 active 0 512' 'the shadow is tripped, and it alone'
assert_traced 'policy_trip: .*name=ghost ' 1 'trips'
wait_for 20 eval '[ "$(fdinfo s shadow)" = none ]'
vm_end s
unload ghost
unload real

note 'siblings: what happens to the policy of one is nothing to the other'
load count --as quiet --cgroup gt/b
_base=()
counted quiet 'init_taken=1' 'one object'
load hostile --as bad --cgroup gt/a --set order=77
vm aa 'punch 0 2M; gtouch 4G 2M'
policy_becomes aa builtin builtin
replace hostile --as bad --set how=1 --set count=1
scopes 'aa=bad/cgroup b=quiet/cgroup'
unload bad
counted quiet '' 'load, trip, replace and unload in the cgroup beside it'
scopes 'aa=builtin/builtin b=quiet/cgroup'

note 'the cgroup is that of the creation, whereto the VMM is moved'
echo "${VM_PID[aa]}" >"$CGROUPS/gt/b/cgroup.procs"
load count --as near --cgroup gt/a/aa
scopes 'aa=near/cgroup b=quiet/cgroup'
vm aa 'create 1M'
scopes 'aa=quiet/cgroup'
unload near
unload quiet

note 'a cgroup that is removed under its policy'
cgroup gone
load count --as orphan --cgroup gone
rmdir "$CGROUPS/gone"
assert_eq "$(pol orphan '"\(.state) \(.objects)"')" 'active 0' 'its policy'
unload orphan
