// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * gmem-trace faults, zero, alloc, policy: latencies and amounts, counted by what they are of. A row
 * for each combination that occurred.
 */
#include <stdlib.h>
#include <string.h>

#include "gmem-trace.h"

/* A column of a table: what of the key it shows, for people and in JSON. */
struct column {
	const char *head;
	int width;
	const char *(*text)(const struct series_key *key);
};

struct table {
	const char *command;
	const char *title;
	enum series_kind kind;
	const struct column *columns;
	bool pages;	/* amounts matter, not only times */
};

struct rows {
	struct series_key *keys;
	struct series *values;
	int nr;
};

/* What was told already; and that of VMs that have ended, which the kernel keeps no longer. */
static struct rows last, gone;

#define MAX_GONE	4096

static struct series *find_row(const struct rows *rows, const struct series_key *key)
{
	int i;

	for (i = 0; i < rows->nr; i++) {
		if (!memcmp(&rows->keys[i], key, sizeof(*key)))
			return &rows->values[i];
	}
	return NULL;
}

/* Add to the row of this key, which may be new. */
static void add_row(struct rows *rows, const struct series_key *key, const struct series *value)
{
	struct series *row = find_row(rows, key);

	if (row) {
		row->pages += value->pages;
		hist_add_all(&row->ns, &value->ns);
		return;
	}
	rows->keys = realloc(rows->keys, (rows->nr + 1) * sizeof(*rows->keys));
	rows->values = realloc(rows->values, (rows->nr + 1) * sizeof(*rows->values));
	if (!rows->keys || !rows->values)
		abort();
	rows->keys[rows->nr] = *key;
	rows->values[rows->nr++] = *value;
}

static void free_rows(struct rows *rows)
{
	free(rows->keys);
	free(rows->values);
	memset(rows, 0, sizeof(*rows));
}

static int compare_keys(const void *a, const void *b)
{
	const struct series_key *x = a, *y = b;

	return memcmp(x, y, sizeof(*x));
}

/* ---- Columns ---- */

static const char *order_size(unsigned int order)
{
	return order < 40 ? fmt_size(PAGE_BYTES << order) : fmt("order %u", order);
}

static const char *fault_access(const struct series_key *key)
{
	if (key->c & FAULT_PREFETCH)
		return "prefault";
	return key->c & FAULT_PRIVATE ? "private" : "shared";
}

static const char *fault_result(const struct series_key *key)
{
	if (key->c & FAULT_FAILED)
		return "failed";
	if (key->c & FAULT_RACED)
		return "raced";
	return key->c & FAULT_ALLOCATED ? "allocated" : "found";
}

/* "-" is of what was not mapped, or if this kernel does not tell. */
static const char *fault_source(const struct series_key *key)
{
	return key->d < NR_SOURCES ? source_names[key->d] : "-";
}

static bool mapped(const struct series_key *key)
{
	return !(key->c & (FAULT_FAILED | FAULT_RACED));
}

/* As which the memory could be mapped */
static const char *fault_largest(const struct series_key *key)
{
	return mapped(key) ? order_size(key->a) : "-";
}

/* Level 1 of the page tables maps 4K, 2 maps 2M, 3 maps 1G. */
static const char *fault_mapping(const struct series_key *key)
{
	return mapped(key) && key->b ? order_size(9 * (key->b - 1)) : "-";
}

static const struct column fault_columns[] = {
	{ "access", 8, fault_access },
	{ "memory", 9, fault_result },
	{ "source", 9, fault_source },
	{ "largest", 7, fault_largest },
	{ "mapping", 7, fault_mapping },
	{ }
};

static const char *zero_when(const struct series_key *key)
{
	return word(zeroed_names, NR_ZEROED, key->a);
}

static const struct column zero_columns[] = {
	{ "when", 9, zero_when },
	{ }
};

static const char *series_why(const struct series_key *key)
{
	return word(why_names, NR_WHY, key->a);
}

static const char *alloc_asked(const struct series_key *key)
{
	return order_size(key->b);
}

static const char *alloc_got(const struct series_key *key)
{
	return order_size(key->d);
}

/* A policy may ask for more than fits here, and the kernel may not have it. */
static const char *alloc_fallback(const struct series_key *key)
{
	if (key->d < key->c)
		return "fell back";
	return key->c < key->b ? "fitted" : "as asked";
}

static const char *alloc_node(const struct series_key *key)
{
	return fmt("%d", key->node);
}

static const char *alloc_zero(const struct series_key *key)
{
	return word(zero_names, NR_ZERO, key->e);
}

static const struct column alloc_columns[] = {
	{ "why", 11, series_why },
	{ "asked", 6, alloc_asked },
	{ "got", 6, alloc_got },
	{ "order", 9, alloc_fallback },
	{ "node", 4, alloc_node },
	{ "zero", 9, alloc_zero },
	{ }
};

static const struct column failed_columns[] = {
	{ "why", 11, series_why },
	{ }
};

static const char *free_mode(const struct series_key *key)
{
	return word(free_names, NR_FREE, key->b);
}

static const struct column free_columns[] = {
	{ "why", 11, series_why },
	{ "mode", 9, free_mode },
	{ }
};

static const char *ahead_how(const struct series_key *key)
{
	return key->b ? "background" : "now";
}

static const struct column ahead_columns[] = {
	{ "why", 11, series_why },
	{ "how", 10, ahead_how },
	{ }
};

static const char *folio_order(const struct series_key *key)
{
	return order_size(key->a);
}

static const char *folio_result(const struct series_key *key)
{
	return key->b ? "failed" : "done";
}

static const struct column split_columns[] = {
	{ "folio", 7, folio_order },
	{ "result", 6, folio_result },
	{ }
};

static const char *collapse_why(const struct series_key *key)
{
	return word(why_names, NR_WHY, key->c);
}

static const struct column collapse_columns[] = {
	{ "folio", 7, folio_order },
	{ "why", 11, collapse_why },
	{ "result", 6, folio_result },
	{ }
};

/* ---- Reports ---- */

static void print_head(const struct table *t)
{
	const struct column *c;

	for (c = t->columns; c->head; c++)
		printf(" %-*s", c->width, c->head);
	if (t->pages)
		printf(" %8s %9s %11s %8s %8s %8s\n", "count", "memory", "rate", "p50", "p99",
		       "per page");
	else
		printf(" %8s %8s %8s %8s %8s\n", "count", "p50", "p90", "p99", "max");
}

/* Bytes each second */
static double rate_of(const struct series *s, __u64 interval_ns)
{
	return s->pages * PAGE_BYTES * 1e9 / interval_ns;
}

static void print_row(const struct table *t, const struct series_key *key, const struct series *s,
		      __u64 interval_ns)
{
	const struct hist *h = &s->ns;
	const struct column *c;

	putchar(' ');
	for (c = t->columns; c->head; c++)
		printf(" %-*s", c->width, c->text(key));
	if (t->pages)
		printf(" %8llu %9s %9s/s %8s %8s %8s\n", h->count,
		       fmt_size(s->pages * PAGE_BYTES), fmt_size(rate_of(s, interval_ns)),
		       fmt_ns(hist_percentile(h, 500)), fmt_ns(hist_percentile(h, 990)),
		       s->pages ? fmt_ns(h->sum / s->pages) : "-");
	else
		printf(" %8llu %8s %8s %8s %8s\n", h->count, fmt_ns(hist_percentile(h, 500)),
		       fmt_ns(hist_percentile(h, 900)), fmt_ns(hist_percentile(h, 990)),
		       fmt_ns(h->max));
}

static json_object *row_json(const struct table *t, const struct series_key *key,
			     const struct series *s, __u64 interval_ns)
{
	json_object *o = json_object_new_object();
	const struct column *c;

	for (c = t->columns; c->head; c++)
		json_str(o, c->head, c->text(key));
	json_num(o, "count", s->ns.count);
	json_real(o, "per_second", s->ns.count * 1e9 / interval_ns);
	json_num(o, "pages", s->pages);
	json_num(o, "bytes", s->pages * PAGE_BYTES);
	json_real(o, "bytes_per_second", rate_of(s, interval_ns));
	json_object_object_add(o, "latency", hist_json(&s->ns));
	return o;
}

/* The rows of one table and one VM. */
static void report_table(const struct table *t, __u32 tgid, const struct series_key *keys,
			 const struct series *values, int nr, __u64 interval_ns, json_object *out)
{
	json_object *rows = json_object_new_array();
	bool headed = false;
	int i;

	for (i = 0; i < nr; i++) {
		if (keys[i].kind != t->kind || keys[i].tgid != tgid || !values[i].ns.count)
			continue;
		if (opt.json) {
			json_object_array_add(rows, row_json(t, &keys[i], &values[i], interval_ns));
			continue;
		}
		if (!headed) {
			printf("  %s\n ", t->title);
			print_head(t);
		}
		headed = true;
		print_row(t, &keys[i], &values[i], interval_ns);
	}
	if (opt.json)
		json_object_object_add(out, t->title, rows);
	else
		json_object_put(rows);
}

static const struct table *tables;
static int nr_tables;
static const char *command;

static void report_vm(__u32 tgid, const struct series_key *keys, const struct series *values,
		      int nr, __u64 interval_ns, json_object *vms)
{
	const struct vm_info *vm = vm_info(tgid, NULL);
	json_object *o = NULL;
	int i;

	if (!vm->wanted)
		return;
	if (opt.json) {
		o = json_object_new_object();
		vm_json(o, vm);
	} else {
		printf("\nVM %s\n", vm_title(vm));
	}
	for (i = 0; i < nr_tables; i++)
		report_table(&tables[i], tgid, keys, values, nr, interval_ns, o);
	if (opt.json)
		json_object_array_add(vms, o);
}

/* Of what is counted now, what was not told yet; rows where nothing happened have a count of 0. */
static struct series *since_last(const struct series_key *keys, const struct series *values, int nr)
{
	struct series *diff = xalloc(nr * sizeof(*diff));
	const struct series *earlier;
	int i;

	for (i = 0; i < nr; i++) {
		diff[i] = values[i];
		earlier = find_row(&last, &keys[i]);
		if (!earlier)
			continue;
		diff[i].pages -= earlier->pages;
		hist_subtract(&diff[i].ns, &earlier->ns);
	}
	return diff;
}

/* The elements in the order of their keys. */
static void sort_series(struct series_key *keys, struct series **values, int nr)
{
	struct {
		struct series_key key;
		int at;
	} *order = xalloc(nr * sizeof(*order));
	struct series *sorted = xalloc(nr * sizeof(*sorted));
	int i;

	for (i = 0; i < nr; i++) {
		order[i].key = keys[i];
		order[i].at = i;
	}
	qsort(order, nr, sizeof(*order), compare_keys);
	for (i = 0; i < nr; i++) {
		keys[i] = order[i].key;
		sorted[i] = (*values)[order[i].at];
	}
	free(order);
	free(*values);
	*values = sorted;
}

/*
 * Take rows of VMs that have ended out of the kernel, where room is limited. Here it is limited as
 * well: what is too much is added to rows of "VM 0".
 */
static void retire(const struct series_key *keys, struct series *values, int nr)
{
	struct series_key key;
	struct series *told;
	int i;

	for (i = 0; i < nr; i++) {
		if (!vm_info(keys[i].tgid, NULL)->gone)
			continue;
		if (tracer_take_series(&keys[i], &values[i]))
			continue;
		key = keys[i];
		if (gone.nr >= MAX_GONE) {
			if (!vm_info(key.tgid, NULL)->wanted)
				continue;
			/* Without what was told of it as a row of its own */
			told = find_row(&last, &key);
			if (told) {
				values[i].pages -= told->pages;
				hist_subtract(&values[i].ns, &told->ns);
				memset(told, 0, sizeof(*told));
			}
			key.tgid = 0;
		}
		add_row(&gone, &key, &values[i]);
	}
}

/* See who is there, while they are, and who is not any more. */
static void look(void)
{
	struct rows now;
	int i;

	vms_refresh();
	now.nr = tracer_series(&now.keys, &now.values);
	for (i = 0; i < now.nr; i++)
		vm_info(now.keys[i].tgid, NULL);
	retire(now.keys, now.values, now.nr);
	free_rows(&now);
}

/* Besides, once a second: it takes a while. */
static void look_now_and_then(void)
{
	static __u64 next;

	if (now_ns() < next)
		return;
	look();
	next = now_ns() + NSEC_PER_SEC;
}

static void print_report(const struct rows *now, const struct series *diff, __u64 interval_ns)
{
	json_object *root = NULL, *vms = NULL;
	int i, n, nr = now->nr;
	__u32 tgid;

	if (opt.json) {
		root = json_report(command, interval_ns);
		vms = json_object_new_array();
	} else {
		print_time();
	}
	for (i = 0; i < nr; i = n) {
		bool any = false;

		tgid = now->keys[i].tgid;
		for (n = i; n < nr && now->keys[n].tgid == tgid; n++)
			any |= diff[n].ns.count > 0;
		if (any)
			report_vm(tgid, now->keys, diff, nr, interval_ns, vms);
	}
	if (opt.json) {
		json_object_object_add(root, "vms", vms);
		json_object_object_add(root, "cannot_show", lacks_json());
		json_object_object_add(root, "losses", losses_json());
		json_line(root);
		return;
	}
	print_losses();
	fflush(stdout);
}

/*
 * All that is counted now, in the order of the keys; and the part of it that the kernel keeps, from
 * which the next report goes on.
 */
static void read_rows(struct rows *now, struct rows *kept)
{
	int i;

	look();
	now->nr = tracer_series(&now->keys, &now->values);
	kept->nr = now->nr;
	kept->keys = xalloc(kept->nr * sizeof(*kept->keys));
	kept->values = xalloc(kept->nr * sizeof(*kept->values));
	for (i = 0; i < kept->nr; i++) {
		kept->keys[i] = now->keys[i];
		kept->values[i] = now->values[i];
	}
	for (i = 0; i < gone.nr; i++)
		add_row(now, &gone.keys[i], &gone.values[i]);
	sort_series(now->keys, &now->values, now->nr);
}

/* These were told. */
static void done_rows(struct rows *now, struct rows *kept)
{
	free_rows(&gone);
	free_rows(now);
	free_rows(&last);
	last = *kept;
}

static void report(__u64 interval_ns)
{
	struct rows now, kept;
	struct series *diff;

	if (!interval_ns) {
		look_now_and_then();
		return;
	}
	read_rows(&now, &kept);
	diff = since_last(now.keys, now.values, now.nr);
	print_report(&now, diff, interval_ns);
	free(diff);
	done_rows(&now, &kept);
}

static void tell_rows(const struct rows *rows, series_fn fn)
{
	struct series *diff;
	int i;

	for (i = 0; i < rows->nr; i++) {
		if (!vm_info(rows->keys[i].tgid, NULL)->wanted)
			continue;
		diff = since_last(&rows->keys[i], &rows->values[i], 1);
		fn(&rows->keys[i], &rows->values[i], diff);
		free(diff);
	}
}

/*
 * Hand each series of VMs that are wanted to @fn: all, and what came since the last time. That of a
 * VM that has ended may come twice, each time with another part of it.
 */
void series_since(series_fn fn)
{
	struct series *told;
	struct rows now;
	int i;

	look();
	now.nr = tracer_series(&now.keys, &now.values);
	tell_rows(&gone, fn);
	/* What is counted of those since is counted anew. */
	for (i = 0; i < gone.nr; i++) {
		told = find_row(&last, &gone.keys[i]);
		if (told)
			memset(told, 0, sizeof(*told));
	}
	free_rows(&gone);
	tell_rows(&now, fn);
	free_rows(&last);
	last = now;
}

static int run(const char *name, const char *what, const char *const *programs,
	       const char *const *events, const struct table *t, int nr)
{
	const struct needs needs = { .programs = programs, .events = events, .series = true,
				     .free_latencies = true };

	tables = t;
	nr_tables = nr;
	command = name;
	if (tracer_open(&needs, 0))
		return -1;
	return run_reports(what, report, NULL);
}

int cmd_faults(void)
{
	static const char *const programs[] = { "count_fault", "source_*", NULL };
	static const char *const events[] = { "kvm_gmem_fault", NULL };
	static const struct table t[] = {
		{ "faults", "faults", SERIES_FAULT, fault_columns, false },
	};

	return run("faults", "faults on guest memory", programs, events, t, ARRAY_SIZE(t));
}

int cmd_zero(void)
{
	static const char *const programs[] = { "count_zero", NULL };
	static const char *const events[] = { "kvm_gmem_zero", NULL };
	static const struct table t[] = {
		{ "zero", "zeroed", SERIES_ZERO, zero_columns, true },
	};

	return run("zero", "the zeroing of guest memory", programs, events, t, ARRAY_SIZE(t));
}

int cmd_alloc(void)
{
	static const char *const programs[] = {
		"count_alloc", "count_free", "count_prealloc", "count_split", "count_collapse",
		NULL
	};
	static const char *const events[] = { "kvm_gmem_alloc", NULL };
	static const struct table t[] = {
		{ "alloc", "allocated", SERIES_ALLOC, alloc_columns, true },
		{ "alloc", "failed", SERIES_ALLOC_FAILED, failed_columns, false },
		{ "alloc", "populated", SERIES_AHEAD, ahead_columns, true },
		{ "alloc", "freed", SERIES_FREE, free_columns, true },
		{ "alloc", "split", SERIES_SPLIT, split_columns, true },
		{ "alloc", "collapsed", SERIES_COLLAPSE, collapse_columns, true },
	};

	return run("alloc", "allocations of guest memory", programs, events, t, ARRAY_SIZE(t));
}
