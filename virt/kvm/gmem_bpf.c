// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest_memfd inode as policies see it: its object lives from its creation to its eviction.
 */
#include <linux/fs.h>
#include <linux/kvm_host.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#include <trace/events/kvm_gmem.h>

#include "gmem_bpf.h"

/**
 * kvm_arch_gmem_hw_owned - does hardware protect the private pages of a VM?
 * @kvm: the VM
 *
 * Return: true if the host must not write to them (SEV-SNP, TDX)
 */
bool __weak kvm_arch_gmem_hw_owned(struct kvm *kvm)
{
	return false;
}

static u32 kvm_gmem_obj_flags(struct kvm *kvm, struct inode *inode)
{
	u32 flags = 0;

	if (GMEM_I(inode)->flags & GUEST_MEMFD_FLAG_MMAP)
		flags |= GMEM_OBJ_MMAP;
	if (GMEM_I(inode)->flags & GUEST_MEMFD_FLAG_INIT_SHARED)
		flags |= GMEM_OBJ_SHARED;
	if (kvm_arch_gmem_hw_owned(kvm))
		flags |= GMEM_OBJ_HW_OWNED;
	return flags;
}

/**
 * kvm_gmem_bpf_create - bring a new inode under the policy that is effective for it
 * @kvm: the VM that creates it
 * @inode: the inode, of its final size and flags
 * @name: policy that the VMM named, or an empty string
 * @module: the module whose exit waits for inodes to be freed; pinned until this one is
 *
 * Return: 0; -ENOENT if the named policy is not loaded; -ENOMEM. Eviction of the inode undoes what
 * was done
 */
int kvm_gmem_bpf_create(struct kvm *kvm, struct inode *inode, const char *name,
			struct module *module)
{
	const struct gmem_obj_args args = {
		.mapping = inode->i_mapping,
		.size = i_size_read(inode),
		.flags = kvm_gmem_obj_flags(kvm, inode),
		.name = name,
		.module = module,
	};
	struct kvm_gmem_ahead *ahead;
	struct gmem_obj *obj;

	ahead = kvm_gmem_ahead_create(inode);
	if (!ahead)
		return -ENOMEM;

	obj = gmem_obj_create(&args);
	if (IS_ERR(obj)) {
		kvm_gmem_ahead_free(ahead);
		return PTR_ERR(obj);
	}

	GMEM_I(inode)->ahead = ahead;
	GMEM_I(inode)->obj = obj;
	/*
	 * An inode's say on that has to come before its use, so it is the same without a policy. It
	 * does not let khugepaged in, which would move memory that guests have mapped:
	 * file_thp_enabled() keeps off anonymous files, as this one is.
	 */
	mapping_set_large_folios(inode->i_mapping);
	return 0;
}

/**
 * kvm_gmem_bpf_evict - the memory of an inode is gone
 * @inode: the inode
 *
 * Context: process context; no locks held.
 */
void kvm_gmem_bpf_evict(struct inode *inode)
{
	struct gmem_inode *gi = GMEM_I(inode);

	if (gi->obj)
		gmem_obj_retire(gi->obj);
}

/**
 * kvm_gmem_bpf_free - an inode is about to be freed
 * @inode: the inode, which was evicted
 *
 * Context: RCU callback. The module that is pinned waits for it in kvm_gmem_exit(), so it may let
 * go of that.
 */
void kvm_gmem_bpf_free(struct inode *inode)
{
	struct gmem_inode *gi = GMEM_I(inode);

	kvm_gmem_ahead_free(gi->ahead);
	kvm_gmem_large_free(inode);
	if (gi->obj)
		gmem_obj_release(gi->obj);
}

/*
 * Would some of the largest folio that fits be memory that is shared now, and that the VM uses from
 * elsewhere?
 */
static bool kvm_gmem_partly_shared(struct inode *inode, pgoff_t index,
				   const struct kvm_gmem_access *access, unsigned int order)
{
#ifdef CONFIG_KVM_GENERIC_MEMORY_ATTRIBUTES
	gfn_t gfn = access->gfn - (index & ((1UL << order) - 1));

	if (order && access->slot && kvm_arch_has_private_mem(access->kvm) &&
	    !(GMEM_I(inode)->flags & GUEST_MEMFD_FLAG_INIT_SHARED))
		return !kvm_range_has_memory_attributes(access->kvm, gfn, gfn + (1UL << order),
							KVM_MEMORY_ATTRIBUTE_PRIVATE,
							KVM_MEMORY_ATTRIBUTE_PRIVATE);
#endif
	return false;
}

/**
 * kvm_gmem_decide_alloc - ask the policy about a folio that is missing
 * @inode: the inode
 * @index: page
 * @access: what it is for
 * @ctx: filled in; the decisions are checked
 */
void kvm_gmem_decide_alloc(struct inode *inode, pgoff_t index, const struct kvm_gmem_access *access,
			   struct gmem_alloc_ctx *ctx)
{
	struct gmem_obj *obj = GMEM_I(inode)->obj;

	ctx->index = index;
	ctx->gfn = access->gfn;
	ctx->why = access->why;
	ctx->max_order = gmem_wants_order(obj) ? kvm_gmem_max_order(inode, index, access) : 0;
	ctx->partly_shared = kvm_gmem_partly_shared(inode, index, access, ctx->max_order);
	if (access->why != GMEM_WHY_PREALLOC)
		atomic64_inc(&obj->stats.faults);
	gmem_decide_alloc(obj, ctx);
}

/**
 * kvm_gmem_decide_free - memory is about to leave an inode: ask the policy what to do with it
 * @inode: the inode
 * @start: first page
 * @end: page after the last
 * @why: %GMEM_WHY_PUNCH or %GMEM_WHY_EVICT
 *
 * Context: process context, no locks of guest_memfd held; may sleep.
 * Return: enum gmem_free_mode
 */
u32 kvm_gmem_decide_free(struct inode *inode, pgoff_t start, pgoff_t end, enum gmem_why why)
{
	struct gmem_free_ctx ctx = {
		.start = start,
		.nr = end - start,
		.why = why,
		.mode = GMEM_FREE_GIVE_BACK,
	};

	/* An inode that came to nothing while it was created, or the root of the file system. */
	if (!GMEM_I(inode)->obj)
		return ctx.mode;

	gmem_decide_free(GMEM_I(inode)->obj, &ctx);
	return ctx.mode;
}

/**
 * kvm_gmem_scrub - scrub memory, or recycle it, and remove it
 * @inode: the inode; guest mappings of the range are gone. Either its invalidate lock is held for
 *	   writing, or it is evicted
 * @start: first page
 * @end: page after the last
 * @mode: %GMEM_FREE_SCRUB or %GMEM_FREE_RECYCLE
 *
 * The caller truncates what is left.
 *
 * Called once or several times for a range that kvm_gmem_decide_free() was asked about.
 *
 * Return: number of pages that should have been scrubbed or recycled and could not be, because
 * something else referenced them
 */
u64 kvm_gmem_scrub(struct inode *inode, pgoff_t start, pgoff_t end, u32 mode)
{
	u64 clock = kvm_gmem_clock(kvm_gmem_zero);
	struct gmem_obj *obj = GMEM_I(inode)->obj;
	struct gmem_scrubbed scrubbed = {};

	/*
	 * What is young seems to be in use: nothing else tells which it is, for the guest may have
	 * touched it a moment ago. Where nothing seems so, all CPUs need not be bothered.
	 */
	if (gmem_scrub_range(inode->i_mapping, start, end, mode, false, &scrubbed)) {
		gmem_drain_lru();
		gmem_scrub_range(inode->i_mapping, start, end, mode, true, &scrubbed);
	}
	atomic64_add(scrubbed.failed, &obj->stats.scrub_failed);
	atomic64_add(scrubbed.recycled, &obj->stats.recycled);
	if (scrubbed.zeroed) {
		kvm_gmem_bpf_zeroed(inode, scrubbed.zeroed << PAGE_SHIFT, GMEM_ZEROED_FREE);
		trace_kvm_gmem_zero(obj->id, GMEM_I(inode)->tgid, start, scrubbed.zeroed,
				    GMEM_ZEROED_FREE, kvm_gmem_since(clock));
	}
	return scrubbed.failed;
}

static const char *const kvm_gmem_scopes[] = {
	[GMEM_SCOPE_BUILTIN]	= "builtin",
	[GMEM_SCOPE_ENFORCED]	= "enforced",
	[GMEM_SCOPE_NAMED]	= "named",
	[GMEM_SCOPE_CGROUP]	= "cgroup",
	[GMEM_SCOPE_GLOBAL]	= "global",
};

/**
 * kvm_gmem_bpf_show - the policy's part of /proc/PID/fdinfo/FD
 * @inode: the inode
 * @m: where to
 */
void kvm_gmem_bpf_show(struct inode *inode, struct seq_file *m)
{
	struct gmem_obj *obj = GMEM_I(inode)->obj;
	struct gmem_obj_stats *stats = &obj->stats;
	struct gmem_obj_report *report;

	report = kmalloc_obj(*report);
	if (!report)
		return;

	gmem_obj_report(obj, report);
	seq_printf(m, "gmem-policy:\t%s\n", report->policy);
	seq_printf(m, "gmem-scope:\t%s\n", kvm_gmem_scopes[report->scope]);
	if (report->shadow_id)
		seq_printf(m, "gmem-shadow:\t%s\n", report->shadow);
	seq_printf(m, "gmem-zeroed-first-use:\t%lld\n",
		   atomic64_read(&stats->zeroed[GMEM_ZEROED_FIRST_USE]));
	seq_printf(m, "gmem-zeroed-alloc:\t%lld\n",
		   atomic64_read(&stats->zeroed[GMEM_ZEROED_ALLOC]));
	seq_printf(m, "gmem-zeroed-ahead:\t%lld\n",
		   atomic64_read(&stats->zeroed[GMEM_ZEROED_AHEAD]));
	seq_printf(m, "gmem-zeroed-free:\t%lld\n", atomic64_read(&stats->zeroed[GMEM_ZEROED_FREE]));
	seq_printf(m, "gmem-zeroed-pool:\t%lld\n", atomic64_read(&stats->zeroed[GMEM_ZEROED_POOL]));
	seq_printf(m, "gmem-pool-misses:\t%lld\n", atomic64_read(&stats->pool_misses));
	seq_printf(m, "gmem-recycled:\t%lld\n", atomic64_read(&stats->recycled));
	seq_printf(m, "gmem-scrub-failed:\t%lld\n", atomic64_read(&stats->scrub_failed));
	seq_printf(m, "gmem-decisions:\t%lld\n", atomic64_read(&stats->decisions));
	seq_printf(m, "gmem-fitted:\t%lld\n", atomic64_read(&stats->fits));
	seq_printf(m, "gmem-clamped:\t%lld\n", atomic64_read(&stats->clamps));
	seq_printf(m, "gmem-fallbacks:\t%lld\n", atomic64_read(&stats->fallbacks));
	seq_printf(m, "gmem-splits:\t%lld\n", atomic64_read(&stats->splits));
	seq_printf(m, "gmem-splits-failed:\t%lld\n", atomic64_read(&stats->splits_failed));
	seq_printf(m, "gmem-holes-dropped:\t%lld\n", atomic64_read(&stats->holes_dropped));
	seq_printf(m, "gmem-rebuilds:\t%lld\n", atomic64_read(&stats->rebuilds));
	seq_printf(m, "gmem-rebuilds-failed:\t%lld\n", atomic64_read(&stats->rebuilds_failed));
	seq_printf(m, "gmem-prealloc:\t%lld of %lld\n", atomic64_read(&stats->prealloc_done),
		   atomic64_read(&stats->prealloc_asked));
	kfree(report);
}
