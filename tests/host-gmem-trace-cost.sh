#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# What gmem-trace conversions, top and export cost: by a clock that counts instructions, one conversion executes at most
# 2,000 instructions of their programs, whatever the size of its range (tests/bench/trace measures); and so many does
# gmem-trace export for a scrape.
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"
cd "$TOP"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# What the process executes for ten scrapes
# shellcheck disable=SC2016
measure='
/opt/gmem/tests/bench/trace >/run/results/trace.json || exit 1
gmem-trace export >/dev/null 2>/tmp/tracer &
tracer=$!
for i in $(seq 300); do grep -q ^Tracing /tmp/tracer && break; sleep 0.1; done
/opt/gmem/selftests/gmem_workload -n 40 >/dev/null || exit 1
read -r before rest <"/proc/$tracer/schedstat"
for i in $(seq 10); do
	curl -sSf -o /tmp/scrape http://127.0.0.1:10920/metrics || exit 1
done
read -r after rest <"/proc/$tracer/schedstat"
echo "$(grep -vc ^# /tmp/scrape) $(((after - before) / 10))" >/run/results/scrapes
kill -INT $tracer
wait $tracer'
scripts/boot --icount --log "$BUILD/logs/console-cost.log" --results "$tmp" -- bash -c "$measure"

cat "$tmp/trace.json"
jq -e '[.conversions, .top, .export | .["4K", "64K", "2M"] |
	.conversions >= 40 and .instructions >= 100 and .instructions <= 2000] | length == 9 and all' "$tmp/trace.json" >/dev/null ||
	die "a conversion costs more than 2,000 instructions, or was not measured"
read -r samples cost <"$tmp/scrapes"
echo "a scrape of $samples samples: $cost instructions of gmem-trace"
if [ "$samples" -lt 1000 ] || [ $((cost / samples)) -gt 10000 ]; then die "scrapes cost too much"; fi
