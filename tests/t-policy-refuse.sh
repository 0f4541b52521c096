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

note 'what is in the object'
refused EOPNOTSUPP 'abi_version \(9999\)' gmem-policy load bad_abi
kernel_refuses 'not supported|524|95' bad_abi
refused EOPNOTSUPP '0x80000000' gmem-policy load bad_flag
kernel_refuses 'not supported|524|95' bad_flag
refused EINVAL 'named' gmem-policy load bad_combo
kernel_refuses 'Invalid argument' bad_combo
refused EINVAL 'bad_pool' gmem-policy load bad_pool
kernel_refuses 'Invalid argument' bad_pool
refused EACCES 'may write its decisions' gmem-policy load bad_write
kernel_refuses 'may write its decisions' bad_write
refused EINVAL 'sleep' gmem-policy load sleepable
kernel_refuses '' sleepable
refused EOPNOTSUPP 'link' gmem-policy load nonlink
kernel_refuses 'not supported|524|95' nonlink
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
for name in a.b a/b '' "$(printf 'x%.0s' {1..32})" 'a b' a-b; do
	assert_fails 1 gmem-policy load prealloc --flags named --as "$name"
done

note 'privileges'
all=$(sed -n 's/^CapEff:\s*//p' /proc/self/status)
# Everything but CAP_SYS_ADMIN: the programs load, and the kernel refuses to attach them
without() { setpriv --bounding-set "-$1" --inh-caps "-$1" "${@:2}"; }
assert_no_match "$(without sys_admin sed -n 's/^CapEff:\s*//p' /proc/self/status)" "^$all\$" 'capabilities'
assert_fails 1 without sys_admin gmem-policy load zero_alloc --flags shadow
assert_match "$output" 'not attached: not permitted' 'load without CAP_SYS_ADMIN'
assert_fails 1 without sys_admin gmem-policy replace count --set min_mb=5
rc=0
output=$(without sys_admin bpftool struct_ops register /opt/gmem/lib/gmem/policies/zero_alloc.bpf.o 2>&1) || rc=$?
[ $rc != 0 ] || die "bpftool attached without CAP_SYS_ADMIN: $output"
# root of a container
assert_fails 1 unshare -Ur gmem-policy load zero_alloc --flags shadow
assert_eq "$(js '.policies | map("\(.name) \(.tunables[0].value)") | join(", ")')" 'count 0' 'what is loaded'

note 'nothing of it stays'
assert_eq "$(ls "$PINS")" count 'pins'
same() { [ "$(bpf_census | sort)" = "$before" ]; }
wait_for 20 same
