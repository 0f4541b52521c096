// SPDX-License-Identifier: GPL-2.0-only
/*
 * What of guest memory is resident. Built in because it needs what mm does not export to modules.
 */
#include <linux/export.h>
#include <linux/gmem_policy.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/xarray.h>

/*
 * Count a folio. It may be freed, and be part of something else, any time: the page cache knows
 * what size it has there, and whatever its flags say does no harm. A reference would make it seem
 * in use to who is about to scrub, split or rebuild it.
 */
static void gmem_count_folio(struct xa_state *xas, const struct folio *folio,
			     struct gmem_resident *res)
{
	int order = xas_get_order(xas);

	res->folios[min(order, GMEM_ORDER_MAX)]++;
	res->bytes += PAGE_SIZE << order;
	if (test_bit(PG_uptodate, &folio->flags.f))
		res->ready += PAGE_SIZE << order;
}

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
		gmem_count_folio(&xas, folio, res);

		/* Long files take long, and a preemptible RCU does not mind being held. */
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
