// SPDX-License-Identifier: GPL-2.0-only
/*
 * Large folios in the page cache of guest memory: split one, or make one of what is there. These
 * are built in because they need what mm does not export to modules.
 *
 * Guest memory is never reclaimed, so its page cache holds folios and nothing else: no shadow
 * entries.
 */
#include <linux/export.h>
#include <linux/gmem_policy.h>
#include <linux/highmem.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/page_ref.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/vmstat.h>
#include <linux/xarray.h>

/**
 * gmem_split_at - have no folio straddle the beginning of a page
 * @mapping: page cache of guest memory
 * @index: page
 * @wait: for the folio's lock; one who holds it may be waiting for the invalidate lock
 *	  (->error_remove_folio() is called so), which background work should not risk
 * @order: set to the order of the folio that straddled it; -1 if there was none
 *
 * The pieces are as large as they can be: only what holds @index is split, and split again.
 *
 * Context: process context, may sleep.
 * Return: 0 if no folio straddles @index now; -EAGAIN if something else holds a reference, or the
 * lock; -ENOMEM; -EBUSY
 */
int gmem_split_at(struct address_space *mapping, pgoff_t index, bool wait, int *order)
{
	fgf_t fgp = FGP_LOCK | (wait ? 0 : FGP_NOWAIT);
	struct folio *folio = __filemap_get_folio(mapping, index, fgp, 0);
	int ret = 0;

	*order = -1;
	if (IS_ERR(folio))
		return PTR_ERR(folio) == -ENOENT ? 0 : PTR_ERR(folio);

	if (folio->index < index) {
		unsigned int to = __ffs(index - folio->index);

		*order = folio_order(folio);
		ret = folio_split(folio, to, folio_page(folio, index - folio->index), NULL);
	}
	folio_unlock(folio);
	folio_put(folio);
	return ret;
}
EXPORT_SYMBOL_FOR_MODULES(gmem_split_at, "kvm");

/* Folios that are about to become one, locked, each with a reference. */
struct gmem_pieces {
	struct folio *folios[1 << PMD_ORDER];
	unsigned int nr;
	unsigned long pages;
};

static void gmem_pieces_release(struct gmem_pieces *pieces)
{
	unsigned int i;

	for (i = 0; i < pieces->nr; i++) {
		folio_unlock(pieces->folios[i]);
		folio_put(pieces->folios[i]);
	}
}

/*
 * Folios are not waited for: who locks one may wait for a lock that our caller holds, as
 * ->error_remove_folio() does.
 */
static int gmem_pieces_gather(struct address_space *mapping, pgoff_t start, pgoff_t end,
			      struct gmem_pieces *pieces)
{
	struct folio *folio;
	pgoff_t index;

	for (index = start; index < end; index = folio_next_index(folio)) {
		while (index < end) {
			folio = __filemap_get_folio(mapping, index, FGP_LOCK | FGP_NOWAIT, 0);
			if (PTR_ERR_OR_ZERO(folio) != -ENOENT)
				break;
			index++;
		}
		if (index == end)
			break;
		if (IS_ERR(folio))
			return PTR_ERR(folio);

		pieces->folios[pieces->nr++] = folio;
		pieces->pages += folio_nr_pages(folio);
		if (folio_order(folio) >= PMD_ORDER)
			return -EEXIST;
		if (folio_contain_hwpoisoned_page(folio))
			return -EHWPOISON;
	}
	return 0;
}

/*
 * They are locked and not mapped. Unless somebody else has a reference, nobody can write to them
 * until they are unlocked: whoever finds one in the page cache locks it before anything else.
 */
static bool gmem_pieces_busy(const struct gmem_pieces *pieces)
{
	unsigned int i;

	for (i = 0; i < pieces->nr; i++) {
		struct folio *folio = pieces->folios[i];

		if (folio_mapped(folio) || folio_ref_count(folio) != folio_nr_pages(folio) + 1)
			return true;
	}
	return false;
}

static int gmem_pieces_copy(struct folio *dst, const struct gmem_pieces *pieces)
{
	unsigned long page = 0, i, n;
	unsigned int piece;

	for (piece = 0; piece < pieces->nr; piece++) {
		struct folio *src = pieces->folios[piece];

		for (; page < src->index - dst->index; page++)
			clear_highpage(folio_page(dst, page));

		n = folio_nr_pages(src);
		for (i = 0; i < n; i++, page++) {
			if (!folio_test_uptodate(src))
				clear_highpage(folio_page(dst, page));
			else if (copy_mc_highpage(folio_page(dst, page), folio_page(src, i)))
				return -EHWPOISON;
		}
		cond_resched();
	}
	for (; page < folio_nr_pages(dst); page++)
		clear_highpage(folio_page(dst, page));
	return 0;
}

static unsigned long gmem_pages_present(struct address_space *mapping, pgoff_t start, pgoff_t end)
{
	XA_STATE(xas, &mapping->i_pages, start);
	unsigned long pages = 0;
	struct folio *folio;

	xas_for_each(&xas, folio, end - 1)
		pages += folio_nr_pages(folio);
	return pages;
}

/*
 * Put @folio where @pieces are, unless a hole between them was filled meanwhile. The pieces
 * themselves cannot go: they are locked.
 */
static int gmem_pieces_replace(struct address_space *mapping, struct folio *folio,
			       const struct gmem_pieces *pieces)
{
	XA_STATE_ORDER(xas, &mapping->i_pages, folio->index, folio_order(folio));
	long nr = folio_nr_pages(folio);
	unsigned int i;
	int err;

	do {
		xas_lock_irq(&xas);
		if (gmem_pages_present(mapping, folio->index, folio_next_index(folio)) !=
		    pieces->pages) {
			xas_unlock_irq(&xas);
			xas_destroy(&xas);
			return -EAGAIN;
		}
		xas_store(&xas, folio);
		err = xas_error(&xas);
		if (!err) {
			mapping->nrpages += nr - pieces->pages;
			lruvec_stat_mod_folio(folio, NR_FILE_PAGES, nr);
			lruvec_stat_mod_folio(folio, NR_FILE_THPS, nr);
			for (i = 0; i < pieces->nr; i++)
				lruvec_stat_mod_folio(pieces->folios[i], NR_FILE_PAGES,
						      -folio_nr_pages(pieces->folios[i]));
		}
		xas_unlock_irq(&xas);
	} while (xas_nomem(&xas, GFP_KERNEL));
	return err;
}

/* The pieces have left the page cache: give them back. */
static void gmem_pieces_free(struct gmem_pieces *pieces)
{
	unsigned int i;

	for (i = 0; i < pieces->nr; i++) {
		struct folio *folio = pieces->folios[i];

		folio->mapping = NULL;
		folio_unlock(folio);
		folio_put_refs(folio, folio_nr_pages(folio) + 1);
	}
}

static int gmem_collapse_pieces(struct address_space *mapping, struct folio *folio,
				unsigned long max_holes, struct gmem_pieces *pieces)
{
	pgoff_t start = folio->index, end = folio_next_index(folio);
	long nr = folio_nr_pages(folio);
	int err;

	err = gmem_pieces_gather(mapping, start, end, pieces);
	if (err)
		return err;
	if (nr - pieces->pages > max_holes)
		return -ENODATA;

	unmap_mapping_pages(mapping, start, nr, false);
	if (gmem_pieces_busy(pieces))
		return -EBUSY;

	err = gmem_pieces_copy(folio, pieces);
	if (err)
		return err;

	/*
	 * Whoever finds it in the page cache finds it complete, and waits for its lock. Dirty: else
	 * mm could take it for something that can be read again.
	 */
	__folio_set_locked(folio);
	folio->mapping = mapping;
	folio_mark_uptodate(folio);
	folio_set_dirty(folio);
	folio_ref_add(folio, nr);
	err = gmem_pieces_replace(mapping, folio, pieces);
	if (err) {
		folio->mapping = NULL;
		folio_put_refs(folio, nr);
	} else {
		folio_add_lru(folio);
		gmem_pieces_free(pieces);
		pieces->nr = 0;
	}
	folio_unlock(folio);
	return err;
}

/**
 * gmem_collapse_begin - get what making one folio of small ones needs
 * @folio: new folio of the order of a PMD, charged to the active memory cgroup
 * @gfp: for that
 *
 * Context: process context, no locks held that a guest could wait for: may wait for reclaim.
 * Return: for gmem_collapse(), to be given to gmem_collapse_end(); ERR_PTR(-ENOMEM)
 */
struct gmem_pieces *gmem_collapse_begin(struct folio *folio, gfp_t gfp)
{
	struct gmem_pieces *pieces;
	int err;

	pieces = kvzalloc_obj(*pieces);
	if (!pieces)
		return ERR_PTR(-ENOMEM);

	err = mem_cgroup_charge(folio, NULL, gfp);
	if (err) {
		kvfree(pieces);
		return ERR_PTR(err);
	}
	return pieces;
}
EXPORT_SYMBOL_FOR_MODULES(gmem_collapse_begin, "kvm");

/**
 * gmem_collapse_end - free what gmem_collapse_begin() got
 * @pieces: that
 */
void gmem_collapse_end(struct gmem_pieces *pieces)
{
	kvfree(pieces);
}
EXPORT_SYMBOL_FOR_MODULES(gmem_collapse_end, "kvm");

/**
 * gmem_collapse - make one folio of what is in a range
 * @mapping: page cache of guest memory that hardware does not own
 * @folio: new folio of the order of a PMD
 * @index: first page, aligned to the order of a PMD
 * @max_holes: how many missing pages may be filled with zeroes
 * @pieces: of gmem_collapse_begin() for @folio
 * @holes: set to the pages that were filled
 *
 * Nobody loses a write: what is mapped by user space is unmapped, and what something else has a
 * reference to is left as it is.
 *
 * Context: process context, may sleep. Invalidate lock held for writing; the range is not mapped
 * into any guest and is kept from being mapped.
 * Return: 0; -EEXIST if it is one folio already; -ENODATA if more is missing; -EBUSY or -EAGAIN if
 * it is in use; -EHWPOISON; -ENOMEM
 */
int gmem_collapse(struct address_space *mapping, struct folio *folio, pgoff_t index,
		  unsigned long max_holes, struct gmem_pieces *pieces, unsigned long *holes)
{
	int err;

	folio->index = index;
	err = gmem_collapse_pieces(mapping, folio, max_holes, pieces);
	*holes = err ? 0 : folio_nr_pages(folio) - pieces->pages;
	gmem_pieces_release(pieces);
	return err;
}
EXPORT_SYMBOL_FOR_MODULES(gmem_collapse, "kvm");

static bool gmem_folio_is_zero(struct folio *folio)
{
	unsigned long i;

	if (folio_contain_hwpoisoned_page(folio))
		return false;
	if (!folio_test_uptodate(folio))
		return true;
	for (i = 0; i < folio_nr_pages(folio); i++) {
		void *addr = kmap_local_folio(folio, i * PAGE_SIZE);
		bool used = memchr_inv(addr, 0, PAGE_SIZE);

		kunmap_local(addr);
		if (used)
			return false;
	}
	return true;
}

/*
 * Remove a folio if nothing is lost with it: it holds nothing, and nobody can be writing to it, for
 * it is locked and not mapped, and the page cache and the caller hold the only references.
 */
static bool gmem_remove_if_zero(struct address_space *mapping, struct folio *folio)
{
	if (folio_ref_count(folio) != folio_nr_pages(folio) + 1)
		return false;
	/* What is bad is not looked at, and stays until its file ends. */
	if (!folio_contain_hwpoisoned_page(folio) && gmem_folio_is_zero(folio))
		generic_error_remove_folio(mapping, folio);
	return true;
}

static bool gmem_folio_within(struct address_space *mapping, struct folio *folio, pgoff_t start,
			      pgoff_t end)
{
	return folio->mapping == mapping && folio->index >= start && folio_next_index(folio) <= end;
}

static void gmem_folio_unmap(struct address_space *mapping, struct folio *folio)
{
	unmap_mapping_pages(mapping, folio->index, folio_nr_pages(folio), false);
}

/**
 * gmem_keep_bad - a folio is about to leave its page cache: keep it for good if part of it is bad
 * @folio: the folio, locked, or of an inode that is being evicted
 *
 * The page allocator looks for bad pages among single pages only: it would hand out one that is in
 * a large folio. What could not be split when the page went bad is therefore never given back.
 */
void gmem_keep_bad(struct folio *folio)
{
	if (unlikely(folio_test_large(folio) && folio_contain_hwpoisoned_page(folio)))
		folio_get(folio);
}

/**
 * gmem_keep_all_bad - gmem_keep_bad() for all that an inode has
 * @mapping: page cache of guest memory, whose inode is being evicted
 *
 * Context: process context, may sleep.
 */
void gmem_keep_all_bad(struct address_space *mapping)
{
#ifdef CONFIG_MEMORY_FAILURE
	struct folio_batch fbatch;
	pgoff_t next = 0;
	unsigned int i;

	if (likely(!atomic_long_read(&num_poisoned_pages)))
		return;

	folio_batch_init(&fbatch);
	while (filemap_get_folios(mapping, &next, ULONG_MAX, &fbatch)) {
		for (i = 0; i < folio_batch_count(&fbatch); i++)
			gmem_keep_bad(fbatch.folios[i]);
		folio_batch_release(&fbatch);
		cond_resched();
	}
#endif
}
EXPORT_SYMBOL_FOR_MODULES(gmem_keep_all_bad, "kvm");

/**
 * gmem_remove_range - remove the folios of a range
 * @mapping: page cache of guest memory
 * @start: first page
 * @end: page after the last
 *
 * Folios that reach out of the range are left alone.
 *
 * Context: process context, may sleep. Invalidate lock held for writing; the range is not mapped
 * into any guest and is kept from being mapped.
 */
void gmem_remove_range(struct address_space *mapping, pgoff_t start, pgoff_t end)
{
	struct folio_batch fbatch;
	pgoff_t next = start;
	unsigned int i;

	folio_batch_init(&fbatch);
	while (next < end && filemap_get_folios(mapping, &next, end - 1, &fbatch)) {
		for (i = 0; i < folio_batch_count(&fbatch); i++) {
			struct folio *folio = fbatch.folios[i];

			folio_lock(folio);
			if (gmem_folio_within(mapping, folio, start, end)) {
				gmem_folio_unmap(mapping, folio);
				gmem_keep_bad(folio);
				generic_error_remove_folio(mapping, folio);
			}
			folio_unlock(folio);
		}
		folio_batch_release(&fbatch);
		cond_resched();
	}
}
EXPORT_SYMBOL_FOR_MODULES(gmem_remove_range, "kvm");

/**
 * gmem_remove_zeroes - remove the folios of a range that hold nothing but zeroes
 * @mapping: page cache of guest memory
 * @start: first page
 * @end: page after the last
 *
 * Folios that reach out of the range are left alone. Does not wait for folios that are locked: see
 * gmem_split_at().
 *
 * Context: as gmem_remove_range().
 * Return: false if something was in use, so that it is worth to try again
 */
bool gmem_remove_zeroes(struct address_space *mapping, pgoff_t start, pgoff_t end)
{
	struct folio_batch fbatch;
	pgoff_t next = start;
	bool all = true;
	unsigned int i;

	folio_batch_init(&fbatch);
	while (next < end && filemap_get_folios(mapping, &next, end - 1, &fbatch)) {
		for (i = 0; i < folio_batch_count(&fbatch); i++) {
			struct folio *folio = fbatch.folios[i];

			if (!folio_trylock(folio)) {
				all = false;
				continue;
			}
			if (gmem_folio_within(mapping, folio, start, end)) {
				gmem_folio_unmap(mapping, folio);
				all &= gmem_remove_if_zero(mapping, folio);
			}
			folio_unlock(folio);
		}
		folio_batch_release(&fbatch);
		cond_resched();
	}
	return all;
}
EXPORT_SYMBOL_FOR_MODULES(gmem_remove_zeroes, "kvm");
