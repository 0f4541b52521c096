#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# A real Prometheus scrapes what gmem-trace export served in the booted machine, without an error; promtool finds
# nothing to say about the metrics and the alert rules; every query of the dashboard and of the alerts has an answer,
# from metrics that are there.
# Prometheus is too slow in an emulated machine: scrapes are saved there, and served again here, one after the other.
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"
cd "$TOP"

if ! prometheus=$(scripts/prometheus 2>&1); then
	echo "SKIP: ${prometheus##*error: }"
	exit 4
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

"$prometheus/promtool" check rules tools/gmem-trace/prometheus/alerts.yml
"$prometheus/promtool" test rules tools/gmem-trace/test/alerts-test.yml

# Two VMs with labels, and more without; a policy that decides; memory that is private, shared, and in pools.
# shellcheck disable=SC2016
scrapes='
export PATH=$PATH:/opt/gmem/selftests
gmem-trace export --listen 127.0.0.1:0 --max-vms 2 1 2>/tmp/err &
for i in $(seq 600); do grep -q ^Tracing /tmp/err && break; sleep 0.1; done
url=$(sed -n "s/^Tracing guest memory for \(.*\/metrics\)\..*/\1/p" /tmp/err)
scrape() { curl -sSf -m 60 -H "Accept: $2" -o "/run/results/$1" "$url" || exit 1; }
openmetrics() { scrape "$1" "application/openmetrics-text; version=1.0.0"; }
openmetrics 0.om
gmem-policy load count >/dev/null || exit 1
for i in 1 2 3 4; do
	gmem_workload -v 2 -c 2 -e both -n 8 --hold 2 >/dev/null || exit 1
	openmetrics $i.om
done
gmem-policy unload count >/dev/null
gmem-policy load prezero --set pool_large_mb=0 --set pool_small_mb=8 >/dev/null || exit 1
for i in $(seq 300); do
	openmetrics 5.om
	grep -q "^gmem_pool_ready_bytes{.*} [1-9]" /run/results/5.om && break
	sleep 0.2
done
scrape classic text/plain
kill -TERM $!
wait $! || exit 1
cat /tmp/err'
scripts/boot --log "$BUILD/logs/console-export.log" --results "$tmp" -- bash -c "$scrapes"

grep -q '^gmem_pool_ready_bytes{.*} [1-9]' "$tmp/5.om" || die "there is nothing in pools"
"$prometheus/promtool" check metrics <"$tmp/classic"
python3 tests/prometheus-replay.py "$prometheus/prometheus" tools/gmem-trace/prometheus "$tmp"
