#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# scripts/bench-report, on results that are made up: what is missing or too much fails, and what got worse is named.
set -euo pipefail
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

fail() {
	echo "FAIL: $*" >&2
	exit 1
}

# made DIR [COLUMN STEP FACTOR]...: results that are all right, but for the cost of these steps; factor 0: it is not there
made() {
	rm -rf "$1"
	python3 - "$@" <<-'EOF'
	import importlib.machinery, importlib.util, json, os, sys

	sys.dont_write_bytecode = True
	loader = importlib.machinery.SourceFileLoader("report", "scripts/bench-report")
	report = importlib.util.module_from_spec(importlib.util.spec_from_loader("report", loader))
	loader.exec_module(report)
	out, changes = sys.argv[1], sys.argv[2:]
	changed = {(c, s): float(f) for c, s, f in zip(changes[::3], changes[1::3], changes[2::3])}
	derived = {"cycle", "one_page", "decision", "fault_4k_first", "fault_4k_hit", "fault_4k_pool", "fault_2m_first", "fault_2m_hit",
	           "fault_2m_pool"}
	# per page or each; what has no value here costs 1000 without a policy, and next to nothing with one
	costs = {"clear": 520, "copy": 530, "retouch": 10, "fill_retouch": 10, "touch": 6000, "fill_touch": 6000, "fill": 6100,
	         "convert_64m": 1e7, "convert_1g": 1.6e8, "pool_4k": 1300, "pool_2m": 540}
	special = {("count", "touch"): 6200, ("count", "touch_allocated"): 1000, ("count", "fallocate"): 1200, ("huge", "touch"): 550,
	           ("huge_zero", "fallocate"): 540, ("huge_zero", "touch_allocated"): 20, ("huge", "convert_64m"): 1e5,
	           ("huge", "convert_1g"): 1e6, ("huge_adaptive", "convert_64m"): 1e5, ("huge_adaptive", "convert_1g"): 1e6,
	           ("prezero_small", "fill_touch"): 5600, ("huge", "fill_touch"): 550, ("prezero", "fill_touch"): 20,
	           ("boot", "fill"): 30, ("scrub_large", "fill_close"): 550, ("scrub", "fill_close"): 1500, ("prezero", "fill_close"): 20}
	steps = {}
	for step, _, _, columns in report.ROWS:
	    for column in (*columns, *(["unloaded"] if step in report.BULK else []), *(["huge_zero"] if step in ("clear", "retouch", "touch_allocated") else [])):
	        if step in derived or step.startswith("trace_"):
	            continue
	        ns = special.get((column, step), costs.get(step, 1000)) * changed.get((column, step), 1)
	        units, faults = 10000, 0
	        if step.startswith("grow_"):
	            units = report.SIZES[step.split("_")[-1]]
	        elif step.startswith(("vcpus_", "vms_")):
	            units = int(step.split("_")[1])
	        elif step.startswith(("convert", "to_", "guest")):
	            units = 1
	        if step in ("touch", "guest_boot"):
	            faults = 20 if column in ("huge", "boot") else 10000
	        if ns:
	            steps.setdefault(column, {})[step] = {
	                "ns": ns, "min": ns, "max": ns, "units": units, "faults": faults,
	                "decisions": units if column == "count" else 0, "unit": "page", "what": step}
	for column, (kernel, name, _) in report.COLUMNS.items():
	    for again in ("", ".2"):
	        if column in steps and (not again or column in report.BOTH):
	            os.makedirs(f"{out}/{kernel}{again}", exist_ok=True)
	            with open(f"{out}/{kernel}{again}/{name}.all.json", "w", encoding="utf-8") as f:
	                json.dump({"steps": steps[column]}, f)
	with open(out + "/normal/trace.json", "w", encoding="utf-8") as f:
	    json.dump({t: {s: {"conversions": 40, "instructions": int(900 * changed.get(("trace", t), 1))} for s in ("4K", "64K", "2M")}
	               for t in report.TOOLS if changed.get(("trace", t), 1)}, f)
	with open(out + "/meta.json", "w", encoding="utf-8") as f:
	    json.dump({"clock": "instructions", "commit": "made up", "command": "made up"}, f)
	EOF
}

# expect STATUS REGEX CMD...: it ends with that, and has such a line
expect() {
	local want=$1 line=$2 rc=0
	shift 2
	"$@" >"$tmp/out" 2>&1 || rc=$?
	[ "$rc" = "$want" ] || fail "$* ended with $rc, wanted $want: $(tail -n 50 "$tmp/out")"
	grep -Eq -- "$line" "$tmp/out" || fail "$*: no line like '$line': $(tail -n 50 "$tmp/out")"
}

report=scripts/bench-report

# ---- The judgement ----

made "$tmp/good"
expect 0 ' passed, 0 failed' $report "$tmp/good"
python3 -c 'import sys, xml.dom.minidom as x; x.parse(sys.argv[1])' "$tmp/good/summary.svg" || fail "summary.svg is no XML"
expect 0 '^:commit: made up' $report --rst "$tmp/good/summary.json"

bad() { # REGEX COLUMN STEP FACTOR
	local line=$1
	shift
	made "$tmp/bad" "$@"
	expect 1 "^FAIL: $line" $report "$tmp/bad"
}
bad '[0-9]+ measurements are missing: no policy: set private;' nopolicy set_private 0
grep -q '^FAIL: .*not measured: no policy: set private' "$tmp/out" || fail "what a check needs is missing, and it does not fail"
bad 'prezero: 2M: not measured' prezero fill_touch 0
bad 'recycle: close: not measured' prezero fill_close 0
bad 'guest: faults: not measured' boot guest_boot 0
bad 'gmem-trace top: at most 2,700 ' trace top 3
bad 'tracing: export: not measured' trace export 0
bad 'no policy: faults at most \+1.00 %' nopolicy touch 1.01
bad 'growth, huge: .* fallocate n\^1\.[1-9]' huge grow_fallocate_1g 2 huge grow_fallocate_256m 1.6 huge grow_fallocate_64m 1.3
bad 'growth, huge: .* convert, vCPUs n\^1\.' huge vcpus_4 1.2 huge vcpus_8 1.5
# As many instructions more as on the pristine kernel, of fewer
made "$tmp/cheap" huge vms_8 0.1 huge vms_32 0.1 huge vcpus_1 0.1 huge vcpus_2 0.11 huge vcpus_4 0.13 huge vcpus_8 0.15 pristine vcpus_8 1.06
expect 0 '^pass: growth, huge: .*pristine kernel; convert, vCPUs n\^1\.[1-9].* 400 instructions above linear, 480 on the' $report "$tmp/cheap"
bad 'boot: to all touched' boot fill 10
bad 'the clock counts' pristine clear 2

# The second time
made "$tmp/bad"
sed -i 's/"ns": 6000,/"ns": 6010,/' "$tmp/bad/normal.2/nopolicy.all.json"
expect 1 '^FAIL: no policy: of .* first guest touch of private memory 0.17 %' $report "$tmp/bad"
rm -r "$tmp/bad/pristine.2"
expect 1 '^FAIL: agreement: pristine: not measured' $report "$tmp/bad"

# By the clock on the wall there is nothing to judge
made "$tmp/native"
mv "$tmp/native/normal" "$tmp/native/native"
rm -r "$tmp/native/pristine"
sed -i 's/instructions/wall/' "$tmp/native/meta.json"
expect 0 '^first guest touch of private memory .* 0.0%   per page' $report "$tmp/native"

# ---- What is to be noticed ----

made "$tmp/hung"
sed -i 's/\("guest_boot": {\)/\1"hung": 1, /' "$tmp/hung/normal/huge.all.json"
expect 0 '^huge .*at the second try' $report "$tmp/hung"
[ "$(grep -c 'second try' "$tmp/out")" = 1 ] || fail "more than one guest is said to have hung: $(cat "$tmp/out")"

# ---- The comparison ----

other() { # NAME COLUMN STEP FACTOR...: another result, called NAME
	made "$tmp/$1" "${@:2}"
	$report --report-only "$tmp/$1" >/dev/null
}
expect 0 ' 0 got worse by more than 2 %, 0 better, 0 are gone' $report --compare "$tmp/good" "$tmp/good"
other worse huge bounce 1.03
expect 1 '^worse: a bounce buffer, wherever there is room \(huge\): 1,000.0 -> 1,030.0, \+3.00 %' $report --compare "$tmp/good" "$tmp/worse"
[ "$(grep -c '^worse' "$tmp/out")" = 1 ] || fail "more than one row is said to be worse: $(cat "$tmp/out")"
expect 0 ' 0 got worse' $report --compare "$tmp/good" "$tmp/worse" --percent 4
expect 0 ' 0 got worse by more than 2 %, 1 better' $report --compare "$tmp/worse" "$tmp/good"
other gone huge bounce 0
expect 1 '^gone: a bounce buffer, wherever there is room \(huge\)' $report --compare "$tmp/good" "$tmp/gone"
cp -r "$tmp/good" "$tmp/odd"
sed -i 's/"clock": "instructions"/"clock": "wall"/' "$tmp/odd/summary.json"
expect 1 'the clocks differ' $report --compare "$tmp/good" "$tmp/odd"
sed -i 's/"schema": 3/"schema": 2/' "$tmp/odd/summary.json"
expect 1 'has schema 2' $report --compare "$tmp/good" "$tmp/odd"
expect 1 'No such file' $report --compare "$tmp/good" "$tmp/nowhere"

# ---- Two runs of the same ----

expect 0 ' 0 differ by more, 0 are in the first only' $report --agree "$tmp/good" "$tmp/good"
expect 1 '^a bounce buffer, wherever there is room \(huge\): 3.00 % of' $report --agree "$tmp/good" "$tmp/worse"
other near pristine fill_touch 1.0008 huge create 1.019
expect 0 ' 0 differ by more' $report --agree "$tmp/good" "$tmp/near"
other far pristine fill_touch 1.002 huge create 1.019
expect 1 ' 1 differ by more' $report --agree "$tmp/good" "$tmp/far"
expect 1 ' 1 are in the first only' $report --agree "$tmp/good" "$tmp/gone"
