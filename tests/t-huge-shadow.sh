#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 120
# Large folios in a guest whose page tables KVM shadows (no nested paging): the guest maps 4K pages, and what KVM
# maps is no larger, whatever the folio.
. "$(dirname "$0")/policy.sh"

case $(lsmod) in
*kvm_amd*) vendor=kvm_amd npt=npt ;;
*kvm_intel*) vendor=kvm_intel npt=ept ;;
*) skip 'neither kvm_amd nor kvm_intel is loaded' ;;
esac
kvm_unload
cleanup kvm_unload
modprobe $vendor $npt=0
assert_match "$(cat /sys/module/$vendor/parameters/$npt)" '^(0|N)$' "$vendor's parameter $npt"

load huge --set min_mb=0
vm_new a
vm a 'vmtype=default; smallpages; create 8M mmap shared; mmap; bind 1 4G 0 8M; gfill 4G 8M 3; gcheck 4G 8M 3'
assert_eq "$(fdinfo a folios-order-9)" 4 'folios of 2M'
assert_eq "$(cat /sys/kernel/debug/kvm/"${VM_PID[a]}"-*/pages_2m)" 0 "KVM's pages_2m"
vm a "punch 1M 64K; gcheck 4G 1M 3; gcheck $((4 * G + M)) 64K 0; gcheck $((4 * G + 1088 * K)) $((8 * M - 1088 * K)) 3"
vm_end a
wait_for 20 no_objects
unload huge
