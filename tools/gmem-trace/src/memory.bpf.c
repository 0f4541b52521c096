// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Iterators over guest memory objects, pools, and the memslots of a VM. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "memory.h"

char _license[] SEC("license") = "GPL";

#define MEM_GUEST_MEMFD		(1U << 2)	/* KVM_MEM_GUEST_MEMFD */
#define MEMSLOT_GMEM_ONLY	(1U << 17)	/* shared memory is guest_memfd's as well */
#define SLOT_BUCKETS		128
#define SLOTS_EACH		4096

/* The descriptor of the VM, in the process that the iterator was made for. */
__u32 vm_fd;

/* Too large for the stack. Only the process that loaded the programs runs them, one at a time. */
struct mem_obj rec;

SEC("?iter/gmem_obj")
int dump_objs(struct bpf_iter__gmem_obj *ctx)
{
	struct gmem_obj_report *report = ctx->report;
	struct gmem_obj *obj = ctx->obj;

	if (!obj || !report)
		return 0;
	rec.id = obj->id;
	rec.size = obj->size;
	rec.tgid = obj->tgid;
	rec.resident = report->resident.bytes;
	rec.ready = report->resident.ready;
	bpf_core_read(&rec.folios, sizeof(rec.folios), &report->resident.folios);
	bpf_seq_write(ctx->meta->seq, &rec, sizeof(rec));
	return 0;
}

SEC("?iter/gmem_pool")
int dump_pools(struct bpf_iter__gmem_pool *ctx)
{
	struct gmem_pool_report *pool = ctx->pool;
	struct mem_pool p = {};

	if (!pool)
		return 0;
	p.ready = pool->ready;
	p.dirty = pool->dirty;
	p.high = pool->high;
	p.node = pool->nid;
	p.order = pool->order;
	bpf_seq_write(ctx->meta->seq, &p, sizeof(p));
	return 0;
}

static void dump_slot(struct seq_file *seq, struct kvm_memory_slot *slot, struct kvm *kvm)
{
	__u32 flags = BPF_CORE_READ(slot, flags);
	struct mem_slot s = {};

	if (!(flags & MEM_GUEST_MEMFD) || flags & MEMSLOT_GMEM_ONLY)
		return;
	s.vm = (__u64)kvm;
	s.gfn = BPF_CORE_READ(slot, base_gfn);
	s.pages = BPF_CORE_READ(slot, npages);
	s.hva = BPF_CORE_READ(slot, userspace_addr);
	bpf_seq_write(seq, &s, sizeof(s));
}

/*
 * Memslots are in a hash table; there are two of them, one of which is in use. Nothing is locked: a
 * memslot that is changed at the same time may be missing, or be told twice.
 */
static void dump_bucket(struct seq_file *seq, struct kvm *kvm, struct kvm_memslots *slots,
			__u32 bucket, __u32 idx)
{
	struct hlist_node *node = BPF_CORE_READ(slots, id_hash[bucket].first);
	__u64 in_slot = bpf_core_field_offset(struct kvm_memory_slot, id_node) +
			idx * bpf_core_type_size(struct hlist_node);
	int i;

	bpf_for(i, 0, SLOTS_EACH) {
		if (!node)
			break;
		dump_slot(seq, (void *)node - in_slot, kvm);
		node = BPF_CORE_READ(node, next);
	}
}

SEC("?iter/task_file")
int dump_slots(struct bpf_iter__task_file *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct kvm_memslots *slots;
	struct file *file = ctx->file;
	struct kvm *kvm;
	__u32 idx;
	int i;

	if (!file || ctx->fd != vm_fd)
		return 0;
	kvm = file->private_data;
	slots = BPF_CORE_READ(kvm, memslots[0]);
	idx = BPF_CORE_READ(slots, node_idx) & 1;
	bpf_for(i, 0, SLOT_BUCKETS)
		dump_bucket(seq, kvm, slots, i & (SLOT_BUCKETS - 1), idx);
	return 0;
}
