#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 240
# What gmem-policy prints, in JSON with its schema and for people, agrees with what it did; --dry-run does
# nothing; wait ends as the man page says; man page, help and completion know the same commands and options.
. "$(dirname "$0")/policy.sh"
unset GMEM_POLICY_PATH

has() { jq -e "$1" "$TMP/json" >/dev/null || die "not in the JSON: $1: $(cat "$TMP/json")"; }
json() { gmem-policy -j "$@" >"$TMP/json" || die "gmem-policy -j $*: $(cat "$TMP/json")"; }

note 'list'
json list
has '.schema == 1 and (.policies | map(.name)) == ["boot", "count", "fault_around", "huge", "huge_adaptive", "prealloc", "prezero", "scrub", "zero_alloc"]'
has '.policies | all(.abi_version == 1 and (.about | length > 5) and (.file | test("^/.*\\.bpf\\.o$")))'
has '[.policies[].tunables[]] | all(.name and .type and has("default") and (.meaning | length > 5))'
assert_eq "$(gmem-policy list --names | tr '\n' ' ')" 'boot count fault_around huge huge_adaptive prealloc prezero scrub zero_alloc ' 'list --names'
assert_match "$(gmem-policy list)" 'max_mb +u32 +0 +leave objects above' 'list'
assert_match "$(gmem-policy list)" 'pool_large_mb +u32 +256 +zeroed folios of 2M' 'list, of what is wanted in pools'
has '.policies[] | select(.name == "prezero").tunables | map(.name) | contains(["pool_small_mb", "pool_large_mb", "pool_low_percent", "pool_rate_mb"])'
has '[.policies[] | select(.name == "count" or .name == "huge").tunables[].name | select(test("^pool_"))] == []'
assert_eq "$(GMEM_POLICY_PATH=$TESTBPF gmem-policy list --names | grep -cx hostile)" 1 'GMEM_POLICY_PATH'

note 'check'
json check
has '.schema == 1 and .ok == true and ([.checks[] | select(.needed and (.present | not))] == [])'
has '[.checks[] | select(.needed).feature] == ["kernel types (BTF)", "policies", "kill switch", "privileges", "bpffs"]'
has '.checks | map(.feature) | index("policy named by VMM") and index("VM type SW_PROTECTED") and index("tracepoints")'
assert_match "$(gmem-policy check)" 'Policies can be loaded on this host' 'check'

note '--dry-run'
vm_new a
vm a 'create 4M'
before=$(bpf_census | sort)
json load zero_alloc --dry-run --set max_mb=0x10
has '.schema == 1 and .dry_run.name == "zero_alloc" and .dry_run.verifier == "accepted" and .dry_run.scope == "global"'
has '.dry_run.objects | length == 1 and .[0].affected and .[0].effect == "builtin -> zero_alloc"'
has '.dry_run.tunables | map("\(.name)=\(.value)") == ["faults=true", "max_mb=16"]'
assert_match "$(gmem-policy load zero_alloc --dry-run)" 'verifier +accepted.*Nothing was attached' 'load --dry-run'
cgroup elsewhere
json load zero_alloc --dry-run --cgroup elsewhere
has '.dry_run.objects == [] and .dry_run.scope == "/elsewhere"'
json load prezero --dry-run --set pool_large_mb=512 --set pool_rate_mb=0x10
has '[.dry_run.tunables[] | select(.name | test("^pool_")) | "\(.name)=\(.value)"] == ["pool_small_mb=32", "pool_large_mb=512", "pool_low_percent=75", "pool_rate_mb=16"]'
assert_match "$(gmem-policy load prezero --dry-run --set pool_large_mb=512)" 'pool_large_mb +u32 +512 +zeroed folios' 'load --dry-run, of pools'
assert_fails 1 gmem-policy load "$TESTBPF/bad_write.bpf.o" --dry-run
assert_match "$output" 'may write its decisions' 'the verifier, with --dry-run'
assert_eq "$(gmem-policy status --names)" '' 'what --dry-run attached'
policy_is a builtin builtin
assert_eq "$(bpf_census | sort)" "$before" 'what --dry-run left in the kernel'

note 'load, replace, status, show, unload'
json load prealloc --set at_create=yes --set max_mb=7 --set background=off
has '.schema == 1 and .loaded.name == "prealloc" and .loaded.state == "active" and .loaded.scope == "global" and .loaded.objects == 1'
has '.loaded.loaded_by.uid == 0 and .loaded.loaded_by.comm == "gmem-policy" and .loaded.loaded_by.user == "root"'
has '[.loaded.tunables[] | "\(.name)=\(.value)"] == ["at_create=true","at_bind=true","at_convert=true","around_kb=0","background=false","max_mb=7","zero=true","from_pool=false","pool_small_mb=0","pool_large_mb=0","pool_low_percent=75","pool_rate_mb=0"]'
id=$(jq .loaded.id "$TMP/json")
assert_fails 1 gmem-policy -j replace prealloc --expect $((id + 1000))
assert_eq "$(jq -r .error.code <<<"$output")" EBUSY 'replace --expect with another id'
json load prealloc --dry-run --as other --flags shadow
has '.dry_run.objects[0].effect == "shadowed beside prealloc"'
json replace prealloc --dry-run
has '.dry_run.replaces == "prealloc" and .dry_run.objects[0].affected'
json replace prealloc --expect "$id" --set max_mb=010
has '.replaced.name == "prealloc" and .replaced.id != '"$id"
has '[.replaced.tunables[] | select(.name == "max_mb" or .name == "at_create").value] == [false, 8]'
id=$(jq .replaced.id "$TMP/json")

vm a 'bind 1 4G 0 4M; convert private 4G 4M'
wait_for 20 fdinfo_at_least a ready $((4 * M))
wait_for 20 idle a
json status
has '.schema == 1 and (.policies | length == 1) and (.objects | length == 1) and (.pools | type == "array")'
has '.objects[0] | .pool_misses == 0 and .recycled == 0 and .zeroed.pool == 0 and .ahead.background_bytes_per_s == 0'
has '.policies[0] | .id == '"$id"' and .state == "active" and .trip_reason == null and .cgroup == null and .flags == [] and .objects == 1 and .processes == 1 and .bytes == 4194304 and .clamps == 0 and .declines == 0 and .age_ms >= 0 and (.tag | test("^[0-9a-f]{16}$")) and .map_id > 0'
has '.policies[0].decisions | .alloc == 1024 and .prealloc == 2 and .convert == 0 and .free == 0'
has '[.policies[0].counters[] | "\(.name)=\(.value)"] == ["ranges=2", "pages=2048", "at_limit=0"]'
has '.objects[0] | .tgid == '"${VM_PID[a]}"' and .comm == "gmem_vm" and .policy == "prealloc" and .policy_id == '"$id"' and .scope == "global" and .size == 4194304 and .resident == 4194304 and .ready == 4194304 and .shadow == null and .asked_name == null and .cgroup.path == "/"'
has '.objects[0] | .folios_by_order == {"0": 1024} and .zeroed.ahead == 4194304 and .zeroed.first_use == 0 and .faults == 0 and .ahead.done_pages == 1024 and .ahead.asked_pages == 2048'
assert_match "$(gmem-policy status)" 'prealloc: active.* 4 MiB in memory.*max_mb=8.*2048.*gmem_vm +4 MiB +4 MiB +0 B +prealloc \(global\)' 'status'
assert_eq "$(gmem-policy status --names)" prealloc 'status --names'
json show prealloc
has '.schema == 1 and .policy.id == '"$id"' and (.objects | length == 1)'
json show "${VM_PID[a]}"
has '.objects | length == 1 and .[0].policy == "prealloc"'
has '[.objects[0].chain[] | select(.verdict == "effective")] | length == 1 and .[0].step == "global" and .[0].policy == "prealloc"'
has '.objects[0].chain[-1] | .step == "builtin" and .verdict == "not_reached"'
assert_match "$(gmem-policy show "${VM_PID[a]}")" 'why.*global +host +prealloc +<- effective.*builtin +builtin +not reached' 'show PID'

note 'wait'
assert_fails 4 gmem-policy wait prealloc --timeout 0
assert_fails 4 gmem-policy -j wait prealloc --timeout 0.3
assert_eq "$(jq -c '[.schema, .wait.name, .wait.result, .wait.reason]' <<<"$output")" '[1,"prealloc","timeout",null]' 'wait -j'
gmem-policy -j wait prealloc >"$TMP/wait" &
wait=$!
# It is there when it has opened the iterators; a replacement does not end it
sleep 1
replace prealloc
json unload prealloc
has '.schema == 1 and (.unloaded | length == 1) and (.unloaded[0] | .name == "prealloc" and .pinned and .settled and .loaded_by.uid == 0)'
rc=0
wait $wait || rc=$?
assert_eq "$rc $(jq -c '[.wait.name, .wait.result]' "$TMP/wait")" '0 ["prealloc","unloaded"]' 'wait until it is unloaded'
json unload --all
has '.unloaded == []'
assert_match "$(gmem-policy unload --all)" 'no policy is loaded' 'unload --all'
policy_is a builtin builtin

note 'policies that others loaded'
bpftool struct_ops register /opt/gmem/lib/gmem/policies/count.bpf.o /sys/fs/bpf/elsewhere >/dev/null
cleanup 'rm -rf /sys/fs/bpf/elsewhere'
policy_becomes a count global
assert_eq "$(js '.policies[0] | "\(.name) \(.loaded_by.comm)"')" 'count bpftool' 'who loaded it'
assert_fails 1 gmem-policy load zero_alloc
assert_match "$output" "by root with bpftool" 'who holds the place'
replace count --set min_mb=1
assert_match "$(gmem-policy unload count)" 'It was not pinned in /sys/fs/bpf/gmem' 'unload'
policy_is a builtin builtin
rm -r /sys/fs/bpf/elsewhere
# A pin of a policy that was detached by other means is in nobody's way
load count
cp=$(js '.policies[0].id')
bpftool link detach pinned "$PINS/count"
policy_becomes a builtin builtin
load count
[ "$(js '.policies[0].id')" != "$cp" ] || die 'it is the old one'
bpftool link detach pinned "$PINS/count"
unload count
assert_eq "$(ls "$PINS")" '' 'pins'

note 'pools'
load prezero --set pool_large_mb=4 --set pool_small_mb=1
wait_for 30 pools_are "$FULL"
json status
has '.pools | length == 2 * ('"$(find /sys/devices/system/node -maxdepth 1 -name "node[0-9]*" | wc -l)"')'
has '[.pools[] | select(.node == 0)] | map([.order, .ready, .dirty, .high, .rate_mib]) == [[9, 4194304, 0, 4194304, 0], [0, 1048576, 0, 1048576, 0]]'
has '.pools | all(has("low") and has("taken") and has("returned") and has("missed") and has("filled") and has("recycled") and has("given_back"))'
has '[.policies[0].tunables[] | "\(.name)=\(.value)"] == ["large=true", "recycle=false", "pool_small_mb=1", "pool_large_mb=4", "pool_low_percent=75", "pool_rate_mb=0"]'
assert_match "$(gmem-policy status)" 'POOL +READY.*node 0, 2 MiB +4 MiB +0 B .*node 0, 4 KiB +1 MiB' 'status'
unload prezero
assert_no_match "$(gmem-policy status)" POOL 'status, of pools that nobody wants'
# An update decides anew whether it is about orders
load count
replace huge --as count
assert_eq "$(pol count '.flags | join(" ")')" large 'flags after it was replaced by a policy of large folios'
replace count
assert_eq "$(pol count '.flags | join(" ")')" '' 'flags after that was replaced'
unload count

note 'values of tunables'
load "$TESTBPF/census.bpf.o" --set how=GMEM_HOW_NOW --set mode=SCRUB --set instance=0xffffffffffffffff --set zero_early=1
assert_eq "$(pol census '[.tunables[] | "\(.name)=\(.value)"] | join(" ")')" \
	'instance=18446744073709551615 zero_early=true how=now mode=scrub' 'tunables'
unload census
rm -f /sys/fs/bpf/census_*
load "$TESTBPF/hostile.bpf.o" --as other_name --set node=-5 --set only_op=free
assert_eq "$(pol other_name '[.tunables[] | select(.name == "node" or .name == "only_op").value] | map(tostring) | join(" ")')" 'free -5' 'tunables'
unload other_name

note 'help, man page and completion'
gmem-policy --version | grep -q 'policy ABI 1, JSON schema 1' || die "$(gmem-policy --version)"
man=$(<"$(dirname "$(command -v gmem-policy)")/../share/man/man8/gmem-policy.8")
completion=$(dirname "$(command -v gmem-policy)")/../share/bash-completion/completions/gmem-policy
words=$(<"$completion")
commands=$(gmem-policy help | sed -n 's/^  \([a-z]*\)  .*/\1/p')
assert_eq "$(tr '\n' ' ' <<<"$commands")" 'list load replace unload status show check wait help ' 'commands'
for c in $commands; do
	assert_match "$man" $'\n'"\\.(It )?Cm $c" 'the man page'
	assert_match "$words" "commands=.*[' ]${c}[' ]" 'the completion'
	[ "$c" = help ] && continue
	text=$(gmem-policy help "$c")
	assert_eq "$text" "$(gmem-policy "$c" --help)" "help $c"
	for o in $(grep -oE '^  --[a-z-]+' <<<"$text" | tr -d ' ' | sort -u); do
		assert_match "$man" "Fl ${o#-}" "the man page, of $c"
		assert_match "$words" "\\[$c\\]='[^']*$o" "the completion, of $c"
	done
done
for code in 0 1 2 3 4; do assert_match "$man" $'\n\\.It '"$code"$'\n' 'exit status in the man page'; done

complete_line() { # WORD...: the last one is being typed
	bash --norc -c '
		. "$1"; shift
		complete -p gmem-policy >/dev/null || exit 1
		compopt() { :; }
		COMP_WORDS=(gmem-policy "$@") COMP_CWORD=$#
		_gmem_policy
		printf "%s\n" "${COMPREPLY[@]}"' - "$completion" "$@" | sort | tr '\n' ' '
}
load zero_alloc
assert_eq "$(complete_line lo)" 'load ' 'completion'
assert_eq "$(complete_line load prea)" 'prealloc ' 'completion'
assert_eq "$(complete_line unload '')" 'zero_alloc ' 'completion'
assert_eq "$(complete_line load prealloc --set ma)" 'max_mb= ' 'completion'
assert_eq "$(complete_line load prezero --set pool_l)" 'pool_large_mb= pool_low_percent= ' 'completion'
assert_eq "$(complete_line load count --flags s)" 'shadow ' 'completion'
assert_match "$(complete_line load --)" '--cgroup .*--dry-run .*--set ' 'completion'
unload zero_alloc
