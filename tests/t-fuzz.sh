#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 600
# Random operations by several processes that are killed now and then, whose calls are wrong and whose allocations
# fail now and then (gmem_fuzz), while policies that are shipped, and one that decides everything at random, come,
# are replaced, and go, and processes move between cgroups (invariants 1 to 6).
#   t-fuzz.sh [OPTION OF gmem_fuzz]...     (--ops 12000; on the debug kernel a tenth)     SEED=N repeats a run
. "$(dirname "$0")/policy.sh"

seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
args=("$@")
if [ $# = 0 ]; then args=(--ops $((12000 / (${TIME_SCALE:-1} > 1 ? 10 : 1)))); fi
# KASAN keeps what is freed for a while, up to 1/32 of the memory.
if [ "${TIME_SCALE:-1}" -gt 1 ]; then args+=(--leak-bound 160M); fi

keep_failing_knobs
# vmalloc() and the per-CPU allocator tell of a failure with a call trace. What is worse has a line of its own.
allow_splat 'Call Trace:'

# It notices: a page that is lost, one that is as it was before, and one of another process.
for breakage in lost stale foreign; do
	assert_fails 1 gmem_fuzz --seed 5 --ops 40 --procs 2 --break $breakage
	assert_match "$output" 'FAIL: seed 5, process 0.[0-9]+, operation [0-9]+: .* should read' "a $breakage page"
	assert_match "$output" "break it: $breakage" 'the last operations'
done
assert_match "$output" 'another process' 'whose it was'

cgroup fuzz_a
cgroup fuzz_b
cgroup fuzz_b/sub
groups=("$CGROUPS"/fuzz_a "$CGROUPS"/fuzz_b "$CGROUPS"/fuzz_b/sub)
mapfile -t policies < <(shipped_policies)
policies+=(chaos chaos chaos mixed mixed)
nodes=$(find /sys/devices/system/node -maxdepth 1 -name 'node[0-9]*' | wc -l)

# random_policy: $policy, how it is loaded, $how, and how it is set, $set
random_policy() {
	policy=${policies[RANDOM % ${#policies[@]}]} how=() set=()
	case $((RANDOM % 8)) in
	0) how=(--flags enforced) ;;
	1) how=(--flags shadow) ;;
	2) how=(--flags named --as fuzzed) ;;
	3 | 4) how=(--cgroup "${groups[RANDOM % 3]}") ;;
	esac
	case $policy in
	huge) set=(--set "min_mb=$((RANDOM % 2))" --set "small_mb=$((RANDOM % 3))") ;;
	huge_adaptive) set=(--set min_mb=0 --set often=1 --set quiet_ms=$((RANDOM % 200 + 1))) ;;
	prealloc) set=(--set at_create=$((RANDOM % 2)) --set background=$((RANDOM % 2)) --set max_mb=4) ;;
	mixed) set=(--set combine=$((RANDOM % 2))) ;;
	chaos) set=(--set "nodes=$nodes" --set decline=$((RANDOM % 2)) --set nonsense=$((RANDOM % 2 * 100))) ;;
	esac
}

# May be refused, because something else is there; nothing else may go wrong.
try() {
	local rc=0
	gmem-policy "$@" >"$TMP/try" 2>&1 || rc=$?
	case $rc in
	0) echo "$1" >>"$TMP/changes" ;;
	1 | 3 | 4) ;;
	*) echo "'gmem-policy $*' ended with $rc: $(cat "$TMP/try")" >>"$TMP/wrong" ;;
	esac
}

change_policies() {
	local policy how set loaded
	RANDOM=$seed
	while [ ! -e "$TMP/stop" ]; do
		random_policy
		mapfile -t loaded < <(find "$PINS" -mindepth 1 -printf '%f\n' 2>/dev/null)
		case $((RANDOM % 8)) in
		0 | 1 | 2) try load "$policy" "${how[@]}" "${set[@]}" ;;
		3 | 4) try replace "${loaded[0]:-$policy}" ;;
		5) try unload "${loaded[0]:-$policy}" ;;
		6) try unload --all ;;
		7) try status -j ;;
		esac
	done
}

: >"$TMP/changes"
: >"$TMP/wrong"
load chaos --set "nodes=$nodes"
change_policies &
changer=$!
cleanup "touch '$TMP/stop'; wait $changer 2>/dev/null"
rc=0
gmem_fuzz --seed "$seed" --policy fuzzed "${groups[@]/#/--cgroup=}" "${args[@]}" || rc=$?
touch "$TMP/stop"
wait $changer || die 'loading, replacing and unloading policies'
note "policies: $(sort "$TMP/changes" | uniq -c | xargs)"
[ $rc = 0 ] || die "gmem_fuzz; with the same policies: SEED=$seed t-fuzz.sh ${args[*]}"
[ ! -s "$TMP/wrong" ] || die "$(cat "$TMP/wrong")"
assert_ge "$(grep -cE 'load|replace' "$TMP/changes")" 1 'changes of policies'

gmem-policy unload --all >/dev/null
wait_for 20 nothing_there
splat_end
kvm_reload
