#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The static checks (make check), as a test: what is committed has to be clean.
set -euo pipefail
exec "$(dirname "$0")/../scripts/check"
