#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 400
# Every bpftrace script of tools/gmem-trace runs, says nothing on its error output, and counts exactly what the
# workload says that it did, VM by VM. Every one-liner of tracing.rst runs, and has something to say.
. "$(dirname "$0")/lib.sh"

SCRIPTS=/opt/gmem/share/gmem-trace
TMP=$(mktemp -d)
cleanup "rm -rf $TMP"

# trace SCRIPT COMMAND: run the script while the command runs. The output of both is in $TMP/out.
trace() {
	local rc=0
	bpftrace "$SCRIPTS/gmem-$1.bt" -c "$SELFTESTS/$2" >"$TMP/out" 2>"$TMP/err" || rc=$?
	[ $rc = 0 ] || die "gmem-$1.bt ended with $rc: $(tail -n 20 "$TMP/err")"
	# WARNING: a map was full, a key was lost, types do not fit; Lost: events
	[ ! -s "$TMP/err" ] || die "gmem-$1.bt: $(head -n 20 "$TMP/err")"
	! grep -E 'WARNING|ERROR|[Ll]ost ' "$TMP/out" || die "gmem-$1.bt complains"
	pids=$(sed -nE 's/^vm: .* pid=([0-9]+) .*/\1/p' "$TMP/out")
	note "gmem-$1.bt: $2"
}

# did PID KEY: what the workload says that this VM did
did() {
	local value
	value=$(sed -nE "s/^vm: .* pid=$1 .* $2=([0-9]+).*/\1/p" "$TMP/out")
	[ -n "$value" ] || die "the workload does not say '$2' of VM $1"
	echo "$value"
}

# The lines of VM $1, up to the next one's, or to an empty line
of_vm() { awk -v "head=VM $1:" 'index($0, head) == 1 { on = 1; print; next } /^$|^VM / { on = 0 } on' "$TMP/out"; }

# Lines like "[    4096,    8192)    12 |@@   |": the sum of the counts
histogram() { of_vm "$1" | awk -F'[)|]' '/^\[ *[0-9]+, *[0-9]+\)/ { n += $2 } END { print n + 0 }'; }

# A row of a table of VM $1: "NAME COUNT AVERAGE TOTAL"
row() { of_vm "$1" | awk -v "name=$2" '$1 == name && NF == 4 { print $2, $3, $4 }'; }

check_conversions() {
	local vms=$1 pid n total asked think wait zap rest count _
	shift
	trace conversions "gmem_workload -v $vms $*"
	for pid in $pids; do
		n=$(did "$pid" conversions)
		assert_eq "$(of_vm "$pid" | sed -n 1p)" \
			"VM $pid: $n conversions, $(did "$pid" to_private) to private, $(did "$pid" to_shared) to shared, $(did "$pid" bytes) bytes"
		assert_eq "$(of_vm "$pid" | sed -n 2p)" \
			"requests: $(did "$pid" by_hypercall) hypercalls, $(did "$pid" by_fault) memory faults; calls that changed nothing: 0, that failed: 0"
		assert_eq "$(histogram "$pid")" "$n" "conversions in the histogram of VM $pid"
		asked=$(($(did "$pid" by_hypercall) + $(did "$pid" by_fault)))
		read -r count _ think <<<"$(row "$pid" think)"
		assert_eq "$count" "$asked" "conversions of VM $pid with a request"
		read -r count _ wait <<<"$(row "$pid" wait)"
		assert_eq "$count" "$n" "conversions of VM $pid that waited"
		read -r count _ zap <<<"$(row "$pid" zap)"
		read -r count _ rest <<<"$(row "$pid" rest)"
		read -r count _ total <<<"$(row "$pid" total)"
		assert_eq "$total" "$((think + wait + zap + rest))" "total of the phases of VM $pid"
		for count in $think $zap $rest; do assert_ge "$count" 1 "time of each phase of VM $pid"; done
	done
	assert_eq "$(grep -c '^VM ' "$TMP/out")" "$vms" "VMs that were seen"
}

check_faults() {
	local vms=$1 pid n allocated found _
	shift
	trace faults "gmem_workload -v $vms $*"
	for pid in $pids; do
		n=$(did "$pid" faults)
		assert_match "$(of_vm "$pid" | sed -n 1p)" \
			"^VM $pid: $n faults: $n private, 0 shared, 0 prefault; besides, [0-9]+ raced, 0 failed\$"
		read -r allocated _ <<<"$(row "$pid" allocated)"
		read -r found _ <<<"$(row "$pid" found)"
		assert_eq "$((allocated + found))" "$n" "faults of VM $pid that found memory or not"
		# Where two vCPUs race, the one that allocated may have to come again and find it there.
		assert_le "$allocated" "$(did "$pid" allocations)" "faults of VM $pid that allocated"
		assert_eq "$(histogram "$pid")" "$n" "faults in the histogram of VM $pid"
		grep -qx "VM $pid: order 0, level 1: $n" "$TMP/out" || die "orders and levels of VM $pid"
	done
}

check_zero() {
	local pid n
	trace zero "gmem_workload $*"
	for pid in $pids; do
		n=$(did "$pid" allocations)
		assert_eq "$(awk -v "pid=$pid" '$1 == pid { print $2, $3, $4, ($5 > 0) }' "$TMP/out")" "first_use $n $n 1" \
			"zeroing of VM $pid"
	done
}

check_allocs() {
	local pid n
	trace allocs "gmem_workload $*"
	for pid in $pids; do
		n=$(did "$pid" allocations)
		assert_eq "$(awk -v "pid=$pid" '$1 == pid && $2 == "guest_fault" { print $3, $4, ($5 > 0) }' "$TMP/out")" \
			"$n $n 1" "allocations of VM $pid"
		assert_eq "$(awk -v "pid=$pid" '$1 == pid && $2 == "punch" { print $3 }' "$TMP/out")" "$(did "$pid" punches)" \
			"holes punched in VM $pid"
		# With one vCPU nothing is faulted in while a hole is punched, so that the kernel's count is exact.
		assert_eq "$(awk -v "pid=$pid" '$1 == pid && ($2 == "punch" || $2 == "evict") { n += $4 } END { print n }' "$TMP/out")" \
			"$n" "pages freed of VM $pid"
	done
	assert_eq "$(awk '/^folios of order 0 / { n += $NF } END { print n }' "$TMP/out")" \
		"$(sed -nE 's/^summary: .* allocations=([0-9]+).*/\1/p' "$TMP/out")" "folios"
}

# No script without a test
for script in "$SCRIPTS"/*.bt; do
	name=$(basename "$script" .bt)
	declare -F "check_${name#gmem-}" >/dev/null || die "$name.bt has no test here"
done

check_conversions 2 -c 2 -e both
check_conversions 1 -c 2 -p accept -s 1M -n 6
check_faults 2 -c 2 -n 40
check_faults 1 -p random -s 128K --no-punch
check_zero -v 2 -n 40
check_allocs -v 2 -n 40

# Memory that is shared, and prefaults
trace faults "gmem_vm vmtype=default; create 2M mmap shared; mmap; hwrite 0 1; bind 1 4G 0 2M; gtouch 4G 16K; prefault 4G 64K; pid"
pid=$(sed -n 's/^ok pid //p' "$TMP/out")
assert_eq "$(of_vm "$pid" | sed -n 1p)" \
	"VM $pid: 20 faults: 0 private, 4 shared, 16 prefault; besides, 0 raced, 0 failed"
assert_eq "$(row "$pid" allocated | cut -d' ' -f1) $(row "$pid" found | cut -d' ' -f1)" "15 5" "allocated and found"

# Other reasons to allocate, and conversions that change nothing or are asked for and not made
trace allocs "gmem_vm vmtype=default; create 2M mmap shared; mmap; hfill 0 16K 1; fallocate 0 64K; punch 0 4K; pid"
pid=$(sed -n 's/^ok pid //p' "$TMP/out")
assert_eq "$(awk -v "pid=$pid" '$1 == pid { print $2, $3, $4 }' "$TMP/out" | sort | paste -sd,)" \
	"evict 1 15,fallocate 12 12,host_fault 4 4,punch 1 1" "allocations of VM $pid"
trace conversions "gmem_vm -k create 2M; bind 1 4G 0 2M; convert private 4G 2M; convert private 4G 1M; plain 2 5G 2M; convert private 5G 8K; gread 5G; gread 0x140001000; convert shared 0x140001000 4K; pid"
pid=$(sed -n 's/^ok pid //p' "$TMP/out")
assert_eq "$(of_vm "$pid" | sed -n 1,2p | paste -sd+)" \
	"VM $pid: 3 conversions, 2 to private, 1 to shared, 2109440 bytes+requests: 0 hypercalls, 2 memory faults; calls that changed nothing: 1, that failed: 0"
assert_eq "$(row "$pid" think | cut -d' ' -f1)" 1 "conversions with a request"

# One VM only
# However long it takes until it is traced, they are still there.
"$SELFTESTS/gmem_workload" -v 2 -t 3600 --ready-file "$TMP/ready" >/dev/null &
load=$!
cleanup "kill $load 2>/dev/null; wait $load 2>/dev/null"
wait_for 20 test -s "$TMP/ready"
pid=$(sed -n 's/^vm=0 pid=//p' "$TMP/ready")
rm -f "$TMP/out"
"$SCRIPTS/gmem-conversions.bt" "$pid" >"$TMP/out" 2>"$TMP/err" &
tracer=$!
wait_for 30 grep -q 'Ctrl-C ends it' "$TMP/out"
sleep $((3 * ${TIME_SCALE:-1}))
kill -INT $tracer
wait $tracer || die "gmem-conversions.bt ended with $?: $(cat "$TMP/err")"
[ ! -s "$TMP/err" ] || die "gmem-conversions.bt: $(cat "$TMP/err")"
kill $load
assert_match "$(grep '^VM ' "$TMP/out")" "^VM $pid: [1-9][0-9]* conversions, [^"$'\n'"]*\$" "the VM that was asked for"

# One-liners: of a VM whose memory comes from pools, so that policies decide and pools have events
gmem-policy load prezero --set pool_large_mb=0 --set pool_small_mb=16
cleanup "gmem-policy unload --all >/dev/null"
cd "$TMP"
number=0
while IFS= read -r line; do
	number=$((number + 1))
	rm -f minute.json
	eval "$line -c '$SELFTESTS/gmem_workload -c 2 -n 10'" >out 2>err </dev/null || die "one-liner $number ended with $?: $(cat err)"
	[ ! -s err ] || die "one-liner $number: $(cat err)"
	if [ -e minute.json ]; then mv minute.json out; fi
	grep -qE '^(@[a-z]*\[.*\]: *-?[0-9]|@\[.*\]:|[0-9]+: gfn |\{"type": "(map|hist)", "data": \{"@": \{"[0-9]+":)' out ||
		die "one-liner $number has nothing to say: $(cat out)"
	note "one-liner $number: $(grep -c '^[@{]' out) lines"
done </opt/gmem/readme/one-liners
assert_ge "$number" 10 "one-liners"
