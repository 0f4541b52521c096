#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# What gmem-trace export counts while VMs come, work, go and come back at random, against a model of it: no counter
# ever decreases, the host's are exact, labels are bounded. By a build with sanitizers.
#   STEPS=N SEED=N
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"
cd "$TOP"

[ -f "$BUILD/tools/bpftool/libbpf/libbpf.a" ] || die "there are no tools yet: make tools"
out=$BUILD/tools/gmem-trace-asan
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$out"
flags="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
make -C tools/gmem-trace "OUTPUT=$out/" "KERNEL_TREE=$BUILD/linux" "LIBBPF_A=$BUILD/tools/bpftool/libbpf/libbpf.a" \
	"LIBBPF_INCLUDE=$BUILD/tools/bpftool/libbpf/include" "VMLINUX_H=$BUILD/tools/vmlinux.h" \
	"BPFTOOL=$BUILD/tools/bpftool/bpftool" "CLANG=$CLANG" "CFLAGS=$flags" metrics-model >"$tmp/make" 2>&1 || {
	tail -n 20 "$tmp/make"
	exit 1
}

seed=${SEED:-20261121}
# Labels for all, for some, for one
for vms in '' 3 1; do
	# shellcheck disable=SC2086 # one argument, or none
	"$out/metrics-model" "${STEPS:-5000}" "$seed" $vms || die "it was: metrics-model ${STEPS:-5000} $seed $vms"
done
