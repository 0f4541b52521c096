// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tracepoints of guest_memfd live in vmlinux, not in kvm.ko: the policy core fires some of
 * them, and their types are then in vmlinux's BTF, whatever way KVM is built.
 */
#define CREATE_TRACE_POINTS
#include <trace/events/kvm_gmem.h>

EXPORT_TRACEPOINT_SYMBOL_GPL(kvm_gmem_create);
EXPORT_TRACEPOINT_SYMBOL_GPL(kvm_gmem_release);
EXPORT_TRACEPOINT_SYMBOL_GPL(kvm_gmem_bind);
EXPORT_TRACEPOINT_SYMBOL_GPL(kvm_gmem_unbind);
EXPORT_TRACEPOINT_SYMBOL_GPL(kvm_gmem_alloc);
EXPORT_TRACEPOINT_SYMBOL_GPL(kvm_gmem_zero);
EXPORT_TRACEPOINT_SYMBOL_GPL(kvm_gmem_free);
EXPORT_TRACEPOINT_SYMBOL_GPL(kvm_gmem_fault);
EXPORT_TRACEPOINT_SYMBOL_GPL(kvm_gmem_prealloc);
EXPORT_TRACEPOINT_SYMBOL_GPL(kvm_gmem_fallocate);
EXPORT_TRACEPOINT_SYMBOL_GPL(kvm_gmem_punch_hole);
EXPORT_TRACEPOINT_SYMBOL_GPL(kvm_gmem_invalidate);
EXPORT_TRACEPOINT_SYMBOL_GPL(kvm_gmem_error);
EXPORT_TRACEPOINT_SYMBOL_GPL(kvm_gmem_split);
EXPORT_TRACEPOINT_SYMBOL_GPL(kvm_gmem_collapse);
EXPORT_TRACEPOINT_SYMBOL_GPL(kvm_gmem_convert_begin);
EXPORT_TRACEPOINT_SYMBOL_GPL(kvm_gmem_convert_end);
EXPORT_TRACEPOINT_SYMBOL_GPL(kvm_gmem_convert_request);
