#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 180
# The tracepoints of policies fire with true fields: attach, detach, decision, trip and prealloc; and what
# policies change in those of memory: when and how much of it is zeroed, allocated ahead, scrubbed. (The rest
# is in t-trace-events.sh.)
. "$(dirname "$0")/policy.sh"

trace_begin policy_attach policy_detach policy_decision policy_trip prealloc alloc zero free
echo mono >"$TRACE/trace_clock"

# Events so far whose name, and what follows it, is like $1. Numbers that the test does not choose are replaced
# by names: the object's and the policy's (ID, POLICY), times that are not 0 (T), nodes (N).
id='' policy=''
events() {
	local lines line
	mapfile -t lines <"$TRACE/trace"
	for line in "${lines[@]}"; do
		[[ $line =~ kvm_gmem_(.*)$ ]] || continue
		line=${BASH_REMATCH[1]}
		[[ $line =~ $1 ]] || continue
		if [[ $line =~ ^([a-z_]+:\ )id=$id\ (.*)$ ]]; then line="${BASH_REMATCH[1]}ID ${BASH_REMATCH[2]}"; fi
		if [[ $line =~ ^(.*\ )policy=$policy(\ .*)$ ]]; then line="${BASH_REMATCH[1]}POLICY${BASH_REMATCH[2]}"; fi
		if [[ $line =~ ^(.*\ ns=)[1-9][0-9]*$ ]]; then line=${BASH_REMATCH[1]}T; fi
		if [[ $line =~ ^(.*\ node=)[0-9]+(.*)$ ]]; then line=${BASH_REMATCH[1]}N${BASH_REMATCH[2]}; fi
		printf '%s\n' "$line"
	done
}

forget() { echo >"$TRACE/trace"; }

# assert_events REGEX WHAT <<<EVENTS
assert_events() {
	local want
	want=$(cat)
	assert_eq "$(events "$1")" "$want" "$2"
	note "$2"
}

# ---- A policy is loaded, decides, and is unloaded ----

gmem-policy load count >/dev/null &
loader=$!
wait $loader
policy=$(pol count .id)
attached=$(events policy_attach)
assert_match "$attached" \
	"^policy_attach: id=0 tgid=$loader name=count POLICY cgroup_id=0 flags=0x0 uid=0 comm=gmem-policy tag=[0-9a-f]{16}\$" \
	"attach of the policy"
tag=${attached##*tag=}
bpftool -j prog show | jq -r '.[].tag' | grep -qx "$tag" || die "no program has the tag $tag"
note "attach of the policy"

forget
vm_new a
pid=${VM_PID[a]}
vm a 'create 4M'
id=$(fdinfo a id)
assert_events . "a new object" <<END
policy_attach: ID tgid=$pid name=count POLICY cgroup_id=0 flags=0x0 uid=0 comm=gmem-policy tag=$tag
policy_decision: ID tgid=$pid name=count op=prealloc why=create index=0 nr=0 a=0 b=0 fitted=0 clamped=0 shadow=0
END
forget
vm a 'bind 1 4G 0 4M; convert private 4G 2M'
assert_events . "bind and convert" <<END
policy_decision: ID tgid=$pid name=count op=prealloc why=bind index=0 nr=0 a=0 b=0 fitted=0 clamped=0 shadow=0
policy_decision: ID tgid=$pid name=count op=convert why=convert index=0 nr=512 a=0 b=0 fitted=0 clamped=0 shadow=0
policy_decision: ID tgid=$pid name=count op=prealloc why=convert index=0 nr=0 a=0 b=0 fitted=0 clamped=0 shadow=0
END
forget
vm a 'gread 0x100003000'
assert_events . "a fault that finds nothing" <<END
policy_decision: ID tgid=$pid name=count op=alloc why=guest_fault index=3 nr=1 a=0 b=0 fitted=0 clamped=0 shadow=0
alloc: ID tgid=$pid index=3 gfn=0x100003 why=guest_fault asked=0 fitted=0 order=0 node=N zero=first_use ret=0 ns=T
zero: ID tgid=$pid index=3 nr=1 when=first_use ns=T
policy_decision: ID tgid=$pid name=count op=prealloc why=guest_fault index=3 nr=0 a=0 b=0 fitted=0 clamped=0 shadow=0
END
forget
vm a 'gread 0x100003000; punch 8K 8K'
assert_events . "a hit, and a punch" <<END
policy_decision: ID tgid=$pid name=count op=free why=punch index=2 nr=2 a=0 b=0 fitted=0 clamped=0 shadow=0
free: ID tgid=$pid index=2 nr=2 why=punch mode=give_back pages=1 failed=0 ns=T
END
forget
gmem-policy unload count >/dev/null &
unloader=$!
wait $unloader
policy_becomes a builtin builtin
assert_events 'id=0 ' "detach of the policy" <<<"policy_detach: id=0 tgid=$unloader name=count POLICY reason=\"detached\""
assert_events 'policy_detach: id=[1-9]' "the object leaves it" \
	<<<"policy_detach: ID tgid=$pid name=count POLICY reason=\"policy changed\""

# ---- What decisions come to ----

load zero_alloc
forget
vm a 'fallocate 2M 4K'
assert_events . "zeroing at allocation" <<END
policy_decision: ID tgid=$pid name=zero_alloc op=alloc why=fallocate index=512 nr=1 a=0 b=1 fitted=0 clamped=0 shadow=0
alloc: ID tgid=$pid index=512 gfn=0xffffffffffffffff why=fallocate asked=0 fitted=0 order=0 node=N zero=alloc ret=0 ns=T
zero: ID tgid=$pid index=512 nr=1 when=alloc ns=T
END
unload zero_alloc

load prealloc --set background=false
forget
# Two pages of it, of which one is there already
vm a 'convert private 0x100200000 8K'
assert_events . "populating at once" <<END
policy_decision: ID tgid=$pid name=prealloc op=prealloc why=convert index=512 nr=2 a=1 b=0 fitted=0 clamped=0 shadow=0
policy_decision: ID tgid=$pid name=prealloc op=alloc why=prealloc index=513 nr=1 a=0 b=1 fitted=0 clamped=0 shadow=0
alloc: ID tgid=$pid index=513 gfn=0xffffffffffffffff why=prealloc asked=0 fitted=0 order=0 node=N zero=alloc ret=0 ns=T
zero: ID tgid=$pid index=513 nr=1 when=ahead ns=T
prealloc: ID tgid=$pid index=512 nr=2 why=convert background=0 done=1 ret=0 ns=T
END
replace prealloc --set background=true --set zero=false
forget
vm a 'convert private 0x100300000 1M'
wait_for 20 traced_at_least 'kvm_gmem_prealloc:' 1
assert_events '^prealloc:' "populating in the background" \
	<<<"prealloc: ID tgid=$pid index=768 nr=256 why=convert background=1 done=256 ret=0 ns=T"
assert_eq "$(events '^alloc: .* why=prealloc .* zero=first_use ret=0' | wc -l)" 256 "pages allocated"
assert_eq "$(traced 'kvm_gmem_zero:')" 0 "pages zeroed"
unload prealloc

# Half of it was used; the rest was never zeroed, and needs no scrubbing.
load hostile --set mode=1
vm a 'gtouch 0x100300000 32K'
forget
vm a 'punch 3M 64K'
assert_events '^(zero|free):' "scrubbing" <<END
zero: ID tgid=$pid index=768 nr=8 when=free ns=T
free: ID tgid=$pid index=768 nr=16 why=punch mode=scrub pages=16 failed=0 ns=T
END

# ---- What does not fit, what is nonsense, and too much of that ----

old=$(pol hostile .id)
forget
gmem-policy replace hostile --set order=1 >/dev/null &
loader=$!
wait $loader
policy=$(pol hostile .id)
assert_events 'id=0 .* name=hostile' "one policy in the place of another" <<END
policy_detach: id=0 tgid=$loader name=hostile policy=$old reason="replaced"
policy_attach: id=0 tgid=$loader name=hostile POLICY cgroup_id=0 flags=0x8 uid=0 comm=gmem-policy tag=$(events 'policy_attach: id=0' | sed 's/.*tag=//')
END
policy_becomes a hostile global
forget
vm a 'fallocate 3M 4K'
assert_events 'op=alloc|^alloc' "an order that fits" <<END
policy_decision: ID tgid=$pid name=hostile op=alloc why=fallocate index=768 nr=2 a=1 b=0 fitted=0 clamped=0 shadow=0
alloc: ID tgid=$pid index=768 gfn=0xffffffffffffffff why=fallocate asked=1 fitted=1 order=1 node=N zero=first_use ret=0 ns=T
END
forget
vm a 'punch 3M 4K; fallocate 3M 4K'
assert_events 'op=alloc|^alloc' "an order that does not" <<END
policy_decision: ID tgid=$pid name=hostile op=alloc why=fallocate index=768 nr=1 a=0 b=0 fitted=1 clamped=0 shadow=0
alloc: ID tgid=$pid index=768 gfn=0xffffffffffffffff why=fallocate asked=1 fitted=0 order=0 node=N zero=first_use ret=0 ns=T
END
replace hostile --set zero=77
policy=$(pol hostile .id)
vm a 'punch 3M 1M'
forget
vm a 'fallocate 3M 1M'
assert_eq "$(events 'op=alloc .* a=0 b=0 fitted=0 clamped=1 shadow=0' | wc -l)" 64 "decisions that are nonsense, until it is tripped"
assert_eq "$(events 'op=alloc' | wc -l)" 64 "decisions, until it is tripped"
assert_match "$(events policy_trip)" "^policy_trip: ID tgid=$pid name=hostile POLICY reason=\"alloc: [^\"]+\"\$" "the trip"
assert_eq "$(events '^alloc: .* zero=first_use ret=0' | wc -l)" 256 "pages that were allocated all the same"
note "nonsense, and a trip"
vm_end a
unload hostile
