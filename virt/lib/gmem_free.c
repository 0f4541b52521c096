// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest memory that leaves a page cache: scrubbed first, or recycled into a pool. Built in because
 * it needs what mm does not export to modules.
 */
#include <linux/export.h>
#include <linux/folio_batch.h>
#include <linux/gmem_policy.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/page_ref.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/swap.h>

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

/*
 * The folio is locked and not mapped. Does anything but the page cache and the caller refer to it?
 * Who comes later waits for its lock, and then finds that it has left the page cache.
 */
static bool gmem_folio_busy(struct folio *folio)
{
	return folio_ref_count(folio) != folio_nr_pages(folio) + 1;
}

/* Pages that have gone bad. They are not touched, and not given to anybody, either. */
static long gmem_bad_pages(struct folio *folio)
{
	long i, bad = 0;

	if (likely(!folio_contain_hwpoisoned_page(folio)))
		return 0;
	for (i = 0; i < folio_nr_pages(folio); i++)
		bad += PageHWPoison(folio_page(folio, i));
	return bad;
}

static void gmem_scrub_folio(struct folio *folio)
{
	long i;

	for (i = 0; i < folio_nr_pages(folio); i++) {
		if (!PageHWPoison(folio_page(folio, i)))
			clear_highpage(folio_page(folio, i));
	}
}

/*
 * A locked folio is about to be removed from its page cache: scrub it. False if it is in use, and
 * stays because of that.
 */
static bool gmem_scrub_locked(struct address_space *mapping, struct folio *folio,
			      enum gmem_free_mode mode, bool last, struct gmem_scrubbed *scrubbed)
{
	long good = folio_nr_pages(folio) - gmem_bad_pages(folio);
	bool busy;

	/* It is mapped under its lock. */
	if (folio_mapped(folio))
		unmap_mapping_pages(mapping, folio->index, folio_nr_pages(folio), false);

	busy = gmem_folio_busy(folio);
	/* A single bad page always is: memory failure keeps it. */
	if (busy && good && !last)
		return false;

	/* What never was zeroed or written has nothing of the guest's to be read. */
	if (mode == GMEM_FREE_SCRUB && folio_test_uptodate(folio)) {
		/* Who holds a reference could still be reading what the zeroes would overwrite. */
		if (busy) {
			scrubbed->failed += good;
		} else {
			gmem_scrub_folio(folio);
			scrubbed->zeroed += good;
		}
	}
	gmem_keep_bad(folio);
	folio_cancel_dirty(folio);
	return true;
}

/* Returns whether the folio, and the caller's reference to it, are the pool's now. */
static bool gmem_recycle_folio(struct folio *folio, struct gmem_scrubbed *scrubbed)
{
	long nr = folio_nr_pages(folio);
	int ret = gmem_pool_recycle(folio);

	if (!ret)
		scrubbed->recycled += nr;
	else if (ret == -EBUSY)
		scrubbed->failed += nr;
	return !ret;
}

/*
 * Remove the folios of @going, which are locked, from their page cache: together, as truncation
 * does. Locked all the time, they have not been written to since they were scrubbed.
 */
static void gmem_remove_batch(struct address_space *mapping, struct folio_batch *going,
			      enum gmem_free_mode mode, struct gmem_scrubbed *scrubbed)
{
	unsigned int i, kept = 0;

	delete_from_page_cache_batch(mapping, going);
	for (i = 0; i < folio_batch_count(going); i++) {
		struct folio *folio = going->folios[i];

		folio_unlock(folio);
		/* Who takes it from the pool must find no reference but his own. */
		if (mode != GMEM_FREE_RECYCLE || !gmem_recycle_folio(folio, scrubbed))
			going->folios[kept++] = folio;
	}
	going->nr = kept;
	folio_batch_release(going);
}

/**
 * gmem_scrub_range - remove folios from a file, each scrubbed just before it goes, or recycled
 * @mapping: its page cache
 * @start: first page
 * @end: page after the last
 * @mode: %GMEM_FREE_SCRUB or %GMEM_FREE_RECYCLE
 * @last: folios that are in use are removed, too, as they are; else they stay, and it is worth to
 *	  try again after gmem_drain_lru()
 * @scrubbed: what was done is added
 *
 * Folios that reach out of the range are left alone; truncation is to follow.
 *
 * Context: process context, invalidate lock held for writing or inode being evicted, guest mappings
 * gone. May sleep.
 * Return: number of folios that stayed
 */
u64 gmem_scrub_range(struct address_space *mapping, pgoff_t start, pgoff_t end,
		     enum gmem_free_mode mode, bool last, struct gmem_scrubbed *scrubbed)
{
	struct folio_batch fbatch, going;
	pgoff_t next = start;
	unsigned int i, kept;
	u64 busy = 0;

	folio_batch_init(&fbatch);
	folio_batch_init(&going);
	while (next < end && filemap_get_folios(mapping, &next, end - 1, &fbatch)) {
		for (i = 0, kept = 0; i < folio_batch_count(&fbatch); i++) {
			struct folio *folio = fbatch.folios[i];
			bool ours;

			/* Nobody waits for a lock with others held. */
			if (!folio_trylock(folio)) {
				gmem_remove_batch(mapping, &going, mode, scrubbed);
				folio_lock(folio);
			}
			ours = folio->mapping == mapping && folio->index >= start &&
			       folio_next_index(folio) <= end;
			if (ours && gmem_scrub_locked(mapping, folio, mode, last, scrubbed)) {
				folio_batch_add(&going, folio);
				continue;
			}
			folio_unlock(folio);
			busy += ours;
			fbatch.folios[kept++] = folio;
		}
		gmem_remove_batch(mapping, &going, mode, scrubbed);
		fbatch.nr = kept;
		folio_batch_release(&fbatch);
		cond_resched();
	}
	return busy;
}
EXPORT_SYMBOL_FOR_MODULES(gmem_scrub_range, "kvm");
