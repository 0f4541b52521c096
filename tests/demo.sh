#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What "make demo" shows, in the booted machine.
. "$(dirname "$0")/lib.sh"
cd "$(dirname "$0")"

echo "== the machine"
uname -srm
lsmod | grep '^kvm'
echo "== a VM on guest_memfd"
time ./upstream.sh guest_memfd_test
