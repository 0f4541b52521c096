#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Run one of upstream's selftests under a shipped policy, enforced on the whole host.
#   upstream-policy.sh POLICY -|VAR=VALUE[,VAR=VALUE]... TEST [ARG]...
. "$(dirname "$0")/policy.sh"

policy=$1 settings=$2 name=$3
shift 2

# What a policy is for can contradict what a test is about.
case $policy/$settings/$name in
prealloc/*at_create=true*/guest_memfd_test)
	skip 'it binds pages with mbind() before they are allocated, and the policy allocates them when the file is created'
	;;
esac

set=()
if [ "$settings" != - ]; then
	IFS=, read -ra values <<<"$settings"
	for v in "${values[@]}"; do set+=(--set "$v"); done
fi
load "$policy" --flags enforced "${set[@]}"
trace_begin policy_attach
bash ./upstream.sh "$@"
read -r state clamps decisions < <(pol "$policy" '"\(.state) \(.clamps) \(.decisions | add)"')
assert_eq "$state $clamps" 'active 0' 'the policy, and what of it was clamped'
# It was the one that decided; two of the tests have no memory allocated
assert_ge "$(traced "policy_attach: id=[1-9].*name=$policy ")" 1 'guest memory that came under the policy'
case $name in
private_mem_kvm_exits_test | set_memory_region_test) ;;
*) assert_ge "$decisions" 1 'decisions' ;;
esac
