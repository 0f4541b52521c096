// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pools of zeroed folios for guest memory.
 *
 * Each node has two: one of single pages, and one of folios of the PMD's order. A thread of the
 * node fills them, at idle priority and no faster than it is told: when less than the low watermark
 * is left, up to the high one.
 *
 *	page allocator ---fill--> ready ---take--> page cache of guest memory
 *				    ^		     |
 *				   zero		  recycle
 *				    +----- dirty <---+
 *
 * What is taken is zeroed, always: a folio that comes back from a guest waits among the dirty ones
 * until the thread has zeroed it, and is never handed out before.
 *
 * A folio in a pool belongs to nobody: it is charged to no memory cgroup and on no LRU list, and
 * the pool holds its only reference. Whatever is asked for, pools stay below a part of their node
 * (max_percent). A shrinker gives them back under memory pressure, and they are not filled for a
 * while after that.
 *
 * On a host that runs for long, page cache has all memory that nobody else needs, and there is no
 * other that is free. kswapd is asked to take some of that for the pools, as long as there is twice
 * as much of it as of them; and it spares them, as long as there is as much. Nobody waits for such
 * memory, and who does need some, and waits for it (direct reclaim), gets that of the pools. Where
 * free memory is in pieces too small for a folio, kcompactd is asked to put them together.
 *
 * Locks: gmem_pool_mutex (sizes, threads), pool->lock (lists; a leaf).
 */
#include <linux/cleanup.h>
#include <linux/compaction.h>
#include <linux/cpuset.h>
#include <linux/export.h>
#include <linux/freezer.h>
#include <linux/gmem_policy.h>
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/moduleparam.h>
#include <linux/nodemask.h>
#include <linux/page_ref.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/swap.h>
#include <linux/vmstat.h>
#include <linux/wait.h>

#include <trace/events/kvm_gmem.h>

#include "../../mm/internal.h"	/* folio_isolate_lru(), folio_putback_lru() */

/* Bytes that the thread zeroes before it looks at its rate, and at whether it should stop. */
#define GMEM_POOL_STEP		PMD_SIZE

/* How long a node is left alone after memory was short, and a pool after there was none for it. */
#define GMEM_POOL_PAUSE		(10 * HZ)

/* The same if some may be being made: to begin with, and twice as long each time there is none. */
#define GMEM_POOL_SOON		max(HZ / 50, 1)

/* How folios are allocated: what is there, without reclaim. */
#define GMEM_POOL_GFP		((GFP_HIGHUSER & ~__GFP_RECLAIM) | __GFP_THISNODE | \
				 __GFP_NOWARN | __GFP_NOMEMALLOC)

/* Folios that are freed at a time. */
#define GMEM_POOL_BATCH		256UL

/* Being late by so much is made up for; more was time in which there was nothing to do. */
#define GMEM_POOL_SLACK		(100 * NSEC_PER_MSEC)

/**
 * struct gmem_pool - zeroed folios of one order on one node
 * @lock: protects the rest but for @order
 * @ready: folios that are zeroed
 * @dirty: folios that are still to be zeroed
 * @order: order of the folios
 * @filling: the thread fills it up to @high
 * @resume: not before that, because the last allocation failed; jiffies
 * @pause: how long it was left alone then; only its thread uses it
 * @low: fewer than so many ready folios make it filled
 * @high: folios, ready and dirty, that it may have
 * @nr_ready: how many are ready
 * @nr_dirty: how many are dirty, the one that is being zeroed included
 * @stats: counters
 */
struct gmem_pool {
	spinlock_t lock; /* of all of it */
	struct list_head ready;
	struct list_head dirty;
	unsigned int order;
	bool filling;
	unsigned long resume;
	unsigned long pause;
	unsigned long low;
	unsigned long high;
	unsigned long nr_ready;
	unsigned long nr_dirty;
	struct gmem_pool_stats stats;
};

/**
 * struct gmem_pool_node - the pools of a node
 * @pools: the large one first: what it needs is the first that fragmentation takes away
 * @nid: the node
 * @thread: fills them
 * @wait: where it waits
 * @resume: it zeroes nothing before that, or it would be faster than its rate; jiffies
 * @due: when what it has zeroed would be done at its rate, ns
 * @pressure: nothing more comes into the pools before that: memory was short; jiffies
 */
struct gmem_pool_node {
	struct gmem_pool pools[GMEM_POOLS_PER_NODE];
	int nid;
	struct task_struct *thread;
	wait_queue_head_t wait;
	unsigned long resume;
	u64 due;
	unsigned long pressure;
};

static DEFINE_MUTEX(gmem_pool_mutex);

/* Made when a pool is first wanted, and there ever after. */
static struct gmem_pool_node *gmem_pool_nodes[MAX_NUMNODES];

/* What is wanted, so that a new limit can be applied to it. */
static struct gmem_pool_sizes gmem_pool_wanted;

static struct shrinker *gmem_pool_shrinker;

static unsigned int gmem_pool_max_percent = 25;

static struct gmem_pool_node *gmem_pool_node(int nid)
{
	/* Pairs with the release in gmem_pool_node_create(): the node is complete. */
	return smp_load_acquire(&gmem_pool_nodes[nid]);
}

static struct gmem_pool *gmem_pool_find(int nid, unsigned int order)
{
	struct gmem_pool_node *node = gmem_pool_node(nid);

	if (!node)
		return NULL;
	if (order == PMD_ORDER)
		return &node->pools[0];
	return order ? NULL : &node->pools[1];
}

static struct gmem_pool_node *gmem_pool_owner(const struct gmem_pool *pool)
{
	/* The first is of the PMD's order, and the second follows it. */
	return container_of(pool - !pool->order, struct gmem_pool_node, pools[0]);
}

/* ---- Taking and giving back ---- */

static void gmem_pool_trace(const struct gmem_pool *pool, enum gmem_pool_action action,
			    unsigned long folios, u64 ns)
{
	u64 ready = READ_ONCE(pool->nr_ready);

	trace_kvm_gmem_pool(gmem_pool_owner(pool)->nid, pool->order, action,
			    (u64)folios << pool->order, ready << pool->order, ns);
}

/*
 * Did any page go bad while it was here? memory_failure() does not know what a pool is, and marks
 * the page only, not its folio.
 */
static bool gmem_pool_poisoned(struct folio *folio)
{
	long i;

#ifdef CONFIG_MEMORY_FAILURE
	if (likely(!atomic_long_read(&num_poisoned_pages)))
		return false;
#endif
	for (i = 0; i < folio_nr_pages(folio); i++) {
		if (PageHWPoison(folio_page(folio, i)))
			return true;
	}
	return false;
}

/*
 * Give a folio to the page allocator. That keeps a bad page if it is freed by itself. In a large
 * folio it would give it to the next one, which may well be us again: such a folio is lost.
 */
static void gmem_pool_put(struct folio *folio)
{
	if (!folio_test_large(folio) || likely(!gmem_pool_poisoned(folio)))
		folio_put(folio);
}

/* So many folios have come, or (negative) gone: they count as memory that is available. */
static void gmem_pool_account(const struct gmem_pool *pool, long folios)
{
	mod_node_page_state(NODE_DATA(gmem_pool_owner(pool)->nid), NR_KERNEL_MISC_RECLAIMABLE,
			    folios * (1L << pool->order));
}

/* Has it room for another one? */
static bool gmem_pool_has_room(const struct gmem_pool *pool)
{
	return READ_ONCE(pool->nr_ready) + READ_ONCE(pool->nr_dirty) < READ_ONCE(pool->high);
}

static unsigned long gmem_pool_until(unsigned long then)
{
	unsigned long now = jiffies;

	return time_after(then, now) ? then - now : 0;
}

/* One is gone: is it time to fill the pool? */
static bool gmem_pool_below_low(struct gmem_pool *pool)
{
	lockdep_assert_held(&pool->lock);

	if (pool->filling || pool->nr_ready >= pool->low)
		return false;
	pool->filling = true;
	return true;
}

static struct folio *gmem_pool_pop(struct gmem_pool *pool)
{
	struct folio *folio;

	lockdep_assert_held(&pool->lock);

	folio = list_first_entry_or_null(&pool->ready, struct folio, lru);
	if (folio) {
		list_del(&folio->lru);
		pool->nr_ready--;
	}
	return folio;
}

/**
 * gmem_pool_take - take a zeroed folio from a pool
 * @nid: node that it must be on
 * @order: its order
 *
 * Never waits, and never allocates.
 *
 * Context: process context.
 * Return: the folio, zeroed, charged to nobody, with the only reference; NULL if there is none
 */
struct folio *gmem_pool_take(int nid, unsigned int order)
{
	struct gmem_pool *pool = gmem_pool_find(nid, order);
	struct folio *folio;
	bool wake;

	if (!pool)
		return NULL;

	scoped_guard(spinlock, &pool->lock) {
		folio = gmem_pool_pop(pool);
		if (folio)
			pool->stats.taken++;
		else if (pool->high)
			pool->stats.missed++;
		wake = gmem_pool_below_low(pool);
	}
	if (wake)
		wake_up(&gmem_pool_owner(pool)->wait);
	if (!folio)
		return NULL;

	gmem_pool_account(pool, -1);
	if (unlikely(gmem_pool_poisoned(folio))) {
		gmem_pool_put(folio);
		return NULL;
	}
	gmem_pool_trace(pool, GMEM_POOL_TAKE, 1, 0);
	return folio;
}
EXPORT_SYMBOL_FOR_MODULES(gmem_pool_take, "kvm");

/**
 * gmem_pool_return - give back a folio that was taken and not used
 * @folio: the folio, as gmem_pool_take() returned it: nobody has written to it
 *
 * Context: process context.
 */
void gmem_pool_return(struct folio *folio)
{
	struct gmem_pool *pool = gmem_pool_find(folio_nid(folio), folio_order(folio));

	scoped_guard(spinlock, &pool->lock) {
		pool->stats.returned++;
		if (gmem_pool_has_room(pool)) {
			list_add(&folio->lru, &pool->ready);
			pool->nr_ready++;
			gmem_pool_account(pool, 1);
			return;
		}
		pool->stats.given_back++;
	}
	gmem_pool_put(folio);
}
EXPORT_SYMBOL_FOR_MODULES(gmem_pool_return, "kvm");

/*
 * Make a frozen folio that has left a page cache as one that the page allocator has just given.
 * False if it has something that does not belong there, which the page allocator should see.
 */
static bool gmem_folio_reset(struct folio *folio)
{
	const unsigned long used = BIT(PG_uptodate) | BIT(PG_dirty) | BIT(PG_referenced) |
				   BIT(PG_active) | BIT(PG_workingset) | BIT(PG_unevictable) |
				   BIT(PG_waiters) | LRU_REFS_MASK;
	const unsigned long head = folio_test_large(folio) ? BIT(PG_head) : 0;

	/* memory_failure() may set its flag any time. */
	set_mask_bits(&folio->flags.f, used, 0);
	return !((READ_ONCE(folio->flags.f) & (PAGEFLAGS_MASK | LRU_GEN_MASK)) & ~head);
}

/**
 * gmem_pool_recycle - put a folio that a guest has used into the pool of its order and node
 * @folio: just removed from its page cache, unmapped, unlocked; the caller holds a reference, which
 *	   becomes the pool's
 *
 * The folio leaves the LRU list and its memory cgroup, and is zeroed by the pool's thread before
 * anybody can take it.
 *
 * Context: process context.
 * Return: 0; -ENOSPC if the pool is full, nobody wants one, or memory is short; -EHWPOISON if it is
 * bad; -EBUSY if something else holds a reference to the folio. After an error the caller still has
 * its reference, which gives the folio back to the page allocator
 */
int gmem_pool_recycle(struct folio *folio)
{
	struct gmem_pool *pool = gmem_pool_find(folio_nid(folio), folio_order(folio));
	struct gmem_pool_node *node;
	bool clean;

	if (!pool || !gmem_pool_has_room(pool))
		return -ENOSPC;
	/* Somebody needs it more. */
	node = gmem_pool_owner(pool);
	if (gmem_pool_until(READ_ONCE(node->pressure)))
		return -ENOSPC;
	if (gmem_pool_poisoned(folio))
		return -EHWPOISON;
	if (!folio_isolate_lru(folio))
		return -EBUSY;

	/* The caller's, and that of the isolation, which ends with it. */
	if (!folio_ref_freeze(folio, 2)) {
		folio_putback_lru(folio);
		return -EBUSY;
	}
	mem_cgroup_uncharge(folio);
	clean = gmem_folio_reset(folio);
	folio_ref_unfreeze(folio, 1);

	scoped_guard(spinlock, &pool->lock) {
		clean = clean && gmem_pool_has_room(pool);
		if (clean) {
			list_add_tail(&folio->lru, &pool->dirty);
			pool->nr_dirty++;
			pool->stats.recycled++;
		}
	}
	if (!clean)
		return -ENOSPC;
	gmem_pool_account(pool, 1);
	gmem_pool_trace(pool, GMEM_POOL_RECYCLE, 1, 0);
	wake_up(&node->wait);
	return 0;
}

/* Move up to @nr folios out of the pool, but leave @keep. */
static unsigned long gmem_pool_move(struct gmem_pool *pool, unsigned long keep, unsigned long nr,
				    struct list_head *list)
{
	unsigned long moved;

	guard(spinlock)(&pool->lock);

	for (moved = 0; moved < nr && pool->nr_ready + pool->nr_dirty > keep; moved++) {
		struct folio *folio;

		folio = list_first_entry_or_null(&pool->dirty, struct folio, lru);
		if (folio) {
			list_del(&folio->lru);
			pool->nr_dirty--;
		} else {
			folio = gmem_pool_pop(pool);
		}
		/* The last one may just be being zeroed. */
		if (!folio)
			break;
		list_add(&folio->lru, list);
	}
	pool->stats.given_back += moved;
	return moved;
}

/* Free up to @nr folios, but leave @keep. Returns how many were freed. */
static unsigned long gmem_pool_free(struct gmem_pool *pool, unsigned long keep, unsigned long nr,
				    enum gmem_pool_action action)
{
	unsigned long freed = 0, moved;

	do {
		struct folio *folio, *next;
		LIST_HEAD(list);

		/* Not all at once: who takes from the pool waits for the lock. */
		moved = gmem_pool_move(pool, keep, min(nr - freed, GMEM_POOL_BATCH), &list);
		list_for_each_entry_safe(folio, next, &list, lru) {
			list_del(&folio->lru);
			gmem_pool_put(folio);
		}
		freed += moved;
		cond_resched();
	} while (moved && freed < nr);

	if (freed) {
		gmem_pool_account(pool, -(long)freed);
		gmem_pool_trace(pool, action, freed, 0);
	}
	return freed;
}

/* ---- The thread ---- */

/* Pages in the pools of a node. */
static unsigned long gmem_pool_pages(const struct gmem_pool_node *node)
{
	unsigned long pages = 0;
	int i;

	for (i = 0; i < GMEM_POOLS_PER_NODE; i++) {
		const struct gmem_pool *pool = &node->pools[i];

		pages += (READ_ONCE(pool->nr_ready) + READ_ONCE(pool->nr_dirty)) << pool->order;
	}
	return pages;
}

/* Is there @times as much page cache on a node as is in its pools? */
static bool gmem_pool_cache_is(const struct gmem_pool_node *node, unsigned int times)
{
	struct pglist_data *pgdat = NODE_DATA(node->nid);

	return node_page_state(pgdat, NR_INACTIVE_FILE) + node_page_state(pgdat, NR_ACTIVE_FILE) >
	       times * gmem_pool_pages(node);
}

/*
 * Is there so much free memory on the node that nobody would miss a step of it? Taking that should
 * neither make anything be reclaimed, nor have the next allocation do so.
 */
static bool gmem_pool_may_allocate(int nid)
{
	unsigned long free = 0, enough = GMEM_POOL_STEP >> PAGE_SHIFT;
	struct zone *zone;

	for_each_populated_zone(zone) {
		if (zone_to_nid(zone) != nid)
			continue;
		free += zone_page_state(zone, NR_FREE_PAGES);
		enough += 2 * high_wmark_pages(zone);
	}
	return free > enough;
}

/*
 * May a folio be taken in the place of page cache? Have kswapd reclaim up to its high watermark, as
 * it does for all that is below, and take what is above the low one: who allocates then need not
 * reclaim for it.
 */
static bool gmem_pool_may_displace(const struct gmem_pool_node *node, unsigned int order)
{
	struct zone *zone;
	bool may = false;

	if (!gmem_pool_cache_is(node, 2))
		return false;

	for_each_populated_zone(zone) {
		if (zone_to_nid(zone) != node->nid)
			continue;
		may |= zone_watermark_ok(zone, order, low_wmark_pages(zone),
					 gfp_zone(GMEM_POOL_GFP), 0);
		wakeup_kswapd(zone, GMEM_POOL_GFP, order, gfp_zone(GMEM_POOL_GFP));
	}
	return may;
}

static struct folio *gmem_pool_allocate(const struct gmem_pool *pool)
{
	const struct gmem_pool_node *node = gmem_pool_owner(pool);
	struct folio *folio;

	if (!gmem_pool_may_allocate(node->nid) && !gmem_pool_may_displace(node, pool->order))
		return NULL;
	folio = __folio_alloc(GMEM_POOL_GFP, pool->order, node->nid, NULL);
	/* There is enough, but in pieces. */
	if (!folio)
		wakeup_kcompactd(NODE_DATA(node->nid), pool->order, gfp_zone(GMEM_POOL_GFP));
	return folio;
}

static void gmem_pool_zero(struct folio *folio)
{
	long i;

	for (i = 0; i < folio_nr_pages(folio); i++)
		clear_highpage(folio_page(folio, i));
}

/* Take a folio that is to be zeroed; it goes on to count as dirty. */
static struct folio *gmem_pool_pop_dirty(struct gmem_pool *pool)
{
	struct folio *folio;

	guard(spinlock)(&pool->lock);

	folio = list_first_entry_or_null(&pool->dirty, struct folio, lru);
	if (folio)
		list_del(&folio->lru);
	return folio;
}

/* Is another one to be allocated? It counts as dirty from now on. */
static bool gmem_pool_wants_one(struct gmem_pool *pool)
{
	guard(spinlock)(&pool->lock);

	if (pool->filling && !gmem_pool_has_room(pool))
		pool->filling = false;
	pool->nr_dirty += pool->filling;
	return pool->filling;
}

/*
 * No memory for another one: not now. Sooner where kcompactd or kswapd may be making one, out of
 * what is free in pieces, or has page cache in it.
 */
static void gmem_pool_give_up(struct gmem_pool *pool)
{
	const struct gmem_pool_node *node = gmem_pool_owner(pool);
	unsigned long most = GMEM_POOL_PAUSE;

	if (gmem_pool_may_allocate(node->nid) || gmem_pool_cache_is(node, 2))
		pool->pause = clamp(2 * pool->pause, GMEM_POOL_SOON, most);
	else
		pool->pause = most;

	guard(spinlock)(&pool->lock);

	pool->nr_dirty--;
	WRITE_ONCE(pool->resume, jiffies + pool->pause);
}

/* Zero a folio that counts as dirty, and have it taken. */
static void gmem_pool_add(struct gmem_pool *pool, struct folio *folio, bool fresh)
{
	bool bad = gmem_pool_poisoned(folio);

	if (!bad)
		gmem_pool_zero(folio);
	if (fresh)
		gmem_pool_account(pool, 1);

	scoped_guard(spinlock, &pool->lock) {
		pool->nr_dirty--;
		pool->stats.filled += fresh;
		if (!bad && gmem_pool_has_room(pool)) {
			list_add_tail(&folio->lru, &pool->ready);
			pool->nr_ready++;
			return;
		}
		pool->stats.given_back++;
	}
	gmem_pool_account(pool, -1);
	gmem_pool_put(folio);
}

static bool gmem_pool_may_fill(const struct gmem_pool *pool)
{
	return !gmem_pool_until(READ_ONCE(gmem_pool_owner(pool)->pressure)) &&
	       !gmem_pool_until(READ_ONCE(pool->resume));
}

/* Zero a folio. What came back needs no memory, so it is first. Returns whether there was one. */
static bool gmem_pool_fill_one(struct gmem_pool *pool)
{
	struct folio *folio = gmem_pool_pop_dirty(pool);

	if (folio) {
		gmem_pool_add(pool, folio, false);
		return true;
	}
	if (!gmem_pool_may_fill(pool) || !gmem_pool_wants_one(pool))
		return false;
	folio = gmem_pool_allocate(pool);
	if (!folio) {
		gmem_pool_give_up(pool);
		return false;
	}
	pool->pause = 0;
	gmem_pool_add(pool, folio, true);
	return true;
}

/* Bytes that were zeroed come due at the rate: until then, wait. */
static void gmem_pool_pace(struct gmem_pool_node *node, u64 bytes, u64 began)
{
	u32 rate = READ_ONCE(gmem_pool_wanted.rate_mb);
	u64 now = ktime_get_ns();

	if (!rate)
		return;
	node->due = max(node->due, began - GMEM_POOL_SLACK) +
		    div_u64(bytes * NSEC_PER_SEC / SZ_1M, rate);
	if (node->due > now)
		node->resume = jiffies + nsecs_to_jiffies(node->due - now);
}

static void gmem_pool_step(struct gmem_pool_node *node)
{
	u64 began = ktime_get_ns();
	u64 bytes = 0;
	int i;

	for (i = 0; i < GMEM_POOLS_PER_NODE && !bytes; i++) {
		struct gmem_pool *pool = &node->pools[i];
		unsigned long size = PAGE_SIZE << pool->order;

		while (bytes < GMEM_POOL_STEP && gmem_pool_fill_one(pool)) {
			bytes += size;
			/* Without a rate it does not sleep until pools are full: let BPF go on. */
			cond_resched_tasks_rcu_qs();
		}
		if (bytes)
			gmem_pool_trace(pool, GMEM_POOL_FILL, bytes / size, ktime_get_ns() - began);
	}
	if (bytes)
		gmem_pool_pace(node, bytes, began);
}

/* Jiffies until the thread has something to do. */
static unsigned long gmem_pool_idle(struct gmem_pool_node *node)
{
	unsigned long idle = MAX_SCHEDULE_TIMEOUT;
	int i;

	for (i = 0; i < GMEM_POOLS_PER_NODE; i++) {
		struct gmem_pool *pool = &node->pools[i];

		if (!list_empty_careful(&pool->dirty))
			idle = 0;
		else if (READ_ONCE(pool->filling))
			idle = min(idle, max(gmem_pool_until(READ_ONCE(pool->resume)),
					     gmem_pool_until(READ_ONCE(node->pressure))));
	}
	return idle == MAX_SCHEDULE_TIMEOUT ? idle : max(idle, gmem_pool_until(node->resume));
}

static int gmem_pool_thread(void *data)
{
	static const struct sched_param param = {};
	struct gmem_pool_node *node = data;
	unsigned long idle;

	sched_setscheduler_nocheck(current, SCHED_IDLE, &param);
	set_freezable();
	for (;;) {
		try_to_freeze();
		idle = gmem_pool_idle(node);
		if (idle)
			wait_event_freezable_timeout(node->wait, gmem_pool_idle(node) < idle, idle);
		else
			gmem_pool_step(node);
	}
	return 0;
}

/* ---- Sizes ---- */

static void gmem_pool_init_node(struct gmem_pool_node *node, int nid)
{
	int i;

	node->nid = nid;
	node->resume = jiffies;
	node->pressure = jiffies;
	init_waitqueue_head(&node->wait);
	for (i = 0; i < GMEM_POOLS_PER_NODE; i++) {
		struct gmem_pool *pool = &node->pools[i];

		spin_lock_init(&pool->lock);
		INIT_LIST_HEAD(&pool->ready);
		INIT_LIST_HEAD(&pool->dirty);
		pool->order = i ? 0 : PMD_ORDER;
		pool->resume = jiffies;
	}
}

static struct gmem_pool_node *gmem_pool_node_create(int nid)
{
	struct gmem_pool_node *node;

	lockdep_assert_held(&gmem_pool_mutex);

	node = kzalloc_node(sizeof(*node), GFP_KERNEL, nid);
	if (!node)
		return NULL;

	gmem_pool_init_node(node, nid);
	node->thread = kthread_create_on_node(gmem_pool_thread, node, nid, "gmem_pool/%d", nid);
	if (IS_ERR(node->thread)) {
		kfree(node);
		return NULL;
	}
	kthread_affine_preferred(node->thread, cpumask_of_node(nid));
	/* Pairs with the acquire in gmem_pool_node(). */
	smp_store_release(&gmem_pool_nodes[nid], node);
	wake_up_process(node->thread);
	return node;
}

static void gmem_pool_set(struct gmem_pool *pool, unsigned long high, u32 low_percent)
{
	scoped_guard(spinlock, &pool->lock) {
		WRITE_ONCE(pool->high, high);
		pool->low = high ? clamp(mult_frac(high, low_percent, 100UL), 1UL, high) : 0;
		pool->filling = gmem_pool_has_room(pool);
	}
	gmem_pool_free(pool, high, ULONG_MAX, GMEM_POOL_DRAIN);
}

static unsigned long gmem_pool_folios(u32 mb, unsigned int order)
{
	return (u64)mb << (20 - PAGE_SHIFT) >> order;
}

static int gmem_pool_resize_node(int nid, const struct gmem_pool_sizes *sizes)
{
	unsigned long bound = mult_frac(node_present_pages(nid), gmem_pool_max_percent, 100UL);
	struct gmem_pool_node *node = gmem_pool_nodes[nid];
	unsigned long large, small;

	large = min(gmem_pool_folios(sizes->large_mb, PMD_ORDER), bound >> PMD_ORDER);
	small = min(gmem_pool_folios(sizes->small_mb, 0), bound - (large << PMD_ORDER));

	if (!node && !large && !small)
		return 0;
	if (!node)
		node = gmem_pool_node_create(nid);
	if (!node)
		return -ENOMEM;

	gmem_pool_set(&node->pools[0], large, sizes->low_percent);
	gmem_pool_set(&node->pools[1], small, sizes->low_percent);
	wake_up(&node->wait);
	return 0;
}

static int gmem_pool_apply(void)
{
	int nid, ret = 0;

	lockdep_assert_held(&gmem_pool_mutex);

	for_each_online_node(nid)
		ret = gmem_pool_resize_node(nid, &gmem_pool_wanted) ?: ret;
	return ret;
}

/**
 * gmem_pool_resize - set how much pools hold
 * @sizes: on each node
 *
 * Pools that become smaller give back what they have too much before this returns; those that
 * become larger are filled by their threads.
 *
 * Context: process context; may sleep.
 */
void gmem_pool_resize(const struct gmem_pool_sizes *sizes)
{
	guard(mutex)(&gmem_pool_mutex);

	gmem_pool_wanted = *sizes;
	if (gmem_pool_apply())
		pr_warn("gmem_pool: no memory for the pools of a node\n");
}

static int gmem_pool_set_max_percent(const char *val, const struct kernel_param *kp)
{
	int ret;

	guard(mutex)(&gmem_pool_mutex);

	ret = param_set_uint_minmax(val, kp, 0, 90);
	return ret ?: gmem_pool_apply();
}

static const struct kernel_param_ops gmem_pool_max_percent_ops = {
	.set = gmem_pool_set_max_percent,
	.get = param_get_uint,
};

module_param_cb(max_percent, &gmem_pool_max_percent_ops, &gmem_pool_max_percent, 0644);
MODULE_PARM_DESC(max_percent,
		 "Most of each node's memory that pools hold, whatever policies want, percent (0 to 90)");

/* ---- Memory pressure ---- */

/*
 * Should kswapd have what is in pools? Page cache is good enough for what it does in time, before
 * anybody waits. Nor does it always lack memory: where large pieces of it have become few, it makes
 * some by reclaiming, and pools would be emptied, and filled, and emptied again, for nothing.
 */
static bool gmem_pool_kswapd_may(const struct gmem_pool_node *node)
{
	return !gmem_pool_cache_is(node, 1) && !gmem_pool_may_allocate(node->nid);
}

static unsigned long gmem_pool_count(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct gmem_pool_node *node = gmem_pool_node(sc->nid);

	if (!node || (current_is_kswapd() && !gmem_pool_kswapd_may(node)))
		return SHRINK_EMPTY;
	return gmem_pool_pages(node) ?: SHRINK_EMPTY;
}

static unsigned long gmem_pool_scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct gmem_pool_node *node = gmem_pool_node(sc->nid);
	unsigned long freed = 0;
	int i;

	if (!node)
		return SHRINK_STOP;

	WRITE_ONCE(node->pressure, jiffies + GMEM_POOL_PAUSE);
	/* Single pages first: they are had again more easily. */
	for (i = GMEM_POOLS_PER_NODE - 1; i >= 0 && freed < sc->nr_to_scan; i--) {
		struct gmem_pool *pool = &node->pools[i];
		unsigned long nr = DIV_ROUND_UP(sc->nr_to_scan - freed, 1UL << pool->order);

		freed += gmem_pool_free(pool, 0, nr, GMEM_POOL_SHRINK) << pool->order;
		scoped_guard(spinlock, &pool->lock)
			pool->filling = gmem_pool_has_room(pool);
	}
	/* Without that, the page allocator would not see that there is some now. */
	mm_account_reclaimed_pages(freed);
	/* It sleeps for good while pools are full. */
	wake_up(&node->wait);
	sc->nr_scanned = max(sc->nr_scanned, freed);
	return freed ?: SHRINK_STOP;
}

/* ---- Looking ---- */

/**
 * gmem_pool_report - describe a pool
 * @pos: number of it; advanced to that of the one that is described
 * @report: filled in
 *
 * Pools that never were wanted are passed over.
 *
 * Context: any.
 * Return: false if there are no more
 */
bool gmem_pool_report(u64 *pos, struct gmem_pool_report *report)
{
	for (; *pos < (u64)MAX_NUMNODES * GMEM_POOLS_PER_NODE; ++*pos) {
		struct gmem_pool_node *node = gmem_pool_node(*pos / GMEM_POOLS_PER_NODE);
		struct gmem_pool *pool;

		if (!node)
			continue;
		pool = &node->pools[*pos % GMEM_POOLS_PER_NODE];
		guard(spinlock)(&pool->lock);
		*report = (struct gmem_pool_report) {
			.nid = node->nid,
			.order = pool->order,
			.ready = pool->nr_ready,
			.dirty = pool->nr_dirty,
			.low = pool->low,
			.high = pool->high,
			.rate_mb = READ_ONCE(gmem_pool_wanted.rate_mb),
			.stats = pool->stats,
		};
		return true;
	}
	return false;
}

static int __init gmem_pool_init(void)
{
	gmem_pool_shrinker = shrinker_alloc(SHRINKER_NUMA_AWARE, "gmem-pool");
	if (!gmem_pool_shrinker)
		return -ENOMEM;
	gmem_pool_shrinker->count_objects = gmem_pool_count;
	gmem_pool_shrinker->scan_objects = gmem_pool_scan;
	/* Nothing is lost with what they hold. */
	gmem_pool_shrinker->seeks = 0;
	shrinker_register(gmem_pool_shrinker);
	return 0;
}
subsys_initcall(gmem_pool_init);
