#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 300
# Nothing that is killed leaves anything behind: VMMs while policies populate, convert and scrub for them, and
# loaders at any moment. A policy whose loader is gone stays by its pin, and vanishes without one. In the end
# kvm.ko can be unloaded.
. "$(dirname "$0")/policy.sh"

before=$(bpf_census | sort)
same() { [ "$(bpf_census | sort)" = "$before" ]; }

note 'VMMs'
cleanup 'rm -f /sys/fs/bpf/census_counts /sys/fs/bpf/census_members'
load census --set how=background --set mode=scrub --set zero_early=true
load chaos --flags shadow
for i in {1..8}; do
	rm -f "$TMP/ready"
	(
		close_vms
		exec gmem_workload -v 2 -c 2 -p random -s 1M -t 1000 --seed "$i" --ready-file "$TMP/ready"
	) >"$TMP/work" 2>&1 &
	work=$!
	cleanup "kill -9 $work 2>/dev/null"
	wait_for 60 grep -qs running "$TMP/ready"
	sleep 0.$((RANDOM % 5))$((RANDOM % 10))
	mapfile -t pids < <(sed -n 's/^vm=.* pid=//p' "$TMP/ready")
	# the VMs themselves, or who started them: they follow
	if [ $((i & 1)) = 1 ]; then kill -9 "${pids[@]}" 2>/dev/null || :; else kill -9 $work; fi
	wait $work 2>/dev/null || :
	# While one populates, and with a file that only a mapping still holds
	vm_new k
	vm k "vmtype=default; create 256M mmap shared; mmap; bind 1 4G 0 256M; hwrite 0 1"
	vm_kill k
done
wait_for 60 no_objects
unload --all
book=$(bpftool -j map dump pinned /sys/fs/bpf/census_counts | jq -c 'map(.formatted.value)')
note "inits, exits, calls; errors: $book"
read -r inits exits errors < <(jq -r '"\(.[0]) \(.[1]) \(.[3:] | add)"' <<<"$book")
assert_eq "$inits $exits $errors" '24 24 0' 'inits, exits, errors (test/census.bpf.c)'
rm -f /sys/fs/bpf/census_counts /sys/fs/bpf/census_members

note 'loaders, at random moments'
vm_new a
vm a 'create 1M'
loaded=0
for i in {1..10}; do
	gmem-policy load count >"$TMP/load" 2>&1 &
	pid=$!
	sleep 0.$((i / 2))$((RANDOM % 10))
	kill -9 $pid 2>/dev/null || :
	wait $pid 2>/dev/null || :
	if [ -e "$PINS/count" ]; then
		# It was killed after it had pinned: all is as if it had not been
		loaded=$((loaded + 1))
		policy_becomes a count global
		unload count
	fi
	policy_becomes a builtin builtin
	assert_eq "$(gmem-policy status --names)" '' 'what a loader left that was killed before it pinned'
done
note "$loaded of 10 had pinned"

note 'loaders, right after the kernel attached: not pinned yet'
bpftrace --unsafe -e 'tracepoint:kvm_gmem:kvm_gmem_policy_attach /args.id == 0 && comm == "gmem-policy"/ { signal("KILL"); }
	BEGIN { printf("ready\n"); }' >"$TMP/bt" 2>&1 &
bt=$!
cleanup "kill $bt 2>/dev/null; wait $bt 2>/dev/null"
wait_for 60 grep -q ready "$TMP/bt"
trace_begin policy_attach
assert_fails 137 gmem-policy load count
assert_traced 'policy_attach: id=0 .*name=count ' 1 'the policy was attached when its loader was killed'
assert_eq "$(ls "$PINS")" '' 'pins'
policy_becomes a builtin builtin
wait_for 20 no_policies
kill $bt
wait $bt 2>/dev/null || :

note 'a loader that is killed later: the policy stays'
load count
policy_is a count global
pid=$(pol count .loaded_by.pid)
[ ! -e "/proc/$pid" ] || die "the loader ($pid) is still there"
vm a 'create 1M'
policy_is a count global
# The pin is what keeps it
rm "$PINS/count"
policy_becomes a builtin builtin
wait_for 20 no_policies
vm_kill a

wait_for 20 no_objects
wait_for 20 same
kvm_reload
