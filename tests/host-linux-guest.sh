#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# A real Linux as guest (linux-guest.sh), in a machine of one CPU: with several, QEMU's emulation delivers interrupts
# to guests twice (rig.rst).
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=560
if [ -n "${FULL:-}" ]; then seconds=$((seconds * 6)); fi
exec scripts/boot --cpus 1 --log "${BUILD:-build}/logs/console-linux-guest.log" --env "FULL=${FULL:-}" --timeout "$seconds" -- \
	bash /opt/gmem/tests/linux-guest.sh
