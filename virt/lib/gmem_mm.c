// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page cache work for guest memory that needs what mm does not export to modules.
 */
#include <linux/export.h>
#include <linux/gmem_policy.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/page_ref.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/folio_batch.h>
#include <linux/swap.h>
#include <linux/xarray.h>

/**
 * gmem_count_resident - count what of a file is in memory
 * @mapping: its page cache
 * @res: filled in
 *
 * The count is made from the page cache each time, because counters that are kept would be wrong as
 * soon as a folio is split.
 *
 * Context: process context; the mapping must not go away meanwhile. Memory that comes and goes
 * while this runs may be counted or not.
 */
void gmem_count_resident(struct address_space *mapping, struct gmem_resident *res)
{
	XA_STATE(xas, &mapping->i_pages, 0);
	unsigned long seen = 0;
	struct folio *folio;

	memset(res, 0, sizeof(*res));

	rcu_read_lock();
	xas_for_each(&xas, folio, ULONG_MAX) {
		if (xas_retry(&xas, folio) || xa_is_value(folio))
			continue;
		/*
		 * It may be freed, and be part of something else, any time: a reference keeps its
		 * size.
		 */
		if (!folio_try_get(folio)) {
			xas_reset(&xas);
			continue;
		}
		if (folio != xas_reload(&xas)) {
			folio_put(folio);
			xas_reset(&xas);
			continue;
		}
		res->folios[min(folio_order(folio), GMEM_ORDER_MAX)]++;
		res->bytes += folio_size(folio);
		if (folio_test_uptodate(folio))
			res->ready += folio_size(folio);
		folio_put(folio);

		/*
		 * Long files take long, and a preemptible RCU does not mind being held: let go now
		 * and then.
		 */
		if (++seen % XA_CHECK_SCHED == 0) {
			xas_pause(&xas);
			rcu_read_unlock();
			cond_resched();
			rcu_read_lock();
			if (fatal_signal_pending(current))
				break;
		}
	}
	rcu_read_unlock();
}
EXPORT_SYMBOL_FOR_MODULES(gmem_count_resident, "kvm");

/*
 * Zero a locked folio that nobody else can reach. The page cache and the caller hold the only
 * references: who else had one could still be reading what the zeroes would overwrite.
 */
static bool gmem_scrub_folio(struct folio *folio)
{
	int refs = folio_nr_pages(folio) + 1;
	long i;

	if (!folio_ref_freeze(folio, refs))
		return false;
	for (i = 0; i < folio_nr_pages(folio); i++)
		clear_highpage(folio_page(folio, i));
	folio_ref_unfreeze(folio, refs);
	return true;
}

/* Scrub a folio, if that is wanted, and remove it. Locked all the time, so nobody writes to it. */
static void gmem_remove_folio(struct address_space *mapping, struct folio *folio, bool scrub,
			      struct gmem_scrubbed *scrubbed)
{
	unmap_mapping_pages(mapping, folio->index, folio_nr_pages(folio), false);

	/* Never written, or not to be touched: nothing of the guest's is there to be read. */
	if (scrub && folio_test_uptodate(folio) && !folio_contain_hwpoisoned_page(folio)) {
		if (gmem_scrub_folio(folio))
			scrubbed->zeroed += folio_nr_pages(folio);
		else
			scrubbed->failed += folio_nr_pages(folio);
	}
	generic_error_remove_folio(mapping, folio);
}

static void gmem_recycle_folio(struct folio *folio, struct gmem_scrubbed *scrubbed)
{
	int ret = folio_contain_hwpoisoned_page(folio) ? -EHWPOISON : gmem_pool_recycle(folio);

	if (!ret)
		scrubbed->recycled += folio_nr_pages(folio);
	else if (ret == -EBUSY)
		scrubbed->failed += folio_nr_pages(folio);
}

/**
 * gmem_drain_lru - memory is about to be scrubbed or rebuilt
 *
 * Folios that are young are referenced by some CPU's batch of what goes to the LRU lists, and would
 * seem to be in use: empty these.
 *
 * Context: process context, with as few locks held as possible: waits for all CPUs.
 */
void gmem_drain_lru(void)
{
	lru_add_drain_all();
}
EXPORT_SYMBOL_FOR_MODULES(gmem_drain_lru, "kvm");

/**
 * gmem_scrub_range - remove folios from a file, each scrubbed just before it goes, or recycled
 * @mapping: its page cache
 * @start: first page
 * @end: page after the last
 * @mode: %GMEM_FREE_SCRUB or %GMEM_FREE_RECYCLE
 * @scrubbed: what was done is added
 *
 * To be preceded by gmem_drain_lru(). Folios that reach out of the range are left alone;
 * truncation is to follow.
 *
 * Context: process context, invalidate lock held for writing or inode being evicted, guest mappings
 * gone. May sleep.
 */
void gmem_scrub_range(struct address_space *mapping, pgoff_t start, pgoff_t end,
		      enum gmem_free_mode mode, struct gmem_scrubbed *scrubbed)
{
	struct folio_batch fbatch;
	bool removed;
	pgoff_t next = start;
	unsigned int i;

	folio_batch_init(&fbatch);
	while (next < end && filemap_get_folios(mapping, &next, end - 1, &fbatch)) {
		for (i = 0; i < folio_batch_count(&fbatch); i++) {
			struct folio *folio = fbatch.folios[i];

			folio_lock(folio);
			removed = folio->mapping == mapping && folio->index >= start &&
				  folio_next_index(folio) <= end;
			if (removed)
				gmem_remove_folio(mapping, folio, mode == GMEM_FREE_SCRUB,
						  scrubbed);
			folio_unlock(folio);
			if (removed && mode == GMEM_FREE_RECYCLE)
				gmem_recycle_folio(folio, scrubbed);
		}
		folio_batch_release(&fbatch);
		cond_resched();
	}
}
EXPORT_SYMBOL_FOR_MODULES(gmem_scrub_range, "kvm");
