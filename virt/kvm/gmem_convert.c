// SPDX-License-Identifier: GPL-2.0-only
/*
 * Conversions between private and shared memory, as tracepoints and policies see them:
 *
 *   convert_request	a vCPU exits to its VMM to have a range converted
 *   convert_begin	the VMM called KVM_SET_MEMORY_ATTRIBUTES, which has got slots_lock
 *   convert_end	it is done
 *
 * Policies are asked after slots_lock is dropped, once for each bound range.
 */
#include <linux/file.h>
#include <linux/kvm_host.h>
#include <linux/kvm_para.h>
#include <linux/srcu.h>

#include <trace/events/kvm_gmem.h>

#include "gmem_bpf.h"

/*
 * The object that is bound at @gfn, or 0. Only for traces: by the time it is shown it may be
 * another.
 */
static u64 kvm_gmem_id_at(struct kvm *kvm, gfn_t gfn)
{
	int idx = srcu_read_lock(&kvm->srcu);
	u64 id = kvm_gmem_slot_id(gfn_to_memslot(kvm, gfn));

	srcu_read_unlock(&kvm->srcu, idx);
	return id;
}

/**
 * kvm_gmem_convert_wait - a conversion is about to wait for slots_lock
 * @conv: the conversion
 */
void kvm_gmem_convert_wait(struct kvm_gmem_conversion *conv)
{
	if (trace_kvm_gmem_convert_begin_enabled() || trace_kvm_gmem_convert_end_enabled())
		conv->wait = ktime_get_ns();
}

/**
 * kvm_gmem_convert_begin - a conversion begins
 * @kvm: the VM; slots_lock is held
 * @conv: the conversion
 */
void kvm_gmem_convert_begin(struct kvm *kvm, struct kvm_gmem_conversion *conv)
{
	if (!conv->wait)
		return;

	conv->begin = ktime_get_ns();
	if (trace_kvm_gmem_convert_begin_enabled())
		trace_kvm_gmem_convert_begin(kvm_gmem_id_at(kvm, conv->start), current->tgid,
					     conv->start, conv->end - conv->start, conv->attributes,
					     conv->begin - conv->wait);
}

/**
 * kvm_gmem_convert_zap - a conversion is about to zap mappings
 * @conv: the conversion
 */
void kvm_gmem_convert_zap(struct kvm_gmem_conversion *conv)
{
	if (conv->begin)
		conv->zap = ktime_get_ns();
}

/**
 * kvm_gmem_convert_zapped - a conversion has zapped the mappings and flushed TLBs
 * @conv: the conversion
 */
void kvm_gmem_convert_zapped(struct kvm_gmem_conversion *conv)
{
	if (conv->begin)
		conv->zap = ktime_get_ns() - conv->zap;
}

/*
 * Next range of [@gfn, @end) that is bound to a guest_memfd: its file, with a reference, its place
 * in @range. Taken anew for each range, so that a policy's work on one holds up no memslot update.
 */
static struct file *kvm_gmem_next_bound(struct kvm *kvm, gfn_t gfn, gfn_t end,
					struct kvm_gfn_range *range, pgoff_t *index)
{
	struct kvm_memslot_iter iter;
	struct file *file = NULL;
	int idx;

	idx = srcu_read_lock(&kvm->srcu);
	kvm_for_each_memslot_in_gfn_range(&iter, kvm_memslots(kvm), gfn, end) {
		struct kvm_memory_slot *slot = iter.slot;

		range->start = max(gfn, slot->base_gfn);
		range->end = min(end, slot->base_gfn + slot->npages);
		if (range->start >= range->end || !kvm_slot_has_gmem(slot))
			continue;
		file = get_file_active(&slot->gmem.file);
		if (file) {
			*index = range->start - slot->base_gfn + slot->gmem.pgoff;
			break;
		}
	}
	srcu_read_unlock(&kvm->srcu, idx);
	return file;
}

static void kvm_gmem_convert_policy(struct kvm *kvm, const struct kvm_gmem_conversion *conv)
{
	bool to_private = conv->attributes & KVM_MEMORY_ATTRIBUTE_PRIVATE;
	struct kvm_gfn_range range;
	gfn_t gfn = conv->start;
	struct file *file;
	pgoff_t index;

	while (gfn < conv->end &&
	       (file = kvm_gmem_next_bound(kvm, gfn, conv->end, &range, &index))) {
		kvm_gmem_converted(file_inode(file), index, range.end - range.start, range.start,
				   to_private);
		fput(file);
		gfn = range.end;
	}
}

/**
 * kvm_gmem_convert_end - a conversion ends
 * @kvm: the VM; slots_lock is not held
 * @conv: the conversion
 * @ret: its result
 */
void kvm_gmem_convert_end(struct kvm *kvm, struct kvm_gmem_conversion *conv, int ret)
{
	if (trace_kvm_gmem_convert_end_enabled())
		trace_kvm_gmem_convert_end(kvm_gmem_id_at(kvm, conv->start), current->tgid,
					   conv->start, conv->end - conv->start, conv->attributes,
					   conv->changed, ret, conv->zap,
					   kvm_gmem_since(conv->begin));

	if (gmem_policy_enabled() && conv->changed)
		kvm_gmem_convert_policy(kvm, conv);
}

static void kvm_gmem_trace_request(struct kvm_vcpu *vcpu, gfn_t gfn, u64 nr, bool to_private,
				   bool hypercall)
{
	trace_kvm_gmem_convert_request(kvm_gmem_id_at(vcpu->kvm, gfn), current->tgid, vcpu->vcpu_id,
				       gfn, nr, to_private, hypercall);
}

/**
 * kvm_gmem_vcpu_exit - a vCPU returns to its VMM
 * @vcpu: the vCPU; its mutex is held
 * @ret: what KVM_RUN returns
 *
 * Traces the exits that ask for a conversion.
 */
void kvm_gmem_vcpu_exit(struct kvm_vcpu *vcpu, int ret)
{
	struct kvm_run *run = vcpu->run;

	if (!trace_kvm_gmem_convert_request_enabled())
		return;

	if (run->exit_reason == KVM_EXIT_MEMORY_FAULT && ret == -EFAULT)
		kvm_gmem_trace_request(vcpu, gpa_to_gfn(run->memory_fault.gpa),
				       run->memory_fault.size >> PAGE_SHIFT,
				       run->memory_fault.flags & KVM_MEMORY_EXIT_FLAG_PRIVATE,
				       false);
	else if (run->exit_reason == KVM_EXIT_HYPERCALL && !ret &&
		 run->hypercall.nr == KVM_HC_MAP_GPA_RANGE)
		kvm_gmem_trace_request(vcpu, gpa_to_gfn(run->hypercall.args[0]),
				       run->hypercall.args[1],
				       run->hypercall.args[2] & KVM_MAP_GPA_RANGE_ENCRYPTED, true);
}
