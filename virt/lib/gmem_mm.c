// SPDX-License-Identifier: GPL-2.0-only
/*
 * What of guest memory is resident. Built in because it needs what mm does not export to modules.
 */
#include <linux/export.h>
#include <linux/gmem_policy.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/processor.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/xarray.h>

/* Count a folio, unless it has just left, or been made part of something else. */
static bool gmem_count_folio(struct xa_state *xas, struct folio *folio, struct gmem_resident *res)
{
	bool here;

	/* It may be freed, and be part of something else, any time: a reference keeps its size. */
	if (!folio_try_get(folio))
		return false;
	here = folio == xas_reload(xas);
	if (here) {
		res->folios[min(folio_order(folio), GMEM_ORDER_MAX)]++;
		res->bytes += folio_size(folio);
		if (folio_test_uptodate(folio))
			res->ready += folio_size(folio);
	}
	folio_put(folio);
	return here;
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
		/* Who has frozen it, to split it for example, should come to an end with that. */
		if (!gmem_count_folio(&xas, folio, res)) {
			xas_reset(&xas);
			cpu_relax();
		}

		/*
		 * Long files take long, and so may those who freeze folios, and a preemptible RCU
		 * does not mind being held: let go now and then.
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
