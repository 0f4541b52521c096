// SPDX-License-Identifier: GPL-2.0-only
/*
 * Folios of guest_memfd: allocated and zeroed here, as the built-in way or a policy has it.
 */
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/mempolicy.h>
#include <linux/pagemap.h>

#include <trace/events/kvm_gmem.h>

#include "gmem_bpf.h"

/**
 * kvm_gmem_id - the number of a guest_memfd in traces
 * @inode: its inode
 *
 * Return: the id of its policy object, or the inode's number if policies are not built in
 */
u64 kvm_gmem_id(struct inode *inode)
{
#ifdef CONFIG_GMEM_BPF
	return GMEM_I(inode)->obj ? GMEM_I(inode)->obj->id : 0;
#else
	return inode->i_ino;
#endif
}

/**
 * kvm_gmem_zero_folio - zero a folio and mark it ready to be mapped
 * @inode: inode of the guest_memfd
 * @folio: locked, in its page cache, not up to date
 * @when: for the trace and the counters
 */
void kvm_gmem_zero_folio(struct inode *inode, struct folio *folio, enum gmem_zeroed when)
{
	u64 start = kvm_gmem_clock(kvm_gmem_zero);
	long i, nr = folio_nr_pages(folio);

	for (i = 0; i < nr; i++)
		clear_highpage(folio_page(folio, i));
	folio_mark_uptodate(folio);

	kvm_gmem_bpf_zeroed(inode, folio_size(folio), when);
	trace_kvm_gmem_zero(kvm_gmem_id(inode), GMEM_I(inode)->tgid, folio->index, nr, when,
			    kvm_gmem_since(start));
}

/* mbind() goes before the policy's node, which goes before where the VM's thread is. */
static struct folio *kvm_gmem_new_folio(struct inode *inode, pgoff_t index, gfp_t gfp, int node,
					const struct kvm_gmem_place *place)
{
	struct mempolicy *mpol = mpol_shared_policy_lookup(&GMEM_I(inode)->policy, index);
	nodemask_t nodes;
	struct folio *folio;

	if (mpol || (node == GMEM_NO_NODE && !place)) {
		folio = filemap_alloc_folio(gfp, 0, mpol);
		mpol_cond_put(mpol);
		return folio;
	}

	if (!place)
		return __folio_alloc(gfp, 0, node, NULL);

	/* Nodes may have gone offline since. */
	nodes_and(nodes, place->nodes, node_states[N_MEMORY]);
	return __folio_alloc(gfp, 0, node == GMEM_NO_NODE ? place->node : node,
			     nodes_empty(nodes) ? NULL : &nodes);
}

static enum gmem_zeroed kvm_gmem_zeroed_at_alloc(const struct kvm_gmem_access *access)
{
	return access->why == GMEM_WHY_PREALLOC ? GMEM_ZEROED_AHEAD : GMEM_ZEROED_ALLOC;
}

/**
 * kvm_gmem_alloc_folio - allocate a folio that a lookup did not find
 * @inode: inode of the guest_memfd
 * @index: page
 * @access: what it is for; allocated is set if it was still missing
 *
 * What is populated ahead (%GMEM_WHY_PREALLOC) is allocated without trying hard, and without the
 * OOM killer.
 *
 * Context: process context; may sleep.
 * Return: the folio, locked, with a reference; ERR_PTR(-ENOMEM)
 */
struct folio *kvm_gmem_alloc_folio(struct inode *inode, pgoff_t index,
				   struct kvm_gmem_access *access)
{
	struct address_space *mapping = inode->i_mapping;
	gfp_t gfp = mapping_gfp_mask(mapping);
	struct gmem_alloc_ctx ctx;
	struct folio *folio;
	u64 start;
	int err;

	start = kvm_gmem_clock(kvm_gmem_alloc);
	ctx.order = 0;
	ctx.asked = 0;
	ctx.node = GMEM_NO_NODE;
	ctx.zero = GMEM_ZERO_FIRST_USE;
	if (gmem_policy_enabled())
		kvm_gmem_decide_alloc(inode, index, access, &ctx);

	if (access->why == GMEM_WHY_PREALLOC)
		gfp |= __GFP_NORETRY | __GFP_NOWARN;

	do {
		folio = kvm_gmem_new_folio(inode, index, gfp, ctx.node, access->place);
		if (!folio) {
			err = -ENOMEM;
			break;
		}

		err = filemap_add_folio(mapping, folio, index, gfp);
		if (!err)
			break;
		folio_put(folio);
		if (err != -EEXIST)
			break;

		/* Somebody else was faster; unless it is gone again, theirs it is. */
		folio = filemap_lock_folio(mapping, index);
		if (!IS_ERR(folio))
			return folio;
	} while (1);

	trace_kvm_gmem_alloc(kvm_gmem_id(inode), GMEM_I(inode)->tgid, index, access->gfn,
			     access->why, ctx.asked, 0, err ? GMEM_NO_NODE : folio_nid(folio),
			     ctx.zero, err, kvm_gmem_since(start));
	if (err)
		return ERR_PTR(err);

	access->allocated = true;
	if (ctx.zero == GMEM_ZERO_ALLOC)
		kvm_gmem_zero_folio(inode, folio, kvm_gmem_zeroed_at_alloc(access));
	return folio;
}
