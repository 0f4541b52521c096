#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 120
# What must not be attached is refused, by the kernel and not just by gmem-policy: too few privileges, another
# ABI, unknown or contradictory flags, a name or a place that is taken, programs that sleep or write what they
# are only told, maps without a link, cgroups that are not there. And nothing of it stays.
. "$(dirname "$0")/policy.sh"

load count
before=$(bpf_census | sort)

# refused CODE TEXT CMD...: by gmem-policy, with this error
refused() {
	local code=$1 text=$2
	shift 2
	assert_fails 1 "$@" -j
	assert_eq "$(jq -r .error.code <<<"$output")" "$code" "the error of '$*'"
	assert_match "$(jq -r '.error.message + " " + .error.hint + " " + .error.log' <<<"$output")" "$text" "the message of '$*'"
}

# kernel_refuses ERRNO FILE: without gmem-policy in between
kernel_refuses() {
	rc=0
	output=$(bpftool struct_ops register "$TESTBPF/$2.bpf.o" 2>&1) || rc=$?
	[ $rc != 0 ] || die "the kernel took $2: $output"
	assert_match "$output" "$1" "bpftool, of $2"
}

# EOPNOTSUPP, as a word or as its number, and not a part of another number
# A program of an op that may sleep: the op is not one that it can attach to
SLEEPS='attach to unsupported member alloc of struct gmem_policy_ops'
ENOTSUPP='[Nn]ot supported|(^|[^0-9])(95|524)([^0-9]|$)'

note 'what is in the object'
refused EOPNOTSUPP 'abi_version \(9999\)' gmem-policy load bad_abi
kernel_refuses "$ENOTSUPP" bad_abi
refused EOPNOTSUPP '0x80000000' gmem-policy load bad_flag
kernel_refuses "$ENOTSUPP" bad_flag
refused EINVAL 'named' gmem-policy load bad_combo
kernel_refuses 'Invalid argument' bad_combo
refused EINVAL 'bad_pool' gmem-policy load bad_pool
kernel_refuses 'Invalid argument' bad_pool
refused EACCES 'may write its decisions' gmem-policy load bad_write
kernel_refuses 'may write its decisions' bad_write
refused EINVAL "$SLEEPS" gmem-policy load sleepable
kernel_refuses "$SLEEPS" sleepable
refused EINVAL "'builtin' is no name" gmem-policy load bad_name
kernel_refuses 'Invalid argument' bad_name
refused EOPNOTSUPP 'link' gmem-policy load nonlink
kernel_refuses "$ENOTSUPP" nonlink
refused ENOENT 'cgroup' gmem-policy load bad_cgroup
kernel_refuses 'No such file' bad_cgroup
refused ENOENT 'no such cgroup' gmem-policy load count --as x --cgroup not/there

note 'names and places that are taken'
refused EEXIST "'count' is loaded already" gmem-policy load count
cgroup refuse
refused EEXIST "'count' is loaded already" gmem-policy load count --cgroup refuse
refused EEXIST "'global' has a policy already: 'count'" gmem-policy load zero_alloc
refused EEXIST "has a policy already: 'count'" gmem-policy load zero_alloc --flags enforced
refused EEXIST "'count' is loaded already" gmem-policy load zero_alloc --as count --flags named
load zero_alloc --flags shadow
refused EEXIST "has a policy already: 'zero_alloc'" gmem-policy load prealloc --flags shadow
load prealloc --cgroup refuse
refused EEXIST "has a policy already: 'prealloc'" gmem-policy load zero_alloc --as z --cgroup refuse
load prealloc --as menu_a --flags named
load prealloc --as menu_b --flags named
refused EEXIST "'menu_a' is loaded already" gmem-policy load count --as menu_a --flags named
unload prealloc
unload zero_alloc
unload menu_a
unload menu_b
refused EINVAL 'named' gmem-policy load prealloc --flags named --cgroup refuse
refused EINVAL 'shadow' gmem-policy load prealloc --flags shadow,enforced
refused ENOENT 'no policy called' gmem-policy replace prealloc
for name in a.b a/b '' "$(printf 'x%.0s' {1..32})" 'a b' a-b builtin 4711; do
	refused EINVAL 'is no name for a policy' gmem-policy load prealloc --flags named --as "$name"
done
# Another name helps only where the place is free
assert_no_match "$(gmem-policy load count -j || :)" 'another name' 'load, of a name and a place that are taken'
assert_match "$(gmem-policy load count --cgroup refuse -j || :)" 'another name: --as NAME' 'load, of a name that is taken'

note 'privileges'
all=$(sed -n 's/^CapEff:\s*//p' /proc/self/status)
# Everything but CAP_SYS_ADMIN: the programs load, and the kernel refuses to attach them
without() { setpriv --bounding-set "-$1" --inh-caps "-$1" "${@:2}"; }
assert_no_match "$(without sys_admin sed -n 's/^CapEff:\s*//p' /proc/self/status)" "^$all\$" 'capabilities'
assert_fails 1 without sys_admin gmem-policy load zero_alloc --flags shadow
assert_match "$output" 'not attached: not permitted \(missing: CAP_SYS_ADMIN\)' 'load without CAP_SYS_ADMIN'
assert_fails 1 without sys_admin gmem-policy replace count --set min_mb=5
assert_match "$output" 'not replaced: not permitted \(missing: CAP_SYS_ADMIN\)' 'replace without CAP_SYS_ADMIN'
assert_fails 1 without bpf gmem-policy load zero_alloc --flags shadow
assert_match "$output" 'not attached: not permitted \(missing: CAP_BPF\)' 'load without CAP_BPF'
assert_fails 1 without bpf gmem-policy replace count --set min_mb=5
assert_match "$output" 'not replaced: not permitted \(missing: CAP_BPF\)' 'replace without CAP_BPF'
assert_fails 255 without sys_admin bpftool struct_ops register /opt/gmem/lib/gmem/policies/zero_alloc.bpf.o
assert_match "$output" 'not permitted' 'bpftool without CAP_SYS_ADMIN'
# root of a container, as far as the tools get it, and then by file descriptors that root has opened: for the kernel
# alone, whose own checks come last
assert_fails 1 unshare -Ur gmem-policy load zero_alloc --flags shadow
assert_match "$output" 'not permitted \(not in the initial user namespace\)' 'load in a container'
assert_eq "$(js '.policies | map("\(.name) \(.tunables[0].value)") | join(", ")')" 'count 0' 'what is loaded'
id=$(js '.policies[0].id')
assert_eq "$(gmem_caps "$PINS/count")" 'no CAP_BPF: update EPERM, attach EPERM
no CAP_SYS_ADMIN: update EPERM, attach EPERM
root of a container: update EPERM, attach EPERM
root: update 0, attach EEXIST' 'who may update and attach'
assert_ge "$(js '.policies[0].id')" $((id + 1)) 'the policy after root replaced it'

note 'nothing of it stays'
assert_eq "$(ls "$PINS")" count 'pins'
same() { [ "$(bpf_census | sort)" = "$before" ]; }
wait_for 20 same
