#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What "make demo" shows, in the booted machine: a policy is loaded, VMs convert memory under it, and both the
# policy and traces tell what happened. Ends with the policy's status and a histogram of conversions. Leaves the
# recording and its page in /run/results. Fails if the traces and the VMs do not agree.
. "$(dirname "$0")/lib.sh"
tmp=$(mktemp -d)
cleanup "rm -rf $tmp"
cleanup "gmem-policy unload --all >/dev/null"
results=/run/results

# trace NAME ARG...: gmem-trace ARG... in the background; its output is in $tmp/NAME
declare -A tracers=()
trace() {
	local name=$1
	shift
	gmem-trace "$@" >"$tmp/$name" 2>"$tmp/$name.err" &
	tracers[$name]=$!
	wait_for 60 grep -q '^Tracing' "$tmp/$name.err"
}

trace_end() {
	kill -INT "${tracers[$1]}"
	wait "${tracers[$1]}" || die "$1: $(cat "$tmp/$1.err")"
}

# The same with one line of bpftrace. Conversions that changed nothing are none. It starts its command when all is
# attached.
histogram() {
	bpftrace -e 't:kvm_gmem:kvm_gmem_convert_end /args.changed && args.ret == 0/ { @ns = hist(args.ns); }' \
		-c '/usr/bin/sleep infinity' >"$tmp/histogram" 2>"$tmp/histogram.err" &
	tracers[histogram]=$!
	wait_for 120 pgrep -P "${tracers[histogram]}" -x sleep
}
in_histogram() { awk -F'[)|\\]]' '/^\[/ { n += $2 } END { print n + 0 }'; }

# Of the VMs in what gmem-trace prints
conversions() { awk '/^VM .*\): [0-9]+ conversions/ { sub(/.*\): /, ""); n += $1 } END { print n + 0 }'; }

echo "== this host"
uname -sr
gmem-policy check | tail -n 1

echo
echo "== load a policy: zero memory when it is allocated"
gmem-policy load zero_alloc

echo
echo "== trace conversions, record all, and run three VMs of two vCPUs that convert memory"
trace conversions conversions
trace record record "$results/demo.gmt"
histogram
"$SELFTESTS/gmem_workload" --vms 3 --vcpus 2 --count 40 --exit both --hold 600 --ready-file "$tmp/ready" --json \
	>"$tmp/workload.json" 2>"$tmp/workload.err" &
workload=$!
wait_for 300 grep -q '^held' "$tmp/ready"

gmem-policy status >"$tmp/status"
kill "$workload"
wait "$workload" || die "the VMs failed: $(cat "$tmp/workload.err")"
trace_end conversions
trace_end record
trace_end histogram
gmem-trace report --text "$results/demo.gmt" >"$tmp/report"
gmem-trace report --output "$results/demo.html" "$results/demo.gmt" 2>"$tmp/page.err" || die "the page: $(cat "$tmp/page.err")"

echo
echo "== where conversions spent their time; of the first VM, all"
awk '/^VM / { n++ } n == 1 || /^(VM|lost)/' "$tmp/conversions"

echo
echo "== the policy, while the VMs were there"
cat "$tmp/status"

echo
echo "== how long conversions took in the kernel, ns"
grep '^\[' "$tmp/histogram"

made=$(jq .total.conversions "$tmp/workload.json")
errors=$(jq .total.errors "$tmp/workload.json")
traced=$(conversions <"$tmp/conversions")
recorded=$(conversions <"$tmp/report")
drawn=$(in_histogram <"$tmp/histogram")
echo
echo "The VMs made $made conversions and verified every byte ($errors errors); traced: $traced; in the recording: $recorded; in the histogram: $drawn."
assert_eq "$errors" 0 "verification errors"
assert_eq "$traced" "$made" "conversions traced"
assert_eq "$recorded" "$made" "conversions recorded"
assert_eq "$drawn" "$made" "conversions in the histogram"
