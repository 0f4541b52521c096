#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 200
# gmem-trace record and report: a recording has what the workload says that it did, and the page, the drawing, the text
# and the trace for Perfetto have it from there; an unfinished recording is read as far as it goes.
. "$(dirname "$0")/gmem-trace.sh"

note record
trace_start record "$TMP/a.gmt"
work -v 2 -c 4 -e both -n 30
kill -INT "$TRACER"
wait "$TRACER" || die "record ended with $?: $(cat "$TMP/trace.err")"
assert_match "$(tail -n 1 "$TMP/trace.err")" "^[0-9]+ events in $TMP/a.gmt, [0-9.]+ [KM]iB\$" 'what record says'

note text
output=$(gmem-trace report --text "$TMP/a.gmt")
for pid in $PIDS; do
	n=$(did "$pid" .conversions)
	assert_match "$output" "VM gmem_workload \\($pid\\): $n conversions" "conversions of VM $pid"
	assert_match "$output" "asked by $(did "$pid" .by_hypercall) hypercalls, $(did "$pid" .by_fault) memory faults" "requests of VM $pid"
	assert_match "$output" "to private: $(did "$pid" .to_private) conversions.*to shared: $(did "$pid" .to_shared) conversions" "directions"
done
assert_eq "$(awk '/^  fault, (first_use|found)/ { n += $3 } END { print n }' <<<"$output")" "$(jq .total.faults "$TMP/log")" 'faults'
assert_eq "$(awk '/^  zero, first_use/ { n += $3 } END { print n }' <<<"$output")" "$(jq .total.allocations "$TMP/log")" 'pages zeroed'
assert_match "$output" 'lost: 0 events dropped, 0 of VMs too many, 0 of threads' 'losses'
pid=$(head -n 1 <<<"$PIDS")
assert_eq "$(gmem-trace report --text -p "$pid" "$TMP/a.gmt" | sed -n 's/^VM gmem_workload (\([0-9]*\)): [1-9].*/\1/p')" "$pid" 'one VM only'

note perfetto
gmem-trace report --perfetto "$TMP/a.gmt" >"$TMP/perfetto"
assert_eq "$(jq '[.traceEvents[] | select(.name == "to private" or .name == "to shared")] | length' "$TMP/perfetto")" \
	"$(jq .total.conversions "$TMP/log")" 'conversions in the trace'
# Phases lie within their conversion, one behind the other, and fill it.
assert_eq "$(jq '[.traceEvents[] | select(.ph == "X")] |
	(map(select(.name | startswith("to ")) | .dur) | add) as $all | (map(select(.name | startswith("to ") | not) | .dur) | add) as $phases |
	($all - $phases) | fabs < 1' "$TMP/perfetto")" true 'time of the phases'

note page
gmem-trace report "$TMP/a.gmt" 2>/dev/null
for id in phases timeline latency faults zeroing memory; do
	assert_eq "$(grep -A 3 "<section id=\"$id\">" "$TMP/a.gmt.html" | grep -c '<svg ')" 1 "the drawing $id"
done
# A row for each vCPU, and for what was not asked for by one
assert_eq "$(sed -n '/<section id="timeline">/,/<\/section>/p' "$TMP/a.gmt.html" | grep -cE '\) (vCPU [0-3]|unasked)</text>')" 10 'rows of the timeline'
assert_eq "$(sed -n '/<section id="worst">/,/<\/section>/p' "$TMP/a.gmt.html" | grep -c '^<tr><td>gmem_workload')" 20 'the longest conversions'
# Nothing is loaded from elsewhere
assert_no_match "$(grep -iE '<script|src=|url\(|@import|https?://' "$TMP/a.gmt.html" || :)" . 'references to other files'
gmem-trace report --svg "$TMP/a.gmt" >"$TMP/svg"
assert_eq "$(grep -cE '^<svg xmlns=|^</svg>' "$TMP/svg")" 2 'the drawing'
gmem-trace report --output - "$TMP/a.gmt" | cmp - "$TMP/a.gmt.html"

note 'names, and policies'
trace_start record "$TMP/d.gmt"
mkfifo "$TMP/named.in"
(
	close_vms
	exec -a --id=wéb-1 "$SELFTESTS/gmem_vm" <"$TMP/named.in" >"$TMP/named" 2>&1
) &
named=$!
cleanup "kill -9 $named 2>/dev/null; wait $named 2>/dev/null"
exec {in}>"$TMP/named.in"
echo 'create 2M; bind 1 4G 0 2M; convert private 4G 1M' >&"$in"
wait_for 30 grep -q 'ok convert' "$TMP/named"
vm_new o
vm o 'create 2M; bind 1 4G 0 2M; convert private 4G 1M'
load count
unload count
sleep 2 # memory is looked at
vm_end o
exec {in}>&-
wait "$named" || :
kill -INT "$TRACER"
wait "$TRACER" || die "record ended with $?: $(cat "$TMP/trace.err")"
output=$(gmem-trace report --text "$TMP/d.gmt")
assert_match "$output" "VM wéb-1 \\($named\\): 1 conversions" 'a name that is not ASCII'
assert_eq "$(grep -c '^VM ' <<<"$output")" 2 "VMs, of which whoever loads a policy is none: $output"
assert_no_match "$output" 'not answered|; [0-9]+ now' 'what a recording does not know'
assert_eq "$(gmem-trace report --text --vm 'w*' "$TMP/d.gmt" | sed -n 's/^VM \([^ ]*\) .*/\1/p')" wéb-1 'VMs that are asked for'
gmem-trace report --vm 'w*' --output - "$TMP/d.gmt" >"$TMP/page"
assert_ge "$(grep -c '>wéb-1 ' "$TMP/page")" 2 'the name in the page'
assert_no_match "$(cat "$TMP/page")" 'gmem_vm|gmem-policy' 'others'
gmem-trace report --perfetto --vm 'w*' "$TMP/d.gmt" >"$TMP/perfetto"
assert_eq "$(jq -c '[.traceEvents[] | select(.ph == "M") | .args.name]' "$TMP/perfetto")" '["wéb-1"]' 'processes of the trace'
assert_match "$(jq -r .otherData.lost "$TMP/perfetto")" '^lost: 0 events dropped' 'what the trace lost'

note unfinished
size=$(stat -c %s "$TMP/a.gmt")
cp "$TMP/a.gmt" "$TMP/b.gmt"
truncate -s $((size / 2)) "$TMP/b.gmt"
gmem-trace report --text "$TMP/b.gmt" >"$TMP/out" 2>"$TMP/err"
assert_match "$(cat "$TMP/err")" 'is unfinished; this is what [0-9]+ records tell' 'half a recording'
assert_match "$(cat "$TMP/out")" 'VM gmem_workload' 'what is in the first half'
gmem-trace report "$TMP/b.gmt" 2>/dev/null
assert_match "$(cat "$TMP/b.gmt.html")" 'It is unfinished' 'the page of it'
# A tracer that was killed leaves one, too
trace_start record "$TMP/c.gmt"
work -n 10
sleep 1
kill -9 "$TRACER"
wait "$TRACER" 2>/dev/null || :
gmem-trace report --text "$TMP/c.gmt" >"$TMP/out" 2>"$TMP/err"
assert_match "$(cat "$TMP/err")" 'is unfinished' 'a tracer that was killed'
assert_match "$(cat "$TMP/out")" "VM gmem_workload \\($PIDS\\): $(jq .total.conversions "$TMP/log") conversions" 'what it had written'
