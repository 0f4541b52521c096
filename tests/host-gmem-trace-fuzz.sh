#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# gmem-trace report lives with whatever it is given: recordings that were cut, changed and put together wrongly, by
# the hundred thousand, read by a build with the sanitizers of addresses and of undefined behaviour.
#   FILES=N SEED=N
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
	"BPFTOOL=$BUILD/tools/bpftool/bpftool" "CLANG=$CLANG" "CFLAGS=$flags" fuzz-report >"$tmp/make" 2>&1 || {
	tail -n 20 "$tmp/make"
	exit 1
}

# Sanitizers write to a file: the standard error output is full of what is wrong with the recordings.
export ASAN_OPTIONS=log_path=$tmp/asan:detect_leaks=1 UBSAN_OPTIONS=log_path=$tmp/ubsan:print_stacktrace=1
rc=0
"$out/fuzz-report" "$tmp" "${FILES:-100000}" "${SEED:-20261120}" || rc=$?
if [ $rc != 0 ]; then
	cat "$tmp"/asan* "$tmp"/ubsan* 2>/dev/null || :
	die "fuzz-report ended with $rc"
fi
echo "${FILES:-100000} recordings, no crash"
