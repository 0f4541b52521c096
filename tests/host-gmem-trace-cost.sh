#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# What gmem-trace conversions, export and top cost: by a clock that counts instructions, and by the kernel's statistics of BPF
# programs, one conversion executes at most 2,000 instructions of their programs, whatever the size of its range.
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"
cd "$TOP"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# Run time and runs of each program, after the workload of each size; gmem-trace policy turns the statistics on.
# vCPUs exit and enter without converting, too: what that costs is known from a VM that only touches its memory.
# shellcheck disable=SC2016
measure='
stats() {
	bpftool -j prog | jq -r ".[] | select(.name // \"\" | startswith(\"conv_\")) | \"$1 \(.name) \(.run_cnt // 0) \(.run_time_ns // 0)\""
}
# What the process executes for ten of them
cost_of_scrapes() {
	local before after rest
	read -r before rest <"/proc/$1/schedstat"
	for i in $(seq 10); do
		curl -sSf -o /tmp/scrape http://127.0.0.1:10920/metrics || exit 1
	done
	read -r after rest <"/proc/$1/schedstat"
	echo "$(grep -vc ^# /tmp/scrape) $(((after - before) / 10))"
}
soon() {
	for i in $(seq 300); do "$@" && break; sleep 0.1; done
}
is_up() { tmux capture-pane -p | grep -q "^gmem-trace top"; }
measure() {
	local policy tracer
	gmem-trace policy >/dev/null 2>/tmp/policy &
	policy=$!
	if [ "$1" = top ]; then
		tmux new-session -d -x 80 -y 24 "exec gmem-trace top"
		tracer=$(tmux list-panes -F "#{pane_pid}")
		soon is_up
	else
		gmem-trace "$@" >/dev/null 2>/tmp/tracer &
		tracer=$!
		soon grep -q ^Tracing /tmp/tracer
	fi
	soon grep -q ^Tracing /tmp/policy
	# The first conversions of all make the state
	/opt/gmem/selftests/gmem_workload -n 4 >/dev/null
	stats start
	/opt/gmem/selftests/gmem_vm "create 8M; bind 1 4G 0 8M; convert private 4G 8M; gtouch 4G 8M" >/dev/null
	stats touch
	for size in 4K 64K 2M; do
		/opt/gmem/selftests/gmem_workload -s $size -n 40 >/dev/null || exit 1
		stats $size
	done
	if [ "$1" = export ]; then cost_of_scrapes $tracer >/run/results/scrapes; fi
	kill -INT $policy $tracer
	wait
}
measure conversions >/run/results/conversions
measure export >/run/results/export
measure top >/run/results/top'
scripts/boot --icount --log "$BUILD/logs/console-cost.log" --results "$tmp" -- bash -c "$measure"

for command in conversions export top; do
	echo "$command"
	awk -v limit=2000 '
{
	if ($1 != last) { last = $1; order[++n] = $1 }
	runs[$1, $2] = $3; ns[$1, $2] = $4; names[$2] = 1
}
function grew(i, name, what) { return what[order[i], name] - what[order[i - 1], name] }
END {
	bad = n != 5
	for (i = 3; i <= n; i++) {
		conversions = grew(i, "conv_end", runs)
		if (!conversions) { bad = 1; continue }
		sum = 0
		for (name in names) {
			if (name == "conv_fault") continue
			if (name == "conv_exit" || name == "conv_entry") {
				each = grew(2, name, ns) / grew(2, name, runs)
				part = grew(i, name, ns) - each * (grew(i, name, runs) - conversions)
			} else {
				part = grew(i, name, ns)
			}
			sum += part / conversions
		}
		printf "%s: %d conversions, %d instructions each\n", order[i], conversions, sum
		if (sum > limit || sum < 100) bad = 1
	}
	exit bad
}' "$tmp/$command"
done
read -r samples cost <"$tmp/scrapes"
echo "a scrape of $samples samples: $cost instructions of gmem-trace"
if [ "$samples" -lt 1000 ] || [ $((cost / samples)) -gt 10000 ]; then die "scrapes cost too much"; fi
