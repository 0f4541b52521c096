# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# For tests of the host that build a part of gmem-trace with the sanitizers of addresses and of undefined behaviour.
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"
cd "$TOP" || exit 1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# build_sanitized TARGET: it is in $out. Other tests may build there at the same time.
build_sanitized() {
	local tools=$BUILD/tools flags="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
	local lock
	[ -f "$tools/vmlinux.h" ] || die "there are no tools yet: make tools"
	out=$tools/gmem-trace-asan
	mkdir -p "$out"
	exec {lock}>"$out/.lock"
	flock $lock
	make -C tools/gmem-trace "OUTPUT=$out/" "KERNEL_TREE=$BUILD/linux" "LIBBPF_A=$tools/bpftool/libbpf/libbpf.a" \
		"LIBBPF_INCLUDE=$tools/bpftool/libbpf/include" "VMLINUX_H=$tools/vmlinux.h" "BPFTOOL=$tools/bpftool/bpftool" \
		"CLANG=$CLANG" "CFLAGS=$flags" "$1" >"$tmp/make" 2>&1 || {
		tail -n 20 "$tmp/make"
		exit 1
	}
	exec {lock}>&-
}
