// SPDX-License-Identifier: GPL-2.0-only
/*
 * Large folios of guest_memfd, which only policies ask for: which order fits where, how they are
 * mapped into the guest, what becomes of them when part of them is punched out, and how they are
 * made again of small ones.
 *
 * Everything happens in blocks of the size that KVM can map, that of a PMD: no folio is larger, or
 * lies in two of them. From the first large folio of an inode on, what is taken away from guests is
 * taken away in whole blocks. A fault tests only its own gfn against what is being invalidated, and
 * could otherwise map a block of which another part is being freed.
 *
 * A folio of which part is punched out is split. As long as something else holds a reference to it
 * that cannot be done: then the part is zeroed, and a worker tries again. By then it may be in use
 * again, and so only what still reads as zeroes is freed.
 *
 * The worker also rebuilds large folios, by copying, when a policy asks for it. It holds no
 * reference to a file: release empties its list, and eviction waits for it.
 */
#include <linux/jiffies.h>
#include <linux/kvm_host.h>
#include <linux/list.h>
#include <linux/memcontrol.h>
#include <linux/mempolicy.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/pagemap.h>
#include <linux/rbtree.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include <trace/events/kvm_gmem.h>

#include "gmem_bpf.h"

static unsigned int gmem_rebuild_mib = 256;
module_param(gmem_rebuild_mib, uint, 0644);
MODULE_PARM_DESC(gmem_rebuild_mib,
		 "MiB that are rebuilt into large folios per second and guest_memfd (0: none)");

/*
 * Ranges that an inode's worker can have, half of them to be rebuilt. A rebuild for which there is
 * no room is dropped. So is a hole, and counted: it keeps its memory until it is punched again, or
 * the file ends.
 */
#define GMEM_LARGE_RANGES	64

/* Blocks that the worker looks at before it lets others work: how long a freezer waits. */
#define GMEM_LARGE_ROUNDS	64

/* Rounds that a rebuild tries what is in use before it leaves it as it is. */
#define GMEM_REBUILD_TRIES	3

/* The same for want of memory, and how long it waits for that, seconds. */
#define GMEM_REBUILD_MEMORY_TRIES	5
#define GMEM_REBUILD_MEMORY_WAIT	10

/*
 * Longest time between two tries to free what could not be split, seconds: who pins memory for good
 * should not have its guest's mappings taken away every now and then.
 */
#define GMEM_HOLE_RETRY_MAX	300

/*
 * Work on [@start, @end) that is due at @due: rebuild it because the policy of @policy_id asked for
 * it, filling at most @max_holes pages of a block; or, if that is 0, free what reads as zeroes. It
 * was tried @tries times in vain, of a rebuild the block that it is at; which has waited @waits
 * times for memory. No reference to the policy is held: it would keep one that is gone.
 */
struct kvm_gmem_large_range {
	struct list_head list;
	pgoff_t start;
	pgoff_t end;
	u64 policy_id;
	u32 max_holes;
	enum gmem_why why;
	unsigned int tries;
	unsigned int waits;
	unsigned long due;
};

/**
 * struct kvm_gmem_large - background work on the large folios of an inode; there from the first one
 * on
 * @inode: the inode
 * @lock: protects what follows; a leaf
 * @work: does what is due in @ranges
 * @ranges: what it has to do, in no order
 * @nr_ranges: how many, with @now
 * @rebuild_due: no block is rebuilt before that, or they would be faster than gmem_rebuild_mib;
 *		 only the worker changes it, without @lock
 * @drained: when the worker last had all CPUs empty their batches of young folios
 * @now: what the worker works on
 * @stopped: the last file is closed
 */
struct kvm_gmem_large {
	struct inode *inode;
	spinlock_t lock; /* of what follows */
	struct delayed_work work;
	struct list_head ranges;
	unsigned int nr_ranges;
	unsigned long rebuild_due;
	unsigned long drained;
	struct kvm_gmem_large_range *now;
	bool stopped;
};

static void kvm_gmem_large_work(struct work_struct *work);

/* ---- Which order fits ---- */

static pgoff_t kvm_gmem_pages(struct inode *inode)
{
	return GMEM_I(inode)->obj->size >> PAGE_SHIFT;
}

/*
 * Have all that is taken away from now on taken away in whole blocks. A punch that is under way
 * began without knowing: no large folios before it ends, and nobody waits for that (-EAGAIN).
 */
static int kvm_gmem_large_enable(struct inode *inode)
{
	struct gmem_inode *gi = GMEM_I(inode);
	struct kvm_gmem_large *large;

	if (kvm_gmem_may_be_large(inode))
		return 0;

	large = kzalloc_obj(*large, GFP_KERNEL_ACCOUNT);
	if (!large)
		return -ENOMEM;
	large->inode = inode;
	large->rebuild_due = jiffies;
	large->drained = jiffies - HZ;
	spin_lock_init(&large->lock);
	INIT_LIST_HEAD(&large->ranges);
	INIT_DELAYED_WORK(&large->work, kvm_gmem_large_work);

	if (!filemap_invalidate_trylock_shared(inode->i_mapping)) {
		kfree(large);
		return -EAGAIN;
	}
	/* Pairs with kvm_gmem_may_be_large(). */
	if (cmpxchg_release(&gi->large, NULL, large))
		kfree(large);
	filemap_invalidate_unlock_shared(inode->i_mapping);
	return 0;
}

/*
 * Whether the architecture lets a VM type's memory be in large folios. Where hardware keeps account
 * of a guest's pages (RMP, S-EPT), splitting and rebuilding would have to be told to it. With base
 * pages of 64K a block is larger than any folio of a page cache.
 */
static bool kvm_gmem_large_allowed(struct inode *inode)
{
	return IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) && PMD_ORDER <= MAX_PAGECACHE_ORDER &&
	       !(GMEM_I(inode)->obj->flags & GMEM_OBJ_HW_OWNED);
}

/* A folio is on the nodes of one mempolicy: none begins or ends within [@start, @end). */
static bool kvm_gmem_one_mempolicy(struct inode *inode, pgoff_t start, pgoff_t end)
{
	bool one = true;
#ifdef CONFIG_NUMA
	struct shared_policy *sp = &GMEM_I(inode)->policy;
	struct rb_node *node;

	if (likely(RB_EMPTY_ROOT(&sp->root)))
		return true;

	read_lock(&sp->lock);
	for (node = rb_first(&sp->root); node && one; node = rb_next(node)) {
		struct sp_node *range = rb_entry(node, struct sp_node, nd);

		one = (range->start <= start || range->start >= end) &&
		      (range->end <= start || range->end >= end);
	}
	read_unlock(&sp->lock);
#endif
	return one;
}

static bool kvm_gmem_slot_covers(const struct kvm_memory_slot *slot, pgoff_t start, pgoff_t end)
{
	return start >= slot->gmem.pgoff && end <= slot->gmem.pgoff + slot->npages;
}

static bool kvm_gmem_slot_congruent(const struct kvm_memory_slot *slot)
{
	return IS_ALIGNED(slot->base_gfn - slot->gmem.pgoff, GMEM_BLOCK_PAGES);
}

/* Does a folio of @order fit at @index, given that one of half the size does? */
static bool kvm_gmem_order_fits(struct inode *inode, pgoff_t index,
				const struct kvm_memory_slot *slot, unsigned int order)
{
	pgoff_t start = round_down(index, 1UL << order), end = start + (1UL << order);
	unsigned long buddy = round_down(index, 1UL << (order - 1)) ^ (1UL << (order - 1));

	if (end > kvm_gmem_pages(inode))
		return false;
	if (slot && !kvm_gmem_slot_covers(slot, start, end))
		return false;
	/* It could be, but KVM could not map it as one. */
	if (slot && order == PMD_ORDER && !kvm_gmem_slot_congruent(slot))
		return false;
	return !xa_find(&inode->i_mapping->i_pages, &buddy, buddy + (1UL << (order - 1)) - 1,
			XA_PRESENT) &&
	       kvm_gmem_one_mempolicy(inode, start, end);
}

/**
 * kvm_gmem_max_order - the largest folio that fits around a missing page
 * @inode: inode of the guest_memfd
 * @index: the page
 * @access: what it is for
 *
 * Return: its order, 0 to that of a PMD; may be less than that the next moment, if neighbours come
 */
unsigned int kvm_gmem_max_order(struct inode *inode, pgoff_t index,
				const struct kvm_gmem_access *access)
{
	unsigned int order = 0;

	if (!kvm_gmem_large_allowed(inode))
		return 0;
	while (order < PMD_ORDER && kvm_gmem_order_fits(inode, index, access->slot, order + 1))
		order++;
	return order;
}

/**
 * kvm_gmem_large_order - may a folio really be large now?
 * @inode: inode of the guest_memfd
 * @order: what a policy decided
 *
 * Return: @order, or 0 if it has to be small for the moment
 */
unsigned int kvm_gmem_large_order(struct inode *inode, unsigned int order)
{
	if (!order || !kvm_gmem_large_enable(inode))
		return order;
	kvm_gmem_fell_back(inode);
	return 0;
}

/**
 * kvm_gmem_mapping_order - how large a folio can be mapped into the guest
 * @slot: the memslot
 * @folio: the folio
 * @index: page of it
 *
 * Return: 0, or the order of a PMD if the block of @index can be mapped as one
 */
int kvm_gmem_mapping_order(const struct kvm_memory_slot *slot, struct folio *folio, pgoff_t index)
{
	pgoff_t start = round_down(index, GMEM_BLOCK_PAGES);

	if (likely(folio_order(folio) < PMD_ORDER) || folio_contain_hwpoisoned_page(folio))
		return 0;
	if (!kvm_gmem_slot_congruent(slot) ||
	    !kvm_gmem_slot_covers(slot, start, start + GMEM_BLOCK_PAGES))
		return 0;
	return PMD_ORDER;
}

/* ---- The list of the worker ---- */

/* When to work on a range: blocks of all ranges that are rebuilt share one rate. */
static unsigned long kvm_gmem_large_due(struct kvm_gmem_large *large,
					const struct kvm_gmem_large_range *range)
{
	unsigned long rebuild_due = READ_ONCE(large->rebuild_due);

	if (range->policy_id && time_after(rebuild_due, range->due))
		return rebuild_due;
	return range->due;
}

static void kvm_gmem_large_arm(struct kvm_gmem_large *large)
{
	unsigned long now = jiffies, first = now + MAX_JIFFY_OFFSET, due;
	struct kvm_gmem_large_range *range;

	lockdep_assert_held(&large->lock);

	if (list_empty(&large->ranges))
		return;
	list_for_each_entry(range, &large->ranges, list) {
		due = kvm_gmem_large_due(large, range);
		if (time_before(due, first))
			first = due;
	}
	mod_delayed_work(kvm_gmem_wq, &large->work, time_after(first, now) ? first - now : 0);
}

/*
 * Put @range on the list, if there is room. One that was the worker's (@again) has its place still.
 */
static bool kvm_gmem_large_queue(struct kvm_gmem_large *large, struct kvm_gmem_large_range *range,
				 bool again)
{
	unsigned int room = range->policy_id ? GMEM_LARGE_RANGES / 2 : GMEM_LARGE_RANGES;

	lockdep_assert_held(&large->lock);

	if (large->stopped || (!again && large->nr_ranges >= room))
		return false;
	list_add_tail(&range->list, &large->ranges);
	if (!again)
		large->nr_ranges++;
	return true;
}

static void kvm_gmem_large_del(struct kvm_gmem_large *large, struct kvm_gmem_large_range *range)
{
	lockdep_assert_held(&large->lock);

	list_del(&range->list);
	large->nr_ranges--;
}

/* Take a range whose time has come off the list; else be woken when the next one's comes. */
static struct kvm_gmem_large_range *kvm_gmem_large_next(struct kvm_gmem_large *large)
{
	struct kvm_gmem_large_range *range;

	guard(spinlock)(&large->lock);

	list_for_each_entry(range, &large->ranges, list) {
		if (time_after_eq(jiffies, kvm_gmem_large_due(large, range))) {
			list_del(&range->list);
			large->now = range;
			return range;
		}
	}
	kvm_gmem_large_arm(large);
	return NULL;
}

/* ---- Punching ---- */

/*
 * Split what straddles @index. Faults that are under way hold references for a moment: a punch
 * waits for them, while background work comes again.
 */
static int kvm_gmem_split_at(struct inode *inode, pgoff_t index, bool wait)
{
	struct gmem_obj *obj = GMEM_I(inode)->obj;
	u64 clock = kvm_gmem_clock(kvm_gmem_split);
	int order, ret, tries;

	for (tries = 0; tries < 3; tries++) {
		ret = gmem_split_at(inode->i_mapping, index, wait, &order);
		if (ret != -EAGAIN || !wait || tries == 2)
			break;
		schedule_timeout_uninterruptible(1);
	}
	/* Nothing straddles it, or that could not be found out. */
	if (order < 0)
		return ret;

	atomic64_inc(ret ? &obj->stats.splits_failed : &obj->stats.splits);
	trace_kvm_gmem_split(obj->id, obj->tgid, index, order, GMEM_WHY_PUNCH, ret,
			     kvm_gmem_since(clock));
	return ret;
}

static void kvm_gmem_hole_dropped(struct inode *inode, pgoff_t nr)
{
	atomic64_add(nr, &GMEM_I(inode)->obj->stats.holes_dropped);
}

/*
 * Free [@start, @end) later, together with the holes that it touches: page by page or from both
 * sides, no more of them wait than there are.
 */
static void kvm_gmem_hole_later(struct inode *inode, pgoff_t start, pgoff_t end)
{
	struct kvm_gmem_large_range *hole = kzalloc_obj(*hole, GFP_KERNEL_ACCOUNT);
	struct kvm_gmem_large *large = GMEM_I(inode)->large;
	struct kvm_gmem_large_range *range, *next;
	bool queued = false;

	guard(spinlock)(&large->lock);

	list_for_each_entry_safe(range, next, &large->ranges, list) {
		if (range->policy_id || range->start > end || range->end < start)
			continue;
		start = min(start, range->start);
		end = max(end, range->end);
		kvm_gmem_large_del(large, range);
		/* The memory of one that it takes in will do. */
		swap(hole, range);
		kfree(range);
	}

	if (hole) {
		hole->start = start;
		hole->end = end;
		hole->tries = 0;
		hole->due = jiffies + HZ / 10;
		queued = kvm_gmem_large_queue(large, hole, false);
	}
	if (queued) {
		kvm_gmem_large_arm(large);
	} else {
		kfree(hole);
		kvm_gmem_hole_dropped(inode, end - start);
	}
}

/*
 * The folio that straddles @index, one end of [@start, @end), could not be split: zero what of it
 * is in the range, and take it out of the range.
 */
static void kvm_gmem_zero_part(struct inode *inode, pgoff_t index, pgoff_t *start, pgoff_t *end)
{
	struct address_space *mapping = inode->i_mapping;
	struct folio *folio = filemap_lock_folio(mapping, index);
	pgoff_t first, last, i;

	if (IS_ERR(folio))
		return;
	if (folio->index < index) {
		first = max(folio->index, *start);
		last = min(folio_next_index(folio), *end);

		unmap_mapping_pages(mapping, first, last - first, false);
		for (i = first; folio_test_uptodate(folio) && i < last; i++) {
			struct page *page = folio_file_page(folio, i);

			if (!PageHWPoison(page))
				clear_highpage(page);
		}
		kvm_gmem_hole_later(inode, first, last);
		if (index == *start)
			*start = last;
		else
			*end = first;
	}
	folio_unlock(folio);
	folio_put(folio);
}

/**
 * kvm_gmem_remove - remove memory from an inode
 * @inode: inode of the guest_memfd; its invalidate lock is held for writing and the guest's
 *	   mappings of the blocks are gone
 * @start: first page
 * @end: page after the last
 * @mode: enum gmem_free_mode
 *
 * What cannot be freed now, because it is part of a large folio that something holds a reference
 * to, reads as zeroes from now on and is freed later.
 *
 * Return: number of pages that should have been scrubbed and could not be
 */
u64 kvm_gmem_remove(struct inode *inode, pgoff_t start, pgoff_t end, u32 mode)
{
	struct address_space *mapping = inode->i_mapping;
	bool large = kvm_gmem_may_be_large(inode);
	u64 failed = 0;

	if (large) {
		if (kvm_gmem_split_at(inode, start, true))
			kvm_gmem_zero_part(inode, start, &start, &end);
		if (start < end && kvm_gmem_split_at(inode, end, true))
			kvm_gmem_zero_part(inode, end, &start, &end);
		if (start >= end)
			return 0;
	}

	if (mode != GMEM_FREE_GIVE_BACK)
		failed = kvm_gmem_scrub(inode, start, end, mode);
	if (large)
		gmem_remove_range(mapping, start, end);
	else
		truncate_inode_pages_range(mapping, (loff_t)start << PAGE_SHIFT,
					   ((loff_t)end << PAGE_SHIFT) - 1);
	return failed;
}

/* Cut [@start, @end) out of a hole. If that leaves something on both sides, there are two then. */
static void kvm_gmem_hole_keep(struct inode *inode, struct kvm_gmem_large_range *hole,
			       pgoff_t start, pgoff_t end)
{
	struct kvm_gmem_large *large = GMEM_I(inode)->large;
	struct kvm_gmem_large_range *behind;

	if (hole->policy_id || hole->start >= end || start >= hole->end)
		return;

	if (hole->start < start && end < hole->end) {
		behind = kmemdup(hole, sizeof(*hole), GFP_NOWAIT | __GFP_ACCOUNT);
		if (behind)
			behind->start = end;
		if (!behind || !kvm_gmem_large_queue(large, behind, false)) {
			kfree(behind);
			kvm_gmem_hole_dropped(inode, hole->end - end);
		}
	}
	if (hole->start < start)
		hole->end = start;
	else
		hole->start = min(end, hole->end);
}

/**
 * kvm_gmem_large_keep - memory of a range is wanted, whatever was punched out of it before
 * @inode: inode of the guest_memfd; its invalidate lock is held
 * @start: first page
 * @end: page after the last
 *
 * What still is to be freed, because it could not be split, stays.
 */
void kvm_gmem_large_keep(struct inode *inode, pgoff_t start, pgoff_t end)
{
	struct kvm_gmem_large *large = GMEM_I(inode)->large;
	struct kvm_gmem_large_range *range, *next;

	if (!kvm_gmem_may_be_large(inode) || start >= end)
		return;

	guard(spinlock)(&large->lock);

	list_for_each_entry_safe(range, next, &large->ranges, list) {
		kvm_gmem_hole_keep(inode, range, start, end);
		if (range->start == range->end) {
			kvm_gmem_large_del(large, range);
			kfree(range);
		}
	}
	if (large->now)
		kvm_gmem_hole_keep(inode, large->now, start, end);
}

/*
 * Try again to free what could not be split. Returns whether to try once more. What of it is wanted
 * again is known under the invalidate lock.
 */
static bool kvm_gmem_free_hole(struct inode *inode, struct kvm_gmem_large_range *range)
{
	struct address_space *mapping = inode->i_mapping;
	pgoff_t start, end;
	bool done;

	filemap_invalidate_lock(mapping);
	start = range->start;
	end = range->end;
	if (start == end) {
		filemap_invalidate_unlock(mapping);
		return false;
	}
	kvm_gmem_widen(inode, &start, &end);
	kvm_gmem_invalidate_start(inode, start, end);

	/* Where one end cannot be split, what is between may be free to go. */
	done = !kvm_gmem_split_at(inode, range->start, false);
	done &= !kvm_gmem_split_at(inode, range->end, false);
	done &= gmem_remove_zeroes(mapping, range->start, range->end);

	kvm_gmem_invalidate_end(inode, start, end);
	filemap_invalidate_unlock(mapping);

	range->due = jiffies + min(HZ << min(range->tries++, 16U), GMEM_HOLE_RETRY_MAX * HZ);
	return !done;
}

/* ---- Rebuilding ---- */

/*
 * Is all of a block private, to every VM that has it bound? Else its holes stay: what is shared is
 * memory of the VMM, and would be backed twice.
 */
static bool kvm_gmem_block_private(struct inode *inode, pgoff_t start, pgoff_t end)
{
#ifdef CONFIG_KVM_GENERIC_MEMORY_ATTRIBUTES
	struct kvm_memory_slot *slot;
	struct gmem_file *f;
	unsigned long index;
	gfn_t gfn, gfn_end;

	if (GMEM_I(inode)->flags & GUEST_MEMFD_FLAG_INIT_SHARED)
		return true;

	list_for_each_entry(f, &GMEM_I(inode)->gmem_file_list, entry) {
		xa_for_each_range(&f->bindings, index, slot, start, end - 1) {
			pgoff_t pgoff = slot->gmem.pgoff;

			if (!kvm_arch_has_private_mem(f->kvm))
				continue;
			gfn = slot->base_gfn + max(pgoff, start) - pgoff;
			gfn_end = slot->base_gfn + min(pgoff + slot->npages, end) - pgoff;
			if (!kvm_range_has_memory_attributes(f->kvm, gfn, gfn_end,
							     KVM_MEMORY_ATTRIBUTE_PRIVATE,
							     KVM_MEMORY_ATTRIBUTE_PRIVATE))
				return false;
		}
	}
#endif
	return true;
}

/*
 * Where most of a block is, as far as the beginning tells: it is to be there as a whole. An error
 * if it is one folio already, or more than @max_holes of its pages are missing.
 */
static int kvm_gmem_block_node(struct inode *inode, pgoff_t start, u32 max_holes)
{
	pgoff_t next = start, last = start + GMEM_BLOCK_PAGES - 1;
	unsigned long pages = 0;
	struct folio_batch fbatch;
	int node = -ENODATA;
	unsigned int i;

	folio_batch_init(&fbatch);
	while (next <= last && filemap_get_folios(inode->i_mapping, &next, last, &fbatch)) {
		if (!pages)
			node = folio_nid(fbatch.folios[0]);
		for (i = 0; i < folio_batch_count(&fbatch); i++)
			pages += folio_nr_pages(fbatch.folios[i]);
		if (folio_order(fbatch.folios[0]) >= PMD_ORDER)
			node = -EEXIST;
		folio_batch_release(&fbatch);
	}
	if (node >= 0 && pages + max_holes < GMEM_BLOCK_PAGES)
		return -ENODATA;
	return node;
}

/* Nothing but the VMM says with mbind() puts memory elsewhere than it is. */
static gfp_t kvm_gmem_rebuild_gfp(struct inode *inode, pgoff_t start)
{
	gfp_t gfp = kvm_gmem_large_gfp(mapping_gfp_mask(inode->i_mapping), PMD_ORDER, PMD_ORDER);
	struct mempolicy *mpol = mpol_shared_policy_lookup(&GMEM_I(inode)->policy, start);

	if (!mpol)
		return gfp | __GFP_THISNODE;
	mpol_cond_put(mpol);
	return gfp;
}

static void kvm_gmem_rebuilt(struct inode *inode, pgoff_t start, unsigned long holes,
			     enum gmem_why why, int ret, u64 clock)
{
	struct gmem_obj *obj = GMEM_I(inode)->obj;

	atomic64_inc(ret ? &obj->stats.rebuilds_failed : &obj->stats.rebuilds);
	trace_kvm_gmem_collapse(obj->id, obj->tgid, start, PMD_ORDER, holes, why, ret,
				kvm_gmem_since(clock));
}

/*
 * Look at a block before any mapping of it is taken away: is there anything to do, and where? What
 * is seen may change, and is checked again.
 */
static int kvm_gmem_rebuild_prepare(struct inode *inode, pgoff_t start, u32 *max_holes)
{
	struct address_space *mapping = inode->i_mapping;
	pgoff_t end = start + GMEM_BLOCK_PAGES;
	int node;

	filemap_invalidate_lock_shared(mapping);
	if (!kvm_gmem_block_private(inode, start, end))
		*max_holes = 0;
	node = kvm_gmem_block_node(inode, start, *max_holes);
	filemap_invalidate_unlock_shared(mapping);

	if (node >= 0 && !kvm_gmem_one_mempolicy(inode, start, end))
		return -EXDEV;
	return node;
}

static int kvm_gmem_rebuild_block(struct inode *inode, pgoff_t start, int node, u32 max_holes,
				  enum gmem_why why)
{
	struct address_space *mapping = inode->i_mapping;
	gfp_t gfp = kvm_gmem_rebuild_gfp(inode, start);
	u64 clock = kvm_gmem_clock(kvm_gmem_collapse);
	pgoff_t end = start + GMEM_BLOCK_PAGES;
	struct gmem_pieces *pieces;
	unsigned long holes = 0;
	struct folio *folio;
	int ret;

	folio = kvm_gmem_new_folio(inode, start, PMD_ORDER, gfp, node, NULL);
	if (!folio) {
		ret = -ENOMEM;
		goto out;
	}
	pieces = gmem_collapse_begin(folio, gfp);
	if (IS_ERR(pieces)) {
		ret = PTR_ERR(pieces);
		goto out_put;
	}

	filemap_invalidate_lock(mapping);
	kvm_gmem_invalidate_start(inode, start, end);
	if (!kvm_gmem_block_private(inode, start, end))
		max_holes = 0;
	/* mbind() takes no lock of ours: what it says from here on is for memory that comes. */
	if (kvm_gmem_one_mempolicy(inode, start, end))
		ret = gmem_collapse(mapping, folio, start, max_holes, pieces, &holes);
	else
		ret = -EXDEV;
	kvm_gmem_invalidate_end(inode, start, end);
	filemap_invalidate_unlock(mapping);

	gmem_collapse_end(pieces);
out_put:
	folio_put(folio);
out:
	kvm_gmem_rebuilt(inode, start, holes, why, ret, clock);
	return ret;
}

/*
 * There is no memory for a block, and will be none for those behind it. Returns whether to wait for
 * some.
 */
static bool kvm_gmem_rebuild_wait(struct kvm_gmem_large_range *range)
{
	range->due = jiffies + GMEM_REBUILD_MEMORY_WAIT * HZ;
	return ++range->waits < GMEM_REBUILD_MEMORY_TRIES;
}

/* The worker is through with a block. Returns whether there is another one. */
static bool kvm_gmem_rebuild_pass(struct kvm_gmem_large_range *range)
{
	range->tries = 0;
	range->waits = 0;
	range->start += GMEM_BLOCK_PAGES;
	return range->start < range->end;
}

/* Rebuild the next block of a range. Returns whether there is more to do. */
static bool kvm_gmem_rebuild_next(struct inode *inode, struct kvm_gmem_large_range *range)
{
	struct gmem_obj *obj = GMEM_I(inode)->obj;
	unsigned int mib = READ_ONCE(gmem_rebuild_mib);
	u32 max_holes = range->max_holes;
	unsigned long next = range->start;
	struct mem_cgroup *old_memcg;
	int node, ret;

	if (!mib || !gmem_still_decides(obj, range->policy_id))
		return false;
	/* What is not there is passed over, however much that is. */
	if (!xa_find(&inode->i_mapping->i_pages, &next, range->end - 1, XA_PRESENT))
		return false;
	range->start = max(range->start, round_down(next, GMEM_BLOCK_PAGES));

	node = kvm_gmem_rebuild_prepare(inode, range->start, &max_holes);
	if (node < 0) {
		if (node != -EEXIST)
			kvm_gmem_rebuilt(inode, range->start, 0, range->why, node, 0);
		return kvm_gmem_rebuild_pass(range);
	}
	if (gmem_obj_memory_short(obj)) {
		kvm_gmem_rebuilt(inode, range->start, 0, range->why, -ENOMEM, 0);
		return kvm_gmem_rebuild_wait(range);
	}

	old_memcg = set_active_memcg(gmem_obj_memcg(obj));
	ret = kvm_gmem_rebuild_block(inode, range->start, node, max_holes, range->why);
	set_active_memcg(old_memcg);

	if (ret == -ENOMEM)
		return kvm_gmem_rebuild_wait(range);

	if ((ret == -EBUSY || ret == -EAGAIN) && ++range->tries < GMEM_REBUILD_TRIES) {
		range->due = jiffies + HZ;
		return true;
	}
	WRITE_ONCE(GMEM_I(inode)->large->rebuild_due,
		   jiffies + msecs_to_jiffies(DIV_ROUND_UP(1000 * (PMD_SIZE >> 20), mib)));
	return kvm_gmem_rebuild_pass(range);
}

/* Is there one that does as well? */
static bool kvm_gmem_rebuild_pending(struct kvm_gmem_large *large, pgoff_t start, pgoff_t end,
				     u32 max_holes, u64 policy_id)
{
	struct kvm_gmem_large_range *range;

	guard(spinlock)(&large->lock);

	list_for_each_entry(range, &large->ranges, list) {
		if (range->policy_id == policy_id && range->max_holes >= max_holes &&
		    range->start <= start && end <= range->end)
			return true;
	}
	return false;
}

/**
 * kvm_gmem_rebuild - make large folios again of what a policy names
 * @inode: inode of the guest_memfd
 * @start: first page
 * @end: page after the last; the blocks that it is in are rebuilt
 * @max_holes: how many pages of a block may be missing
 * @why: %GMEM_WHY_CONVERT or %GMEM_WHY_QUIET
 * @policy_id: of the policy
 *
 * Done by a worker, at most gmem_rebuild_mib a second, as long as the policy is effective. What
 * cannot even be noted is counted as one that failed, and traced.
 *
 * Context: process context, no locks held.
 */
void kvm_gmem_rebuild(struct inode *inode, pgoff_t start, pgoff_t end, u32 max_holes,
		      enum gmem_why why, u64 policy_id)
{
	struct kvm_gmem_large_range *range;
	struct kvm_gmem_large *large;
	int ret;

	start = round_down(start, GMEM_BLOCK_PAGES);
	end = min(round_up(end, GMEM_BLOCK_PAGES),
		  round_down(kvm_gmem_pages(inode), GMEM_BLOCK_PAGES));
	if (start >= end || !kvm_gmem_large_allowed(inode))
		return;
	ret = kvm_gmem_large_enable(inode);
	if (ret) {
		kvm_gmem_rebuilt(inode, start, 0, why, ret, 0);
		return;
	}
	large = GMEM_I(inode)->large;
	if (kvm_gmem_rebuild_pending(large, start, end, max_holes, policy_id))
		return;

	range = kzalloc_obj(*range, GFP_KERNEL_ACCOUNT);
	if (!range) {
		kvm_gmem_rebuilt(inode, start, 0, why, -ENOMEM, 0);
		return;
	}
	range->start = start;
	range->end = end;
	range->policy_id = policy_id;
	range->max_holes = max_holes;
	range->why = why;
	range->due = jiffies;
	scoped_guard(spinlock, &large->lock) {
		if (!kvm_gmem_large_queue(large, range, false))
			break;
		kvm_gmem_large_arm(large);
		return;
	}
	kfree(range);
	kvm_gmem_rebuilt(inode, start, 0, why, -ENOSPC, 0);
}

/*
 * The worker lets go of a range: it goes back, or is gone. At no time is it in neither place, where
 * kvm_gmem_large_keep() would not find it.
 */
static void kvm_gmem_large_done(struct kvm_gmem_large *large, struct kvm_gmem_large_range *range,
				bool more)
{
	scoped_guard(spinlock, &large->lock) {
		large->now = NULL;
		if (more && range->start < range->end && kvm_gmem_large_queue(large, range, true))
			return;
		large->nr_ranges--;
	}
	kfree(range);
}

/*
 * Young folios are referenced by batches of what goes to the LRU lists. That all CPUs empty theirs
 * is not worth each block: what was busy because of that is tried again, later than this lets pass.
 */
static void kvm_gmem_large_drain(struct kvm_gmem_large *large)
{
	if (time_before(jiffies, large->drained + HZ))
		return;
	gmem_drain_lru();
	large->drained = jiffies;
}

static void kvm_gmem_large_work(struct work_struct *work)
{
	struct kvm_gmem_large *large =
		container_of(to_delayed_work(work), struct kvm_gmem_large, work);
	struct kvm_gmem_large_range *range;
	unsigned int rounds = 0;
	bool more;

	range = kvm_gmem_large_next(large);
	if (!range)
		return;

	kvm_gmem_large_drain(large);
	do {
		if (range->policy_id)
			more = kvm_gmem_rebuild_next(large->inode, range);
		else
			more = kvm_gmem_free_hole(large->inode, range);
		kvm_gmem_large_done(large, range, more);
		cond_resched();
	} while (++rounds < GMEM_LARGE_ROUNDS && (range = kvm_gmem_large_next(large)));

	guard(spinlock)(&large->lock);
	kvm_gmem_large_arm(large);
}

/* ---- Life and death ---- */

/**
 * kvm_gmem_large_stop - the last file of an inode is closed: nobody needs its memory
 * @inode: the inode
 *
 * Does not wait: the worker ends with the block that it is at.
 */
void kvm_gmem_large_stop(struct inode *inode)
{
	struct kvm_gmem_large *large = GMEM_I(inode)->large;
	struct kvm_gmem_large_range *range, *next;
	LIST_HEAD(ranges);

	if (!large)
		return;
	scoped_guard(spinlock, &large->lock) {
		large->stopped = true;
		large->nr_ranges = large->now ? 1 : 0;
		list_splice_init(&large->ranges, &ranges);
	}
	list_for_each_entry_safe(range, next, &ranges, list)
		kfree(range);
}

/**
 * kvm_gmem_large_evict - an inode is evicted: wait for its background work
 * @inode: the inode; no locks are held
 */
void kvm_gmem_large_evict(struct inode *inode)
{
	struct kvm_gmem_large *large = GMEM_I(inode)->large;

	if (!large)
		return;
	kvm_gmem_large_stop(inode);
	cancel_delayed_work_sync(&large->work);
}

/**
 * kvm_gmem_large_free - free what background work on large folios needed
 * @inode: the inode, evicted
 */
void kvm_gmem_large_free(struct inode *inode)
{
	kfree(GMEM_I(inode)->large);
}
