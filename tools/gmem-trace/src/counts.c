// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What the kernel has counted, added to what gmem-trace export tells. */
#include "metrics.h"

/* In octaves: bucket 0 is below 8, HIST_SUBS to 2 * HIST_SUBS below 16, and so on. */
static void add_hist(struct histogram *to, const struct hist *h)
{
	int i, bit;

	to->sum_ns += h->sum;
	for (i = 0; i < HIST_BUCKETS; i++) {
		/* the power of two below which its values are */
		bit = i / HIST_SUBS + HIST_SUB_BITS;
		if (bit < LE_FIRST_BIT)
			bit = LE_FIRST_BIT;
		to->bucket[bit <= LE_LAST_BIT ? bit - LE_FIRST_BIT : NR_LE] += h->bucket[i];
	}
}

void count_conversions(struct vm_counts *c, const struct vm_stats *vm)
{
	const struct direction *dir;
	int d, p;

	for (d = 0; d < 2; d++) {
		dir = &vm->dir[d];
		c->conversions[d] += dir->conversions;
		c->converted_pages[d] += dir->pages;
		add_hist(&c->conversion[d], &dir->phase[PHASE_TOTAL]);
		for (p = 0; p < NR_PARTS; p++)
			c->phase_ns[d][p] += dir->phase[p].sum;
	}
	c->requests[0] += vm->faults;
	c->requests[1] += vm->hypercalls;
	c->unanswered += vm->unanswered;
	c->unasked += vm->unasked;
	c->partial += vm->partial;
	c->noops += vm->noops;
	c->failed += vm->failed;
}

void count_conversions_of_host(struct host_counts *c, const struct vm_stats *vm)
{
	const struct direction *dir;
	int d, i;

	count_conversions(&c->all, vm);
	for (d = 0; d < 2; d++) {
		dir = &vm->dir[d];
		for (i = 0; i < NR_PARTS; i++)
			add_hist(&c->phase[d][i], &dir->phase[i]);
		for (i = 0; i < NR_SIZES; i++) {
			c->size_conversions[d][i] += dir->by_size[i].count;
			c->size_pages[d][i] += dir->by_size[i].pages;
			c->size_ns[d][i] += dir->by_size[i].ns;
		}
		for (i = 0; i < NR_CROWDS; i++) {
			c->crowd_conversions[d][i] += dir->by_crowd[i].count;
			c->crowd_pages[d][i] += dir->by_crowd[i].pages;
			c->crowd_ns[d][i] += dir->by_crowd[i].ns;
			c->crowd_lock_ns[d][i] += dir->by_crowd[i].wait_ns;
		}
	}
	add_hist(&c->first_fault, &vm->dir[1].phase[PHASE_FAULT]);
}

static enum access access_of(const struct series_key *key)
{
	if (key->c & FAULT_PREFETCH)
		return ACCESS_PREFAULT;
	return key->c & FAULT_PRIVATE ? ACCESS_PRIVATE : ACCESS_SHARED;
}

static enum fault_result result_of(const struct series_key *key)
{
	if (key->c & FAULT_FAILED)
		return RESULT_FAILED;
	if (key->c & FAULT_RACED)
		return RESULT_RACED;
	return key->c & FAULT_ALLOCATED ? RESULT_ALLOCATED : RESULT_FOUND;
}

/* @b: the order asked for, @c: what of it fitted, @d: what was got */
static enum alloc_outcome outcome_of(const struct series_key *key)
{
	if (key->d < key->c)
		return ALLOC_FELL_BACK;
	return key->c < key->b ? ALLOC_FITTED : ALLOC_AS_ASKED;
}

static unsigned int at_most(unsigned int i, unsigned int max)
{
	return i < max ? i : max;
}

void count_series(struct vm_counts *c, const struct series_key *key, const struct series *s)
{
	switch (key->kind) {
	case SERIES_FAULT:
		c->faults[access_of(key)][result_of(key)] += s->ns.count;
		if (!(key->c & (FAULT_RACED | FAULT_FAILED)))
			c->fault_sources[at_most(key->d, NR_SOURCES)] += s->ns.count;
		break;
	case SERIES_ZERO:
		c->zeroed_pages[at_most(key->a, NR_ZEROED)] += s->pages;
		break;
	case SERIES_ALLOC:
		c->allocated_pages += s->pages;
		break;
	case SERIES_ALLOC_FAILED:
		c->alloc_failed += s->ns.count;
		break;
	case SERIES_FREE:
		c->freed_pages[at_most(key->b, NR_FREE)] += s->pages;
		break;
	}
}

void count_series_of_host(struct host_counts *c, const struct series_key *key,
			  const struct series *s)
{
	count_series(&c->all, key, s);
	switch (key->kind) {
	case SERIES_FAULT:
		add_hist(&c->fault[access_of(key)][result_of(key)], &s->ns);
		break;
	case SERIES_ZERO:
		add_hist(&c->zero[at_most(key->a, NR_ZEROED)], &s->ns);
		break;
	case SERIES_ALLOC:
		add_hist(&c->alloc[at_most(key->d, NR_ORDERS - 1)], &s->ns);
		c->allocs[at_most(key->a, NR_WHY)][outcome_of(key)] += s->ns.count;
		break;
	case SERIES_AHEAD:
		c->populated_pages[!!key->b] += s->pages;
		break;
	case SERIES_SPLIT:
		c->splits[!!key->b] += s->ns.count;
		break;
	case SERIES_COLLAPSE:
		c->collapses[!!key->b] += s->ns.count;
		break;
	}
}

void count_decisions(struct policy_counts *c, const struct decision_key *key,
		     const struct decisions *d)
{
	unsigned int op = at_most(key->op, NR_OPS), shadow = !!key->shadow;

	c->decisions[op][shadow] += d->count;
	c->fitted[op][shadow] += d->fitted;
	c->clamped[op][shadow] += d->clamped;
}
