#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# How gmem-trace joins conversions with what asked for them, by its BPF programs themselves, in user space: no conversion
# is joined with a request for other memory, or made later; no phase ends before it begins; phases add up. Threads do
# what they do in an order that is random. By a build with sanitizers.
#   STEPS=N SEED=N
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"
cd "$TOP"

[ -f "$BUILD/tools/vmlinux.h" ] || die "there are no tools yet: make tools"
out=$BUILD/tools/gmem-trace-asan
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$out"
flags="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
make -C tools/gmem-trace "OUTPUT=$out/" "KERNEL_TREE=$BUILD/linux" "LIBBPF_A=$BUILD/tools/bpftool/libbpf/libbpf.a" \
	"LIBBPF_INCLUDE=$BUILD/tools/bpftool/libbpf/include" "VMLINUX_H=$BUILD/tools/vmlinux.h" \
	"BPFTOOL=$BUILD/tools/bpftool/bpftool" "CLANG=$CLANG" "CFLAGS=$flags" joins-model >"$tmp/make" 2>&1 || {
	tail -n 20 "$tmp/make"
	exit 1
}

seed=${SEED:-20261128}
for i in 0 1 2 3; do
	"$out/joins-model" "${STEPS:-1000000}" $((seed + 2 * i)) || die "it was: joins-model ${STEPS:-1000000} $((seed + 2 * i))"
done
