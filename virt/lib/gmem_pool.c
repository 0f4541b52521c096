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
 * Locks: gmem_pool_mutex (sizes, threads), pool->lock (lists; a leaf).
 */
#include <linux/cleanup.h>
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
#include <linux/sched.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include <trace/events/kvm_gmem.h>

#include "../../mm/internal.h"	/* folio_isolate_lru() */

/* Bytes that the thread zeroes before it looks at its rate, and at whether it should stop. */
#define GMEM_POOL_STEP		PMD_SIZE

/* How long a node is left alone after memory was short. */
#define GMEM_POOL_PAUSE		(10 * HZ)

/**
 * struct gmem_pool - zeroed folios of one order on one node
 * @lock: protects the rest but for @order
 * @ready: folios that are zeroed
 * @dirty: folios that are still to be zeroed
 * @order: order of the folios
 * @filling: the thread fills it up to @high
 * @low: fewer than so many ready folios make it filled
 * @high: folios, ready and dirty, that it may have
 * @nr_ready: how many are ready
 * @nr_dirty: how many are dirty, the one that is being zeroed included
 * @stats: counters
 */
struct gmem_pool {
	spinlock_t lock;
	struct list_head ready;
	struct list_head dirty;
	unsigned int order;
	bool filling;
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
 * @thread: fills them; NULL while there is nothing to have in them
 * @wait: where it waits
 * @resume: it does nothing before that, jiffies
 * @due: when it will have zeroed at its rate what it has zeroed, ns
 */
struct gmem_pool_node {
	struct gmem_pool pools[GMEM_POOLS_PER_NODE];
	int nid;
	struct task_struct *thread;
	wait_queue_head_t wait;
	unsigned long resume;
	u64 due;
};

static DEFINE_MUTEX(gmem_pool_mutex);

/* Made when a pool is first wanted, and there ever after. */
static struct gmem_pool_node *gmem_pool_nodes[MAX_NUMNODES];

/* What is wanted, so that a new limit can be applied to it. */
static struct gmem_pool_want gmem_pool_wanted;

static struct shrinker *gmem_pool_shrinker;

static unsigned int gmem_pool_max_percent = 25;

static struct gmem_pool_node *gmem_pool_node(int nid)
{
	/* Pairs with the release in gmem_pool_node_create(). */
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
	trace_kvm_gmem_pool(gmem_pool_owner(pool)->nid, pool->order, action,
			    (u64)folios << pool->order, (u64)READ_ONCE(pool->nr_ready) << pool->order,
			    ns);
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

	/* It went bad while it was here. */
	if (unlikely(folio_contain_hwpoisoned_page(folio))) {
		folio_put(folio);
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
		pool->stats.taken--;
		if (pool->nr_ready + pool->nr_dirty < pool->high) {
			list_add(&folio->lru, &pool->ready);
			pool->nr_ready++;
			return;
		}
	}
	folio_put(folio);
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
 *	   it still has to drop
 *
 * The folio leaves the LRU list and its memory cgroup, and is zeroed by the pool's thread before
 * anybody can take it.
 *
 * Context: process context.
 * Return: 0; -ENOSPC if the pool is full, or nobody wants one; -EBUSY if something else holds a
 * reference to the folio. On an error the caller's reference gives it back to the page allocator
 */
int gmem_pool_recycle(struct folio *folio)
{
	struct gmem_pool *pool = gmem_pool_find(folio_nid(folio), folio_order(folio));
	bool added = false;

	if (!pool || READ_ONCE(pool->nr_ready) + READ_ONCE(pool->nr_dirty) >= READ_ONCE(pool->high))
		return -ENOSPC;
	if (!folio_isolate_lru(folio))
		return -EBUSY;

	/* The caller's, and that of the isolation, which becomes the pool's. */
	if (!folio_ref_freeze(folio, 2)) {
		folio_put(folio);
		return -EBUSY;
	}
	mem_cgroup_uncharge(folio);
	if (gmem_folio_reset(folio)) {
		guard(spinlock)(&pool->lock);

		if (pool->nr_ready + pool->nr_dirty < pool->high) {
			list_add_tail(&folio->lru, &pool->dirty);
			pool->nr_dirty++;
			pool->stats.recycled++;
			added = true;
		}
	}
	folio_ref_unfreeze(folio, 2);
	if (!added) {
		folio_put(folio);
		return -ENOSPC;
	}
	gmem_pool_trace(pool, GMEM_POOL_RECYCLE, 1, 0);
	wake_up(&gmem_pool_owner(pool)->wait);
	return 0;
}

/* Free up to @nr folios, but leave @keep. Returns how many were freed. */
static unsigned long gmem_pool_free(struct gmem_pool *pool, unsigned long keep, unsigned long nr,
				    enum gmem_pool_action action)
{
	struct folio *folio, *next;
	unsigned long freed = 0;
	LIST_HEAD(list);

	scoped_guard(spinlock, &pool->lock) {
		while (freed < nr && pool->nr_ready + pool->nr_dirty > keep) {
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
			list_add(&folio->lru, &list);
			freed++;
		}
		pool->stats.given_back += freed;
	}
	list_for_each_entry_safe(folio, next, &list, lru) {
		list_del(&folio->lru);
		folio_put(folio);
		cond_resched();
	}
	if (freed)
		gmem_pool_trace(pool, action, freed, 0);
	return freed;
}

/* ---- The thread ---- */

/*
 * Is there so much free memory on the node that nobody would miss a step of it? Filling a pool
 * should neither make anything be reclaimed, nor have the next allocation do so.
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

static struct folio *gmem_pool_allocate(int nid, unsigned int order)
{
	gfp_t gfp = (GFP_HIGHUSER & ~__GFP_RECLAIM) | __GFP_THISNODE | __GFP_NOWARN |
		    __GFP_NOMEMALLOC;

	return gmem_pool_may_allocate(nid) ? __folio_alloc(gfp, order, nid, NULL) : NULL;
}

static void gmem_pool_zero(struct folio *folio)
{
	long i;

	for (i = 0; i < folio_nr_pages(folio); i++)
		clear_highpage(folio_page(folio, i));
}

/* Take a folio that is to be zeroed; it goes on to count as dirty. */
static struct folio *gmem_pool_next_dirty(struct gmem_pool *pool, bool *fill)
{
	struct folio *folio;

	guard(spinlock)(&pool->lock);

	folio = list_first_entry_or_null(&pool->dirty, struct folio, lru);
	if (folio)
		list_del(&folio->lru);
	if (pool->filling && pool->nr_ready + pool->nr_dirty >= pool->high)
		pool->filling = false;
	*fill = pool->filling;
	if (!folio && *fill)
		pool->nr_dirty++;
	return folio;
}

/* A folio is zeroed, or (NULL) could not be had. */
static void gmem_pool_add(struct gmem_pool *pool, struct folio *folio, bool fresh)
{
	scoped_guard(spinlock, &pool->lock) {
		pool->nr_dirty--;
		if (!folio)
			return;
		if (pool->nr_ready + pool->nr_dirty < pool->high &&
		    !folio_contain_hwpoisoned_page(folio)) {
			list_add_tail(&folio->lru, &pool->ready);
			pool->nr_ready++;
			pool->stats.filled += fresh;
			return;
		}
	}
	folio_put(folio);
}

/* Zero a step's worth of folios. Returns how many; -ENOMEM if there is no memory for more. */
static long gmem_pool_fill(struct gmem_pool *pool)
{
	unsigned long folios = GMEM_POOL_STEP >> (PAGE_SHIFT + pool->order);
	int nid = gmem_pool_owner(pool)->nid;
	struct folio *folio;
	long done = 0;
	bool fill;

	while (done < folios && !kthread_should_stop()) {
		folio = gmem_pool_next_dirty(pool, &fill);
		if (folio) {
			fill = false;
		} else if (fill) {
			folio = gmem_pool_allocate(nid, pool->order);
			if (!folio) {
				gmem_pool_add(pool, NULL, false);
				return done ?: -ENOMEM;
			}
		} else {
			break;
		}
		gmem_pool_zero(folio);
		gmem_pool_add(pool, folio, fill);
		done++;
		cond_resched();
	}
	return done;
}

/* The node is to be left alone for so many jiffies at least. */
static void gmem_pool_hold(struct gmem_pool_node *node, unsigned long delay)
{
	unsigned long until = jiffies + delay;

	if (time_after(until, READ_ONCE(node->resume)))
		WRITE_ONCE(node->resume, until);
}

/* Bytes that were zeroed come due at the rate; when more is due than the clock says, wait. */
static void gmem_pool_pace(struct gmem_pool_node *node, u64 bytes, u64 began)
{
	u32 rate = READ_ONCE(gmem_pool_wanted.rate_mb);
	u64 now = ktime_get_ns();

	if (!rate)
		return;
	/* What it did not do while it had nothing to do is not made up for. */
	node->due = max(node->due, began) + div_u64(bytes * NSEC_PER_SEC, rate) / SZ_1M;
	if (node->due > now)
		gmem_pool_hold(node, nsecs_to_jiffies(node->due - now));
}

static void gmem_pool_step(struct gmem_pool_node *node)
{
	u64 clock = trace_kvm_gmem_pool_enabled() ? ktime_get_ns() : 0;
	u64 began = ktime_get_ns();
	struct gmem_pool *pool;
	u64 bytes = 0;
	long done;
	int i;

	for (i = 0; i < GMEM_POOLS_PER_NODE && !bytes; i++) {
		pool = &node->pools[i];
		done = gmem_pool_fill(pool);
		if (done == -ENOMEM)
			gmem_pool_hold(node, GMEM_POOL_PAUSE);
		if (done <= 0)
			continue;
		bytes = (u64)done << (PAGE_SHIFT + pool->order);
		gmem_pool_trace(pool, GMEM_POOL_FILL, done, clock ? ktime_get_ns() - clock : 0);
	}
	if (bytes)
		gmem_pool_pace(node, bytes, began);
}

/* Jiffies until the thread has something to do. */
static long gmem_pool_idle(struct gmem_pool_node *node)
{
	unsigned long resume = READ_ONCE(node->resume), now = jiffies;
	bool busy = false;
	int i;

	for (i = 0; i < GMEM_POOLS_PER_NODE; i++) {
		struct gmem_pool *pool = &node->pools[i];

		busy |= READ_ONCE(pool->filling) || !list_empty_careful(&pool->dirty);
	}
	if (!busy)
		return MAX_SCHEDULE_TIMEOUT;
	return time_after(resume, now) ? resume - now : 0;
}

static int gmem_pool_thread(void *data)
{
	static const struct sched_param param = {};
	struct gmem_pool_node *node = data;
	long idle;

	sched_setscheduler_nocheck(current, SCHED_IDLE, &param);
	set_freezable();
	while (!kthread_freezable_should_stop(NULL)) {
		idle = gmem_pool_idle(node);
		if (idle)
			wait_event_freezable_timeout(node->wait,
						     kthread_should_stop() ||
						     gmem_pool_idle(node) < idle,
						     idle);
		else
			gmem_pool_step(node);
	}
	return 0;
}

/* ---- Sizes ---- */

static struct gmem_pool_node *gmem_pool_node_create(int nid)
{
	struct gmem_pool_node *node = gmem_pool_nodes[nid];
	int i;

	lockdep_assert_held(&gmem_pool_mutex);

	if (node)
		return node;
	node = kzalloc_node(sizeof(*node), GFP_KERNEL, nid);
	if (!node)
		return NULL;

	node->nid = nid;
	node->resume = jiffies;
	init_waitqueue_head(&node->wait);
	for (i = 0; i < GMEM_POOLS_PER_NODE; i++) {
		spin_lock_init(&node->pools[i].lock);
		INIT_LIST_HEAD(&node->pools[i].ready);
		INIT_LIST_HEAD(&node->pools[i].dirty);
		node->pools[i].order = i ? 0 : PMD_ORDER;
	}
	smp_store_release(&gmem_pool_nodes[nid], node);
	return node;
}

static void gmem_pool_set(struct gmem_pool *pool, unsigned long low, unsigned long high)
{
	scoped_guard(spinlock, &pool->lock) {
		WRITE_ONCE(pool->high, high);
		pool->low = min(low, high);
		pool->filling = pool->nr_ready + pool->nr_dirty < high;
	}
	gmem_pool_free(pool, high, ULONG_MAX, GMEM_POOL_DRAIN);
}

static void gmem_pool_start(struct gmem_pool_node *node)
{
	struct task_struct *thread;

	if (!node->thread) {
		thread = kthread_create_on_node(gmem_pool_thread, node, node->nid, "gmem_pool/%d",
						node->nid);
		if (IS_ERR(thread))
			return;
		kthread_affine_preferred(thread, cpumask_of_node(node->nid));
		node->thread = thread;
		wake_up_process(thread);
	}
	wake_up(&node->wait);
}

static void gmem_pool_stop(struct gmem_pool_node *node)
{
	if (!node->thread)
		return;
	kthread_stop(node->thread);
	node->thread = NULL;
}

static unsigned long gmem_pool_folios(u32 mb, unsigned int order)
{
	return (u64)mb << (20 - PAGE_SHIFT) >> order;
}

static void gmem_pool_resize_node(int nid, const struct gmem_pool_want *want)
{
	unsigned long bound = mult_frac(node_present_pages(nid), gmem_pool_max_percent, 100UL);
	unsigned long high[GMEM_POOLS_PER_NODE], low[GMEM_POOLS_PER_NODE];
	struct gmem_pool_node *node = gmem_pool_nodes[nid];
	int i;

	high[0] = min(gmem_pool_folios(want->large_mb, PMD_ORDER), bound >> PMD_ORDER);
	high[1] = min(gmem_pool_folios(want->small_mb, 0), bound - (high[0] << PMD_ORDER));
	low[0] = gmem_pool_folios(want->large_low_mb, PMD_ORDER);
	low[1] = gmem_pool_folios(want->small_low_mb, 0);

	if (!high[0] && !high[1]) {
		if (!node)
			return;
		gmem_pool_stop(node);
	} else if (!node) {
		node = gmem_pool_node_create(nid);
		if (!node)
			return;
	}
	for (i = 0; i < GMEM_POOLS_PER_NODE; i++)
		gmem_pool_set(&node->pools[i], low[i], high[i]);
	if (high[0] || high[1])
		gmem_pool_start(node);
}

static void gmem_pool_apply(void)
{
	int nid;

	lockdep_assert_held(&gmem_pool_mutex);

	for_each_node_state(nid, N_MEMORY)
		gmem_pool_resize_node(nid, &gmem_pool_wanted);
}

/**
 * gmem_pool_resize - set how much pools hold
 * @want: on each node with memory
 *
 * Pools that become smaller give back what they have too much before this returns; those that
 * become larger are filled by their threads.
 *
 * Context: process context; may sleep.
 */
void gmem_pool_resize(const struct gmem_pool_want *want)
{
	guard(mutex)(&gmem_pool_mutex);

	if (!memcmp(&gmem_pool_wanted, want, sizeof(*want)))
		return;
	gmem_pool_wanted = *want;
	gmem_pool_apply();
}

static int gmem_pool_set_max_percent(const char *val, const struct kernel_param *kp)
{
	int ret;

	guard(mutex)(&gmem_pool_mutex);

	ret = param_set_uint_minmax(val, kp, 0, 90);
	if (!ret)
		gmem_pool_apply();
	return ret;
}

static const struct kernel_param_ops gmem_pool_max_percent_ops = {
	.set = gmem_pool_set_max_percent,
	.get = param_get_uint,
};

module_param_cb(max_percent, &gmem_pool_max_percent_ops, &gmem_pool_max_percent, 0644);
MODULE_PARM_DESC(max_percent,
		 "Most of each node's memory that pools hold, whatever policies want, percent (0 to 90)");

/* ---- Memory pressure ---- */

static unsigned long gmem_pool_count(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct gmem_pool_node *node = gmem_pool_node(sc->nid);
	unsigned long pages = 0;
	int i;

	for (i = 0; node && i < GMEM_POOLS_PER_NODE; i++) {
		struct gmem_pool *pool = &node->pools[i];

		pages += (READ_ONCE(pool->nr_ready) + READ_ONCE(pool->nr_dirty)) << pool->order;
	}
	return pages ?: SHRINK_EMPTY;
}

static unsigned long gmem_pool_scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct gmem_pool_node *node = gmem_pool_node(sc->nid);
	unsigned long freed = 0;
	int i;

	if (!node)
		return SHRINK_STOP;

	gmem_pool_hold(node, GMEM_POOL_PAUSE);
	/* Single pages first: they are had again more easily. */
	for (i = GMEM_POOLS_PER_NODE - 1; i >= 0 && freed < sc->nr_to_scan; i--) {
		struct gmem_pool *pool = &node->pools[i];
		unsigned long nr = DIV_ROUND_UP(sc->nr_to_scan - freed, 1UL << pool->order);

		freed += gmem_pool_free(pool, 0, nr, GMEM_POOL_SHRINK) << pool->order;
		scoped_guard(spinlock, &pool->lock)
			pool->filling = pool->nr_ready + pool->nr_dirty < pool->high;
	}
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
