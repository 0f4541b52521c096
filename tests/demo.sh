#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What "make demo" shows, in the booted machine: a policy is loaded, VMs convert memory under it, and both the
# policy and a trace tell what happened. Fails if the trace and the VMs do not agree.
. "$(dirname "$0")/lib.sh"
tmp=$(mktemp -d)
cleanup "rm -rf $tmp"
cleanup "gmem-policy unload --all >/dev/null"

echo "== this host"
uname -sr
gmem-policy check | tail -n 1

echo
echo "== load a policy: zero memory when it is allocated"
gmem-policy load zero_alloc

echo
echo "== trace conversions, and run three VMs of two vCPUs that convert memory"
bpftrace -B line /opt/gmem/share/gmem-trace/gmem-conversions.bt >"$tmp/trace" 2>&1 &
tracer=$!
wait_for 60 grep -q '^Tracing' "$tmp/trace"
"$SELFTESTS/gmem_workload" --vms 3 --vcpus 2 --count 40 --exit both --hold 600 --ready-file "$tmp/ready" --json \
	>"$tmp/workload.json" 2>"$tmp/workload.err" &
workload=$!
wait_for 300 grep -q '^held' "$tmp/ready"

echo "== the policy, while the VMs are there"
gmem-policy status

kill "$workload"
wait "$workload" || die "the VMs failed: $(cat "$tmp/workload.err")"
kill -INT "$tracer"
wait "$tracer" || :

echo
echo "== where conversions spent their time"
sed -n '/^VM /,$p' "$tmp/trace"

made=$(jq .total.conversions "$tmp/workload.json")
errors=$(jq .total.errors "$tmp/workload.json")
traced=$(awk '/^VM .* conversions/ { n += $3 } END { print n }' "$tmp/trace")
shown=$(awk -F '[)|]' '/^\[/ { n += $2 } END { print n }' "$tmp/trace")
echo
echo "The VMs made $made conversions and verified every byte ($errors errors); traced: $traced; in the histograms: $shown."
assert_eq "$errors" 0 "verification errors"
assert_eq "$traced" "$made" "conversions traced"
assert_eq "$shown" "$made" "conversions in the histograms"
