# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034
# Shared by the scripts of the rig: where things are, and how progress is shown.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$TOP/build}
CACHE=${GMEM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gmem-bpf}
JOBS=${JOBS:-$(nproc)}
PATH=$PATH:/usr/sbin:/sbin
export TOP BUILD CACHE JOBS PATH
mkdir -p "$BUILD/logs" "$CACHE"

CLANG=${CLANG:-clang-19}
LLVM_STRIP=${LLVM_STRIP:-llvm-strip-19}
KEYRING=${DEBIAN_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}

# GMEM_T0 is inherited, so that nested scripts count from the start of the command the user typed.
: "${GMEM_T0:=$(date +%s)}"
export GMEM_T0

elapsed() { local s=$(($(date +%s) - GMEM_T0)); printf '%d:%02d' $((s / 60)) $((s % 60)); }

say() { printf '[%6s] %s\n' "$(elapsed)" "$*"; }

die() { printf '[%6s] error: %s\n' "$(elapsed)" "$*" >&2; exit 1; }

# step NAME CMD...: run CMD with its output in a log of its own; on failure show the log's tail and path.
# CMD is not under "set -e": a function must end in the status it means.
step() {
	local name=$1 log start rc=0
	shift
	log=$BUILD/logs/$(printf '%s' "$name" | tr -cs 'A-Za-z0-9._-' '-').log
	start=$(date +%s)
	say "$name ..."
	"$@" >"$log" 2>&1 </dev/null &
	local pid=$!
	# A build may take twenty minutes: show now and then that it lives, and where it is. The sleep
	# outlives us, and so holds none of our descriptors: not our output, or its reader would wait for
	# it, and no lock.
	( for fd in ${GMEM_LOCK_FDS:-}; do exec {fd}>&-; done
	while sleep 60 >/dev/null 2>&1 </dev/null; do
		kill -0 "$pid" 2>/dev/null || exit
		say "$name: $(($(date +%s) - start)) s, $(tail -n 1 "$log" | tr -d '\r' | cut -c1-80)"
	done ) &
	local ticker=$!
	wait "$pid" || rc=$?
	kill "$ticker" 2>/dev/null || :
	wait "$ticker" 2>/dev/null || :
	if [ "$rc" -ne 0 ]; then
		tail -n 30 "$log" >&2
		say "$name: failed (exit $rc) after $(($(date +%s) - start)) s; the whole log: $log" >&2
		return "$rc"
	fi
	say "$name: done in $(($(date +%s) - start)) s"
}

# lock WHAT: one at a time works on WHAT (tree, tools, kernel-VARIANT) in $BUILD, so that one kernel can be tested
# while another is built. Nested scripts inherit the lock.
lock() {
	local fd
	case ":${GMEM_LOCKED:-}:" in *":$BUILD/$1:"*) return 0 ;; esac
	exec {fd}>"$BUILD/.lock-$1"
	if ! flock -n "$fd"; then
		say "waiting: another build works on $1"
		flock "$fd"
	fi
	export GMEM_LOCKED="${GMEM_LOCKED:-}:$BUILD/$1" GMEM_LOCK_FDS="${GMEM_LOCK_FDS:-} $fd"
}

# Where Debian is, as apt on this machine knows it. No host name is written down here.
debian_mirror() {
	if [ -n "${DEBIAN_MIRROR:-}" ]; then
		echo "$DEBIAN_MIRROR"
	elif command -v apt-get >/dev/null; then
		apt-get indextargets --format "\$(ORIGIN) \$(REPO_URI)" 2>/dev/null |
			awk '$1 == "Debian" && $2 !~ /security/ { uri = $2 } END { if (uri) print uri }'
	fi
}

# The one build scheme: O= is inside the source tree, so that all paths are relative and ccache's
# results fit every checkout; nothing of the machine or the hour gets into the objects.
kmake() {
	local tree=$1 out=$2
	shift 2
	local cc=gcc
	if command -v ccache >/dev/null; then
		cc="ccache gcc"
		export CCACHE_DIR=${CCACHE_DIR:-$CACHE/ccache} CCACHE_NOHASHDIR=1 \
			CCACHE_COMPILERCHECK=content CCACHE_SLOPPINESS=locale CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-5G}
	fi
	KBUILD_BUILD_TIMESTAMP="Thu Jan  1 00:00:00 UTC 1970" KBUILD_BUILD_USER=gmem \
		KBUILD_BUILD_HOST=gmem make -C "$tree" O="$out" CC="$cc" -j"$JOBS" "$@"
}

# variant NAME: set TREE and OUT to where that kernel is built.
variant() {
	TREE=$BUILD/linux
	case $1 in
	normal) OUT=out ;;
	debug) OUT=out-debug ;;
	off) OUT=out-off ;;
	pristine) TREE=$BUILD/pristine OUT=out ;;
	*) die "unknown kernel '$1': normal, debug, off or pristine" ;;
	esac
}
