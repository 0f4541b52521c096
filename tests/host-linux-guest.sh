#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# A real Linux as guest (linux-guest.sh), in a machine of one CPU: with several, QEMU's emulation delivers interrupts
# to guests twice (rig.rst).
set -euo pipefail
cd "$(dirname "$0")/.."

exec scripts/boot --cpus 1 --log "${BUILD:-build}/logs/console-linux-guest.log" --env "FULL=${FULL:-}" --timeout 560 -- \
	bash /opt/gmem/tests/linux-guest.sh
