# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# For tests of gmem-trace:  . "$(dirname "$0")/gmem-trace.sh"   (which has policy.sh and lib.sh in it)
#   trace_start COMMAND ARG...; trace_stop     its output is in $TMP/trace, what it says in $TMP/trace.err
#   work ARG...                                gmem_workload; its log is in $TMP/log, as JSON
#   did PID FILTER                             of the log, of the VM with that pid
#   of PID FILTER                              of the last line of the trace, of that VM
# shellcheck source=SCRIPTDIR/policy.sh
. "$(dirname "${BASH_SOURCE[0]}")/policy.sh"

TRACER='' PIDS=''

trace_start() {
	# What the one before has said would be taken for what this one says.
	rm -f "$TMP/trace" "$TMP/trace.err"
	(
		close_vms
		exec gmem-trace "$@" >"$TMP/trace" 2>"$TMP/trace.err"
	) &
	TRACER=$!
	cleanup "kill -9 $TRACER 2>/dev/null; wait $TRACER 2>/dev/null"
	wait_for 30 grep -q '^Tracing' "$TMP/trace.err"
}

trace_stop() {
	local rc=0
	kill -INT "$TRACER" 2>/dev/null || :
	wait "$TRACER" || rc=$?
	assert_eq "$rc" 0 "status of gmem-trace: $(cat "$TMP/trace.err")"
	assert_eq "$(sed '/^Tracing/d' "$TMP/trace.err")" '' "what gmem-trace complains of"
}

work() {
	"$SELFTESTS/gmem_workload" --json "$@" >"$TMP/log" 2>"$TMP/log.err" || die "gmem_workload $*: $(cat "$TMP/log.err")"
	# shellcheck disable=SC2034 # for the tests
	PIDS=$(jq -r '.vms[].pid' "$TMP/log")
}

did() { jq -r ".vms[] | select(.pid == $1) | $2" "$TMP/log"; }
# "total" adds up rows that differ in their last column only: a vCPU that moved to another node in
# the middle has a row for each.
of() {
	tail -n 1 "$TMP/trace" | jq -r "def total: group_by(.[:-1]) | map(.[0][:-1] + [map(.[-1]) | add]);
		.vms[] | select(.pid == $1) | $2"
}

# Nothing was lost
assert_no_losses() {
	assert_eq "$(tail -n 1 "$TMP/trace" | jq -c '[.losses | add]')" '[0]' "what was lost: $(tail -n 1 "$TMP/trace" | jq -c .losses)"
}
