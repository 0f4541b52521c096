// SPDX-License-Identifier: GPL-2.0-only
/*
 * Folios of guest_memfd: allocated and zeroed here, as the built-in way or a policy has it.
 */
#include <linux/cpuset.h>
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

	for (i = 0; i < nr; i++) {
		/* Bad ones are not touched, and not mapped, either. */
		if (!PageHWPoison(folio_page(folio, i)))
			clear_highpage(folio_page(folio, i));
	}
	folio_mark_uptodate(folio);

	kvm_gmem_bpf_zeroed(inode, folio_size(folio), when);
	trace_kvm_gmem_zero(kvm_gmem_id(inode), GMEM_I(inode)->tgid, folio->index, nr, when,
			    kvm_gmem_since(start));
}

/**
 * kvm_gmem_new_folio - allocate a folio, where it should be
 * @inode: inode of the guest_memfd
 * @index: page that it is for
 * @order: of the folio
 * @gfp: how
 * @node: what a policy decided, or %GMEM_NO_NODE
 * @place: where the VM's thread may allocate; NULL: as current may
 *
 * mbind() goes before the policy's node, which goes before where the VM's thread is.
 *
 * Return: the folio, with a reference; NULL
 */
struct folio *kvm_gmem_new_folio(struct inode *inode, pgoff_t index, unsigned int order, gfp_t gfp,
				 int node, const struct kvm_gmem_place *place)
{
	struct mempolicy *mpol = mpol_shared_policy_lookup(&GMEM_I(inode)->policy, index);
	nodemask_t nodes;
	struct folio *folio;

	if (mpol || (node == GMEM_NO_NODE && !place)) {
		folio = filemap_alloc_folio(gfp, order, mpol);
		mpol_cond_put(mpol);
		return folio;
	}

	if (!place)
		return __folio_alloc(gfp, order, node, NULL);

	/* Nodes may have gone offline since. */
	nodes_and(nodes, place->nodes, node_states[N_MEMORY]);
	return __folio_alloc(gfp, order, node == GMEM_NO_NODE ? place->node : node,
			     nodes_empty(nodes) ? NULL : &nodes);
}

/*
 * The node whose pool may serve an allocation that kvm_gmem_new_folio() would otherwise do: the
 * same choice, but of one node. NUMA_NO_NODE where there is none, as when memory is interleaved.
 */
static int kvm_gmem_pool_node(struct inode *inode, pgoff_t index, int node,
			      const struct kvm_gmem_place *place)
{
	struct mempolicy *shared = mpol_shared_policy_lookup(&GMEM_I(inode)->policy, index);
	nodemask_t nodes = place ? place->nodes : cpuset_current_mems_allowed;
	int nid = place ? place->node : numa_mem_id();

#ifdef CONFIG_NUMA
	struct mempolicy *mpol = shared;

	if (!mpol && !place && node == GMEM_NO_NODE)
		mpol = current->mempolicy;
	if (mpol) {
		switch (mpol->mode) {
		case MPOL_LOCAL:
			break;
		case MPOL_PREFERRED:
			nid = first_node(mpol->nodes);
			break;
		case MPOL_BIND:
		case MPOL_PREFERRED_MANY:
			if (mpol->home_node != NUMA_NO_NODE)
				nid = mpol->home_node;
			nodes_and(nodes, nodes, mpol->nodes);
			break;
		default:
			nid = NUMA_NO_NODE;
		}
	}
#endif
	if (!shared && node != GMEM_NO_NODE)
		nid = node;
	else if (nid != NUMA_NO_NODE && !node_isset(nid, nodes) && !nodes_empty(nodes))
		nid = first_node(nodes);
	mpol_cond_put(shared);
	return nid != NUMA_NO_NODE && node_isset(nid, nodes) ? nid : NUMA_NO_NODE;
}

static struct folio *kvm_gmem_from_pool(struct inode *inode, pgoff_t index, unsigned int order,
					int node, const struct kvm_gmem_place *place)
{
	int nid = kvm_gmem_pool_node(inode, index, node, place);

	return nid == NUMA_NO_NODE ? NULL : gmem_pool_take(nid, order);
}

static enum gmem_zeroed kvm_gmem_zeroed_at_alloc(const struct kvm_gmem_access *access)
{
	return access->why == GMEM_WHY_PREALLOC ? GMEM_ZEROED_AHEAD : GMEM_ZEROED_ALLOC;
}

/* Allocate the folio of @order around @index, as decided, and add it to the page cache. */
static struct folio *kvm_gmem_add_folio(struct inode *inode, pgoff_t index, unsigned int order,
					gfp_t gfp, const struct gmem_alloc_ctx *ctx,
					struct kvm_gmem_access *access)
{
	struct folio *folio = NULL;
	int err;

	index = round_down(index, 1UL << order);
	if (ctx->zero == GMEM_ZERO_POOL)
		folio = kvm_gmem_from_pool(inode, index, order, ctx->node, access->place);
	access->pooled = folio;
	if (!folio)
		folio = kvm_gmem_new_folio(inode, index, order, gfp, ctx->node, access->place);
	if (!folio)
		return ERR_PTR(-ENOMEM);

	err = filemap_add_folio(inode->i_mapping, folio, index, gfp);
	if (!err)
		return folio;
	if (access->pooled)
		gmem_pool_return(folio);
	else
		folio_put(folio);
	return ERR_PTR(err);
}

/*
 * Allocate a folio of @order, or of a smaller one if that cannot be had. Somebody else may be
 * faster: unless it is gone again, theirs it is.
 */
static struct folio *kvm_gmem_add_largest(struct inode *inode, pgoff_t index, unsigned int order,
					  gfp_t gfp, const struct gmem_alloc_ctx *ctx,
					  struct kvm_gmem_access *access)
{
	unsigned int first = order;
	bool fell_back = false;
	struct folio *folio;

	for (;;) {
		folio = kvm_gmem_add_folio(inode, index, order,
					   kvm_gmem_large_gfp(gfp, order, first), ctx, access);
		if (!IS_ERR(folio)) {
			access->allocated = true;
			break;
		}
		if (PTR_ERR(folio) == -EEXIST) {
			folio = filemap_lock_folio(inode->i_mapping, index);
			if (!IS_ERR(folio))
				return folio;
			order = min(order, kvm_gmem_max_order(inode, index, access));
			/* What fits less now did not want for memory. */
			if (!fell_back)
				first = order;
		} else if (order) {
			order--;
			fell_back = true;
		} else {
			return folio;
		}
	}
	if (fell_back)
		kvm_gmem_fell_back(inode);
	return folio;
}

/* A folio was allocated. Is it zero, or to be so before anybody sees it? */
static void kvm_gmem_zero_new(struct inode *inode, struct folio *folio, enum gmem_zero zero,
			      const struct kvm_gmem_access *access)
{
	if (zero == GMEM_ZERO_POOL) {
		folio_mark_uptodate(folio);
		kvm_gmem_bpf_zeroed(inode, folio_size(folio), GMEM_ZEROED_POOL);
	} else if (zero == GMEM_ZERO_ALLOC) {
		kvm_gmem_zero_folio(inode, folio, kvm_gmem_zeroed_at_alloc(access));
	}
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
 * Return: the folio, which has @index somewhere in it, locked, with a reference; ERR_PTR(-ENOMEM)
 */
struct folio *kvm_gmem_alloc_folio(struct inode *inode, pgoff_t index,
				   struct kvm_gmem_access *access)
{
	gfp_t gfp = mapping_gfp_mask(inode->i_mapping);
	struct gmem_alloc_ctx ctx;
	struct folio *folio;
	u64 start;

	start = kvm_gmem_clock(kvm_gmem_alloc);
	ctx.order = 0;
	ctx.asked = 0;
	ctx.node = GMEM_NO_NODE;
	ctx.zero = GMEM_ZERO_FIRST_USE;
	if (gmem_policy_enabled())
		kvm_gmem_decide_alloc(inode, index, access, &ctx);

	if (access->why == GMEM_WHY_PREALLOC)
		gfp |= __GFP_NORETRY | __GFP_NOWARN;

	folio = kvm_gmem_add_largest(inode, index, kvm_gmem_large_order(inode, ctx.order), gfp,
				     &ctx, access);
	if (!IS_ERR(folio) && !access->allocated)
		return folio;

	if (ctx.zero == GMEM_ZERO_POOL && !access->pooled) {
		kvm_gmem_pool_missed(inode);
		ctx.zero = GMEM_ZERO_ALLOC;
	}

	trace_kvm_gmem_alloc(kvm_gmem_id(inode), GMEM_I(inode)->tgid,
			     IS_ERR(folio) ? index : folio->index, access->gfn, access->why,
			     ctx.asked, ctx.order, IS_ERR(folio) ? 0 : folio_order(folio),
			     IS_ERR(folio) ? GMEM_NO_NODE : folio_nid(folio), ctx.zero,
			     PTR_ERR_OR_ZERO(folio), kvm_gmem_since(start));
	if (IS_ERR(folio))
		return folio;

	kvm_gmem_zero_new(inode, folio, ctx.zero, access);
	return folio;
}
