// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that a policy wants before it is used.
 *
 * A decision to populate is carried out by whoever asked (GMEM_HOW_NOW) or by a worker of the inode
 * (GMEM_HOW_BACKGROUND), in chunks, each under the invalidate lock held shared.
 *
 * The worker holds no reference to a file. What it has to do is a short list of ranges in the
 * inode. A punched range is cut out of the list under the invalidate lock held exclusively, and
 * closing the last file empties the list, so nothing that was taken away is populated again.
 * Eviction, which nothing can follow, waits for the worker. Work that a policy asked for ends with
 * the policy.
 *
 * Populating ahead never fails what led to it, never invokes the OOM killer, stops at memory.high,
 * and is paid for by the memory cgroup that created the file.
 */
#include <linux/cpuset.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kvm_host.h>
#include <linux/list.h>
#include <linux/memcontrol.h>
#include <linux/mempolicy.h>
#include <linux/minmax.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include <trace/events/kvm_gmem.h>

#include "gmem_bpf.h"

/* Pages that are populated at a time: how long a punch may have to wait. */
#define GMEM_CHUNK	64

/*
 * Chunks that the worker populates before it queues itself anew: how long a freezer, or another
 * inode, waits.
 */
#define GMEM_CHUNKS_AT_A_TIME	16

/*
 * Ranges that can wait for the worker of an inode; more are dropped, which only means that faults
 * do the work.
 */
#define GMEM_AHEAD_RANGES	16

/* A range that the worker is to populate, on behalf of @policy. */
struct kvm_gmem_ahead_range {
	struct list_head list;
	pgoff_t start;
	pgoff_t end;
	pgoff_t next;
	u64 done;
	u64 clock;
	enum gmem_why why;
	struct gmem_policy *policy;
};

/*
 * A range that @policy_id wants to hear of again if it was not converted until @deadline, @delay
 * jiffies after the last conversion. Until then it does not want to hear of conversions in the
 * blocks [@muted, @muted_end), which are none if it does.
 */
struct kvm_gmem_quiet_range {
	struct list_head list;
	pgoff_t start;
	pgoff_t end;
	gfn_t gfn;
	bool to_private;
	u64 policy_id;
	unsigned long deadline;
	unsigned long delay;
	pgoff_t muted;
	pgoff_t muted_end;
};

/**
 * struct kvm_gmem_ahead - background work of an inode
 * @inode: the inode
 * @lock: protects the lists; a leaf
 * @work: populates @ranges
 * @ranges: what it has to do, oldest first
 * @nr_ranges: how many
 * @punches: counts what was taken away; whoever populates for itself stops when it changes
 * @stopped: the last file is closed
 * @place: where the VM would allocate, as it last was seen
 * @quiet_work: asks about @quiet when their time has come
 * @quiet_due: when that is, if it is pending
 * @quiet: ranges to ask about, in no order
 * @quiet_free: the rest of @quiet_ranges
 * @quiet_ranges: %GMEM_QUIET_RANGES, made when a policy first needs one; or NULL
 */
struct kvm_gmem_ahead {
	struct inode *inode;
	spinlock_t lock; /* of the lists; a leaf */
	struct work_struct work;
	struct list_head ranges;
	unsigned int nr_ranges;
	u64 punches;
	bool stopped;
	struct kvm_gmem_place place;
	struct delayed_work quiet_work;
	unsigned long quiet_due;
	struct list_head quiet;
	struct list_head quiet_free;
	struct kvm_gmem_quiet_range *quiet_ranges;
};

/* Of what is populated, asked about and rebuilt in the background. */
struct workqueue_struct *kvm_gmem_wq;

/* ---- Populating ---- */

/* Where a chunk that begins at @start ends, of what is to be populated up to @end. */
static pgoff_t kvm_gmem_chunk_end(pgoff_t start, pgoff_t end)
{
	return min(start + GMEM_CHUNK, end);
}

/*
 * Populate a chunk of [@next, @end), as long as @policy wants it. @next becomes the page behind the
 * chunk, or behind the large folio that the chunk ends in. The invalidate lock is held shared.
 */
static int kvm_gmem_populate_chunk(struct inode *inode, struct gmem_policy *policy, pgoff_t *next,
				   pgoff_t end, const struct kvm_gmem_place *place, u64 *done)
{
	pgoff_t index = *next, chunk_end = kvm_gmem_chunk_end(index, end);
	struct gmem_obj *obj = GMEM_I(inode)->obj;
	struct mem_cgroup *old_memcg;
	struct folio *folio;
	int ret = 0;

	if (READ_ONCE(policy->retired))
		return -ECANCELED;
	if (gmem_obj_memory_short(obj))
		return -ENOMEM;
	kvm_gmem_large_keep(inode, index, chunk_end);

	old_memcg = set_active_memcg(gmem_obj_memcg(obj));
	while (index < chunk_end) {
		struct kvm_gmem_access access = {
			.why = GMEM_WHY_PREALLOC,
			.gfn = GMEM_NO_GFN,
			.place = place,
		};

		folio = kvm_gmem_get_folio(inode, index, &access);
		if (IS_ERR(folio)) {
			ret = PTR_ERR(folio);
			break;
		}
		if (access.allocated) {
			*done += folio_nr_pages(folio);
			atomic64_add(folio_nr_pages(folio), &obj->stats.prealloc_done);
		}
		index = folio_next_index(folio);
		folio_unlock(folio);
		folio_put(folio);
	}
	set_active_memcg(old_memcg);

	if (index > chunk_end)
		kvm_gmem_large_keep(inode, chunk_end, min(index, end));
	*next = index;
	return ret;
}

static void kvm_gmem_trace_populated(struct inode *inode, pgoff_t start, pgoff_t end,
				     enum gmem_why why, bool background, u64 done, int ret,
				     u64 clock)
{
	trace_kvm_gmem_prealloc(kvm_gmem_id(inode), GMEM_I(inode)->tgid, start, end - start, why,
				background, done, ret, kvm_gmem_since(clock));
}

/* A fault that waited for a punch would wait for memory that it does not need yet. */
static int kvm_gmem_populate_lock(struct address_space *mapping, enum gmem_why why)
{
	if (why == GMEM_WHY_GUEST_FAULT)
		return filemap_invalidate_trylock_shared(mapping) ? 0 : -EBUSY;

	filemap_invalidate_lock_shared(mapping);
	return 0;
}

/*
 * Populate in the context of the VMM: until a signal, or a punch, says that it has other things to
 * do. Returns the end of what is there now.
 */
static pgoff_t kvm_gmem_populate_now(struct inode *inode, struct gmem_policy *policy,
				     pgoff_t start, pgoff_t end, enum gmem_why why)
{
	struct kvm_gmem_ahead *ahead = GMEM_I(inode)->ahead;
	struct address_space *mapping = inode->i_mapping;
	u64 punches = READ_ONCE(ahead->punches);
	u64 clock = kvm_gmem_clock(kvm_gmem_prealloc);
	pgoff_t index;
	u64 done = 0;
	int ret = 0;

	for (index = start; index < end && !ret;) {
		if (signal_pending(current)) {
			ret = -EINTR;
			break;
		}
		ret = kvm_gmem_populate_lock(mapping, why);
		if (ret)
			break;
		if (READ_ONCE(ahead->punches) != punches)
			ret = -ECANCELED;
		else
			ret = kvm_gmem_populate_chunk(inode, policy, &index, end, NULL, &done);
		filemap_invalidate_unlock_shared(mapping);
		cond_resched();
	}
	kvm_gmem_trace_populated(inode, start, end, why, false, done, ret, clock);
	return min(index, end);
}

static struct kvm_gmem_ahead_range *kvm_gmem_ahead_first(struct kvm_gmem_ahead *ahead)
{
	lockdep_assert_held(&ahead->lock);

	return list_first_entry_or_null(&ahead->ranges, struct kvm_gmem_ahead_range, list);
}

/*
 * Take the next chunk off the list: the beginning of what @chunk says is left of its range. Called
 * under the invalidate lock held shared, so that the chunk stays what was asked for until it is
 * populated.
 */
static bool kvm_gmem_ahead_next(struct kvm_gmem_ahead *ahead, struct kvm_gmem_ahead_range *chunk)
{
	struct kvm_gmem_ahead_range *range;

	guard(spinlock)(&ahead->lock);

	range = kvm_gmem_ahead_first(ahead);
	if (!range)
		return false;
	*chunk = *range;
	range->next = kvm_gmem_chunk_end(range->next, range->end);
	return true;
}

/*
 * The chunk is done, and what follows up to @next with it, or it failed: go on with its range, or
 * end it. Only the worker takes ranges off the list, so it still is the first one, though it may
 * have been cut.
 */
static void kvm_gmem_ahead_done(struct kvm_gmem_ahead *ahead,
				const struct kvm_gmem_ahead_range *chunk, pgoff_t next, u64 done,
				int ret)
{
	pgoff_t pages = kvm_gmem_chunk_end(chunk->next, chunk->end) - chunk->next;
	struct gmem_obj *obj = GMEM_I(ahead->inode)->obj;
	struct kvm_gmem_ahead_range *range;

	scoped_guard(spinlock, &ahead->lock) {
		range = kvm_gmem_ahead_first(ahead);
		range->done += done;
		next = clamp(next, range->next, range->end);
		atomic64_add(pages + next - range->next, &obj->ahead_done);
		range->next = next;
		if (!ret && range->next < range->end)
			return;

		/* What is left of it is not going to be done. */
		atomic64_sub(range->end - range->next, &obj->ahead_total);
		list_del(&range->list);
		if (!--ahead->nr_ranges) {
			atomic64_set(&obj->ahead_total, 0);
			atomic64_set(&obj->ahead_done, 0);
		}
	}
	kvm_gmem_trace_populated(ahead->inode, range->start, range->end, range->why, true,
				 range->done, ret, range->clock);
	gmem_policy_put(range->policy);
	kfree(range);
}

static void kvm_gmem_ahead_work(struct work_struct *work)
{
	struct kvm_gmem_ahead *ahead = container_of(work, struct kvm_gmem_ahead, work);
	struct address_space *mapping = ahead->inode->i_mapping;
	struct kvm_gmem_ahead_range chunk;
	struct kvm_gmem_place place;
	unsigned int chunks = 0;
	bool more;

	scoped_guard(spinlock, &ahead->lock)
		place = ahead->place;

	do {
		filemap_invalidate_lock_shared(mapping);
		more = kvm_gmem_ahead_next(ahead, &chunk);
		if (more) {
			pgoff_t next = chunk.next;
			u64 done = 0;
			int ret;

			ret = kvm_gmem_populate_chunk(ahead->inode, chunk.policy, &next, chunk.end,
						      &place, &done);
			kvm_gmem_ahead_done(ahead, &chunk, next, done, ret);
		}
		filemap_invalidate_unlock_shared(mapping);
		cond_resched();
	} while (more && ++chunks < GMEM_CHUNKS_AT_A_TIME);

	if (more)
		queue_work(kvm_gmem_wq, &ahead->work);
}

/* Where the thread of the VM that asks would allocate. */
static void kvm_gmem_note_place(struct kvm_gmem_ahead *ahead)
{
#ifdef CONFIG_NUMA
	struct mempolicy *mpol = current->mempolicy;
#endif

	lockdep_assert_held(&ahead->lock);

	if (!current->mm)
		return;
	ahead->place.node = numa_mem_id();
	ahead->place.nodes = cpuset_current_mems_allowed;
#ifdef CONFIG_NUMA
	if (mpol && mpol->mode == MPOL_BIND)
		nodes_and(ahead->place.nodes, ahead->place.nodes, mpol->nodes);
#endif
}

/*
 * Have the worker populate [@start, @end), or tell the trace why not. Takes over the caller's
 * reference to @policy.
 */
static void kvm_gmem_populate_later(struct inode *inode, struct gmem_policy *policy, pgoff_t start,
				    pgoff_t end, enum gmem_why why)
{
	struct kvm_gmem_ahead *ahead = GMEM_I(inode)->ahead;
	struct gmem_obj *obj = GMEM_I(inode)->obj;
	u64 clock = kvm_gmem_clock(kvm_gmem_prealloc);
	struct kvm_gmem_ahead_range *range;
	int ret = -ENOMEM;

	range = kmalloc_obj(*range, GFP_KERNEL_ACCOUNT);
	if (!range)
		goto drop;

	*range = (struct kvm_gmem_ahead_range) {
		.start = start,
		.end = end,
		.next = start,
		.why = why,
		.policy = policy,
		.clock = ktime_get_ns(),
	};
	scoped_guard(spinlock, &ahead->lock) {
		kvm_gmem_note_place(ahead);
		ret = ahead->stopped ? -ECANCELED : -ENOSPC;
		if (ahead->stopped || ahead->nr_ranges == GMEM_AHEAD_RANGES)
			break;
		if (!ahead->nr_ranges++)
			WRITE_ONCE(obj->ahead_began, ktime_get_boottime_ns());
		list_add_tail(&range->list, &ahead->ranges);
		atomic64_add(end - start, &obj->ahead_total);
		queue_work(kvm_gmem_wq, &ahead->work);
		return;
	}
	kfree(range);
drop:
	kvm_gmem_trace_populated(inode, start, end, why, true, 0, ret, clock);
	gmem_policy_put(policy);
}

/* Returns the end of what is there now, from @start on. */
static pgoff_t kvm_gmem_populate_ahead(struct inode *inode, enum gmem_how how, pgoff_t start,
				       u64 nr, enum gmem_why why)
{
	struct gmem_policy *policy = gmem_policy_get_effective(GMEM_I(inode)->obj);
	pgoff_t end = start;

	if (!policy)
		return end;

	atomic64_add(nr, &GMEM_I(inode)->obj->stats.prealloc_asked);

	/*
	 * mmap_lock is held for a host fault, and a vCPU should be held up for what it needs only.
	 */
	if (why == GMEM_WHY_HOST_FAULT ||
	    (why == GMEM_WHY_GUEST_FAULT && nr > GMEM_FAULT_NOW_PAGES))
		how = GMEM_HOW_BACKGROUND;

	if (how == GMEM_HOW_NOW) {
		end = kvm_gmem_populate_now(inode, policy, start, start + nr, why);
		gmem_policy_put(policy);
	} else {
		kvm_gmem_populate_later(inode, policy, start, start + nr, why);
	}
	return end;
}

/*
 * Have a vCPU map of [@start, @end) what the memslot that it faulted on binds. Page tables take
 * memory, too.
 */
static void kvm_gmem_map_ahead(struct inode *inode, struct kvm_gmem_access *access, pgoff_t start,
			       pgoff_t end)
{
	const struct kvm_memory_slot *slot = access->slot;

	if (gmem_obj_memory_short(GMEM_I(inode)->obj))
		return;

	start = max(start, slot->gmem.pgoff);
	end = min(end, slot->gmem.pgoff + slot->npages);
	if (start >= end)
		return;

	access->map_gfn = slot->base_gfn + start - slot->gmem.pgoff;
	access->map_nr = end - start;
}

/**
 * __kvm_gmem_prealloc - something happened that a policy may want to populate more for
 * @inode: inode of the guest_memfd
 * @why: what happened
 * @start: first page that it is about
 * @nr: how many pages
 * @access: of a fault, which is told what to map beside what it needs; else NULL
 *
 * Context: process context. If @why is %GMEM_WHY_HOST_FAULT mmap_lock and a folio may be locked,
 * else nothing that populating needs: neither slots_lock nor the invalidate lock nor a folio.
 */
void __kvm_gmem_prealloc(struct inode *inode, enum gmem_why why, pgoff_t start, u64 nr,
			 struct kvm_gmem_access *access)
{
	struct gmem_prealloc_ctx ctx = {
		.start = start,
		.nr = nr,
		.why = why,
		.how = GMEM_HOW_NONE,
		.from = start,
	};
	pgoff_t end = start;

	gmem_decide_prealloc(GMEM_I(inode)->obj, &ctx);
	if (ctx.how != GMEM_HOW_NONE)
		end = kvm_gmem_populate_ahead(inode, ctx.how, ctx.from, ctx.count, why);
	if (ctx.map)
		kvm_gmem_map_ahead(inode, access, ctx.from, end);
}

/**
 * kvm_gmem_bound - a memory region was set
 * @kvm: the VM; slots_lock is not held
 * @mem: the region
 *
 * The file is looked up again. If another thread has put something else there, the worst that a
 * policy can do is to populate another file of the same VM.
 */
void kvm_gmem_bound(struct kvm *kvm, const struct kvm_userspace_memory_region2 *mem)
{
	struct file *file;

	if (!gmem_policy_enabled() || !(mem->flags & KVM_MEM_GUEST_MEMFD) || !mem->memory_size)
		return;

	file = fget(mem->guest_memfd);
	if (!file)
		return;
	if (kvm_gmem_file_of(file, kvm))
		kvm_gmem_prealloc(file_inode(file), GMEM_WHY_BIND,
				  mem->guest_memfd_offset >> PAGE_SHIFT,
				  mem->memory_size >> PAGE_SHIFT);
	fput(file);
}

/*
 * Cut [@start, @end) out of what the worker has to do; of a range with a hole in its middle, what
 * is behind that goes too, and is left to faults.
 */
static void kvm_gmem_ahead_cut(struct kvm_gmem_ahead *ahead, pgoff_t start, pgoff_t end)
{
	struct kvm_gmem_ahead_range *range;
	pgoff_t left;

	lockdep_assert_held(&ahead->lock);

	list_for_each_entry(range, &ahead->ranges, list) {
		if (range->end <= start || end <= range->next)
			continue;

		left = range->end - range->next;
		if (start > range->next)
			range->end = start;
		else
			range->next = min(end, range->end);
		left -= range->end - range->next;
		atomic64_sub(left, &GMEM_I(ahead->inode)->obj->ahead_total);
	}
}

/* ---- Conversions, and ranges that become quiet ---- */

static void kvm_gmem_quiet_del(struct kvm_gmem_ahead *ahead, struct kvm_gmem_quiet_range *range)
{
	lockdep_assert_held(&ahead->lock);

	list_move(&range->list, &ahead->quiet_free);
}

/* All ranges that there can be, so that none of them can want for memory later. */
static bool kvm_gmem_quiet_prepare(struct kvm_gmem_ahead *ahead)
{
	struct kvm_gmem_quiet_range *ranges;
	unsigned int i;

	if (READ_ONCE(ahead->quiet_ranges))
		return true;

	ranges = kzalloc_objs(*ranges, GMEM_QUIET_RANGES, GFP_KERNEL_ACCOUNT);
	if (!ranges)
		return false;
	scoped_guard(spinlock, &ahead->lock) {
		if (ahead->quiet_ranges)
			break;
		for (i = 0; i < GMEM_QUIET_RANGES; i++)
			list_add_tail(&ranges[i].list, &ahead->quiet_free);
		WRITE_ONCE(ahead->quiet_ranges, ranges);
		return true;
	}
	kfree(ranges);
	return true;
}

/* How many pages lie between two ranges. */
static pgoff_t kvm_gmem_quiet_gap(const struct kvm_gmem_quiet_range *a,
				  const struct kvm_gmem_quiet_range *b)
{
	if (a->end < b->start)
		return b->start - a->end;
	return b->end < a->start ? a->start - b->end : 0;
}

/*
 * There is no room for @wish: have the nearest range of its policy stand for both. There is one:
 * the caller has dropped those of others, or takes @wish out of one. The policy hears of
 * conversions in it again, for it never asked to be spared those between the two. Nor does anybody
 * know whether all that is private.
 */
static void kvm_gmem_quiet_join(struct kvm_gmem_ahead *ahead,
				const struct kvm_gmem_quiet_range *wish)
{
	struct kvm_gmem_quiet_range *range, *nearest = NULL;

	list_for_each_entry(range, &ahead->quiet, list) {
		if (range->policy_id != wish->policy_id)
			continue;
		if (!nearest ||
		    kvm_gmem_quiet_gap(range, wish) < kvm_gmem_quiet_gap(nearest, wish))
			nearest = range;
	}
	if (wish->start < nearest->start) {
		nearest->start = wish->start;
		nearest->gfn = wish->gfn;
	}
	nearest->end = max(nearest->end, wish->end);
	nearest->to_private = false;
	nearest->muted_end = 0;
	nearest->delay = max(nearest->delay, wish->delay);
	if (time_after(wish->deadline, nearest->deadline))
		nearest->deadline = wish->deadline;
	atomic64_inc(&GMEM_I(ahead->inode)->obj->stats.quiet_joined);
}

static void kvm_gmem_quiet_put(struct kvm_gmem_ahead *ahead,
			       const struct kvm_gmem_quiet_range *wish)
{
	struct kvm_gmem_quiet_range *range;

	lockdep_assert_held(&ahead->lock);

	range = list_first_entry_or_null(&ahead->quiet_free, struct kvm_gmem_quiet_range, list);
	if (!range) {
		kvm_gmem_quiet_join(ahead, wish);
		return;
	}
	list_del(&range->list);
	*range = *wish;
	list_add_tail(&range->list, &ahead->quiet);
}

/*
 * Cut [@start, @end) out of a range that waits for being quiet. The policy hears of what is left.
 */
static void kvm_gmem_quiet_cut(struct kvm_gmem_ahead *ahead, struct kvm_gmem_quiet_range *range,
			       pgoff_t start, pgoff_t end)
{
	struct kvm_gmem_quiet_range behind;

	if (range->end <= start || end <= range->start)
		return;

	range->muted_end = 0;
	if (range->start < start) {
		behind = *range;
		range->end = start;
		if (end < behind.end) {
			behind.gfn += end - behind.start;
			behind.start = end;
			kvm_gmem_quiet_put(ahead, &behind);
		}
	} else if (end < range->end) {
		range->gfn += end - range->start;
		range->start = end;
	} else {
		kvm_gmem_quiet_del(ahead, range);
	}
}

/* Drop what waits for the blocks [@start, @end) to become quiet. */
static void kvm_gmem_quiet_drop(struct kvm_gmem_ahead *ahead, pgoff_t start, pgoff_t end)
{
	struct kvm_gmem_quiet_range *range, *next;

	list_for_each_entry_safe(range, next, &ahead->quiet, list)
		kvm_gmem_quiet_cut(ahead, range, start, end);
}

/*
 * The range that waits for the block at @start to become quiet, if its policy wants to hear of it
 * only then. There is one at most: others in that block were dropped when it came, and it goes when
 * another one comes.
 */
static struct kvm_gmem_quiet_range *kvm_gmem_quiet_muted(struct kvm_gmem_ahead *ahead,
							 pgoff_t start)
{
	struct kvm_gmem_quiet_range *range;

	list_for_each_entry(range, &ahead->quiet, list) {
		if (range->muted <= start && start < range->muted_end &&
		    gmem_only_asks(GMEM_I(ahead->inode)->obj, range->policy_id))
			return range;
	}
	return NULL;
}

/*
 * The blocks [@start, @end) are not quiet. Put off what waits for that, if it is all the policy
 * wants to hear of each of them; false if it is not. The work that looks at the deadlines comes
 * when they were due, and then again.
 */
static bool kvm_gmem_quiet_put_off(struct kvm_gmem_ahead *ahead, pgoff_t start, pgoff_t end,
				   bool to_private)
{
	struct kvm_gmem_quiet_range *range;

	for (; start < end; start = range->muted_end) {
		range = kvm_gmem_quiet_muted(ahead, start);
		if (!range)
			return false;
		range->deadline = jiffies + range->delay;
		/* Some of it is shared now: nothing is to be populated there. */
		range->to_private &= to_private;
		list_move(&range->list, &ahead->quiet);
	}
	return true;
}

/*
 * A range that is converted was not quiet, nor were its neighbours that could be in one folio with
 * it: put off what waits for that, or drop it. Nor is memory wanted any more for what became
 * shared.
 *
 * Return: true if the policy is to be told of the conversion, and may ask anew.
 */
static bool kvm_gmem_ahead_disturb(struct inode *inode, pgoff_t start, u64 nr, bool to_private)
{
	pgoff_t first = round_down(start, GMEM_BLOCK_PAGES);
	pgoff_t end = round_up(start + nr, GMEM_BLOCK_PAGES);
	struct kvm_gmem_ahead *ahead = GMEM_I(inode)->ahead;

	guard(spinlock)(&ahead->lock);

	if (!to_private && !(GMEM_I(inode)->flags & GUEST_MEMFD_FLAG_INIT_SHARED))
		kvm_gmem_ahead_cut(ahead, start, start + nr);

	if (kvm_gmem_quiet_put_off(ahead, first, end, to_private))
		return false;
	kvm_gmem_quiet_drop(ahead, first, end);
	return true;
}

static void kvm_gmem_quiet_arm(struct kvm_gmem_ahead *ahead)
{
	unsigned long now = jiffies, first = now + MAX_JIFFY_OFFSET;
	struct kvm_gmem_quiet_range *range;

	lockdep_assert_held(&ahead->lock);

	if (list_empty(&ahead->quiet))
		return;
	list_for_each_entry(range, &ahead->quiet, list) {
		if (time_before(range->deadline, first))
			first = range->deadline;
	}
	ahead->quiet_due = first;
	mod_delayed_work(kvm_gmem_wq, &ahead->quiet_work, time_after(first, now) ? first - now : 0);
}

/* Work that comes in time for what is due earlier looks at all, and is pending again then. */
static void kvm_gmem_quiet_arm_for(struct kvm_gmem_ahead *ahead,
				   const struct kvm_gmem_quiet_range *range)
{
	if (!delayed_work_pending(&ahead->quiet_work) ||
	    time_before(range->deadline, ahead->quiet_due))
		kvm_gmem_quiet_arm(ahead);
}

/* Forget what policies wait for that are gone: nobody would be told. */
static void kvm_gmem_quiet_purge(struct kvm_gmem_ahead *ahead, u64 policy_id)
{
	struct kvm_gmem_quiet_range *range, *next;

	list_for_each_entry_safe(range, next, &ahead->quiet, list) {
		if (range->policy_id != policy_id)
			kvm_gmem_quiet_del(ahead, range);
	}
}

/* Take a range whose time has come off the list; else be woken when the next one's comes. */
static bool kvm_gmem_quiet_next(struct kvm_gmem_ahead *ahead, struct kvm_gmem_quiet_range *due)
{
	struct kvm_gmem_quiet_range *range;

	guard(spinlock)(&ahead->lock);

	list_for_each_entry(range, &ahead->quiet, list) {
		if (time_after_eq(jiffies, range->deadline)) {
			*due = *range;
			kvm_gmem_quiet_del(ahead, range);
			return true;
		}
	}
	kvm_gmem_quiet_arm(ahead);
	return false;
}

/* Tell who asked that a range is quiet. What it wants is never urgent. */
static void kvm_gmem_quiet_tell(struct inode *inode, const struct kvm_gmem_quiet_range *range)
{
	struct gmem_obj *obj = GMEM_I(inode)->obj;
	struct gmem_convert_ctx ctx = {
		.start = range->start,
		.nr = range->end - range->start,
		.gfn = range->gfn,
		.to_private = range->to_private,
		.why = GMEM_WHY_QUIET,
		.how = GMEM_HOW_NONE,
	};

	/* Another one may take over right now, and has nothing to do with it. */
	if (!gmem_still_decides(obj, range->policy_id) ||
	    gmem_decide_convert(obj, &ctx) != range->policy_id)
		return;

	if (ctx.how != GMEM_HOW_NONE)
		kvm_gmem_populate_ahead(inode, GMEM_HOW_BACKGROUND, ctx.start, ctx.nr, ctx.why);
	if (ctx.rebuild)
		kvm_gmem_rebuild(inode, range->start, range->end, ctx.max_holes, ctx.why,
				 range->policy_id);
}

static void kvm_gmem_quiet_work(struct work_struct *work)
{
	struct kvm_gmem_ahead *ahead =
		container_of(to_delayed_work(work), struct kvm_gmem_ahead, quiet_work);
	struct kvm_gmem_quiet_range due;

	while (kvm_gmem_quiet_next(ahead, &due))
		kvm_gmem_quiet_tell(ahead->inode, &due);
}

static void kvm_gmem_quiet_add(struct inode *inode, const struct gmem_convert_ctx *ctx,
			       u64 policy_id)
{
	struct kvm_gmem_ahead *ahead = GMEM_I(inode)->ahead;
	unsigned long delay = msecs_to_jiffies(ctx->quiet_ms);
	pgoff_t first = round_down(ctx->start, GMEM_BLOCK_PAGES);
	pgoff_t end = round_up(ctx->start + ctx->nr, GMEM_BLOCK_PAGES);
	const struct kvm_gmem_quiet_range wish = {
		.start = ctx->start,
		.end = ctx->start + ctx->nr,
		.gfn = ctx->gfn,
		.to_private = ctx->to_private,
		.policy_id = policy_id,
		.deadline = jiffies + delay,
		.delay = delay,
		.muted = first,
		.muted_end = ctx->mute ? end : 0,
	};

	/* It counts on being told: better too early than never. */
	if (!kvm_gmem_quiet_prepare(ahead)) {
		kvm_gmem_quiet_tell(inode, &wish);
		return;
	}

	guard(spinlock)(&ahead->lock);

	if (ahead->stopped)
		return;
	/* Another thread that converts there may have asked meanwhile. */
	kvm_gmem_quiet_drop(ahead, first, end);
	if (list_empty(&ahead->quiet_free))
		kvm_gmem_quiet_purge(ahead, policy_id);
	kvm_gmem_quiet_put(ahead, &wish);
	kvm_gmem_quiet_arm_for(ahead, &wish);
}

static void kvm_gmem_ask_convert(struct inode *inode, pgoff_t start, u64 nr, gfn_t gfn,
				 bool to_private)
{
	struct gmem_convert_ctx ctx = {
		.start = start,
		.nr = nr,
		.gfn = gfn,
		.to_private = to_private,
		.why = GMEM_WHY_CONVERT,
		.how = GMEM_HOW_NONE,
	};
	u64 policy_id = gmem_decide_convert(GMEM_I(inode)->obj, &ctx);

	if (ctx.how != GMEM_HOW_NONE)
		kvm_gmem_populate_ahead(inode, ctx.how, start, nr, ctx.why);
	if (ctx.rebuild)
		kvm_gmem_rebuild(inode, start, start + nr, ctx.max_holes, ctx.why, policy_id);
	if (ctx.quiet_ms)
		kvm_gmem_quiet_add(inode, &ctx, policy_id);
}

/**
 * kvm_gmem_converted - the attributes of a bound range changed
 * @inode: inode of the guest_memfd
 * @start: first page
 * @nr: how many pages
 * @gfn: guest frame of @start
 * @to_private: what it is now
 *
 * Context: process context of the VMM; slots_lock is not held.
 */
void kvm_gmem_converted(struct inode *inode, pgoff_t start, u64 nr, gfn_t gfn, bool to_private)
{
	if (kvm_gmem_ahead_disturb(inode, start, nr, to_private))
		kvm_gmem_ask_convert(inode, start, nr, gfn, to_private);
	if (to_private)
		kvm_gmem_prealloc(inode, GMEM_WHY_CONVERT, start, nr);
}

/* ---- Life and death ---- */

/**
 * kvm_gmem_ahead_cancel - a range is taken away: do not populate it
 * @inode: inode of the guest_memfd; its invalidate lock is held exclusively
 * @start: first page
 * @end: page after the last
 */
void kvm_gmem_ahead_cancel(struct inode *inode, pgoff_t start, pgoff_t end)
{
	struct kvm_gmem_ahead *ahead = GMEM_I(inode)->ahead;

	guard(spinlock)(&ahead->lock);

	WRITE_ONCE(ahead->punches, ahead->punches + 1);
	kvm_gmem_ahead_cut(ahead, start, end);
}

/**
 * kvm_gmem_ahead_stop - the last file of an inode is closed: nobody needs its memory
 * @inode: the inode
 *
 * Does not wait: the worker notices before its next chunk.
 */
void kvm_gmem_ahead_stop(struct inode *inode)
{
	struct kvm_gmem_ahead *ahead = GMEM_I(inode)->ahead;
	struct kvm_gmem_quiet_range *range, *next;

	guard(spinlock)(&ahead->lock);

	ahead->stopped = true;
	list_for_each_entry_safe(range, next, &ahead->quiet, list)
		kvm_gmem_quiet_del(ahead, range);
	kvm_gmem_ahead_cut(ahead, 0, ULONG_MAX);
}

/**
 * kvm_gmem_ahead_create - prepare for background work
 * @inode: the inode
 *
 * Return: to be freed with kvm_gmem_ahead_free(); NULL without memory
 */
struct kvm_gmem_ahead *kvm_gmem_ahead_create(struct inode *inode)
{
	struct kvm_gmem_ahead *ahead = kzalloc_obj(*ahead, GFP_KERNEL_ACCOUNT);

	if (!ahead)
		return NULL;
	ahead->inode = inode;
	spin_lock_init(&ahead->lock);
	INIT_LIST_HEAD(&ahead->ranges);
	INIT_LIST_HEAD(&ahead->quiet);
	INIT_LIST_HEAD(&ahead->quiet_free);
	scoped_guard(spinlock, &ahead->lock)
		kvm_gmem_note_place(ahead);
	INIT_WORK(&ahead->work, kvm_gmem_ahead_work);
	INIT_DELAYED_WORK(&ahead->quiet_work, kvm_gmem_quiet_work);
	return ahead;
}

/**
 * kvm_gmem_ahead_evict - an inode is evicted: wait for its background work
 * @inode: the inode; no locks are held
 */
void kvm_gmem_ahead_evict(struct inode *inode)
{
	struct kvm_gmem_ahead *ahead = GMEM_I(inode)->ahead;

	/* An inode that came to nothing while it was created, or the root of the file system. */
	if (!ahead)
		return;

	kvm_gmem_ahead_stop(inode);
	cancel_delayed_work_sync(&ahead->quiet_work);
	/*
	 * Not cancelled but flushed: the work drops what it holds. It may queue itself once more.
	 */
	while (flush_work(&ahead->work))
		;
}

/**
 * kvm_gmem_ahead_free - free what kvm_gmem_ahead_create() made
 * @ahead: it, or NULL; its work has ended
 */
void kvm_gmem_ahead_free(struct kvm_gmem_ahead *ahead)
{
	if (ahead)
		kfree(ahead->quiet_ranges);
	kfree(ahead);
}

/**
 * kvm_gmem_populate_init - make the workqueue
 *
 * Return: 0; -ENOMEM
 */
int kvm_gmem_populate_init(void)
{
	kvm_gmem_wq = alloc_workqueue("kvm_gmem", WQ_UNBOUND | WQ_FREEZABLE, 0);
	return kvm_gmem_wq ? 0 : -ENOMEM;
}

/**
 * kvm_gmem_populate_exit - destroy the workqueue
 */
void kvm_gmem_populate_exit(void)
{
	destroy_workqueue(kvm_gmem_wq);
}
