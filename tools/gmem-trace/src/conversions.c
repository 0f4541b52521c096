// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* gmem-trace conversions: where conversions spend their time. */
#include <stdlib.h>
#include <string.h>

#include "gmem-trace.h"

const char *const phase_names[NR_PHASES] = {
	[PHASE_EXIT]	= "exit",
	[PHASE_THINK]	= "think",
	[PHASE_WAIT]	= "lock",
	[PHASE_ZAP]	= "zap",
	[PHASE_STORE]	= "store",
	[PHASE_PUNCH]	= "punch",
	[PHASE_BACK]	= "back",
	[PHASE_TOTAL]	= "total",
	[PHASE_FAULT]	= "first_fault",
};

static const char *const phase_help[NR_PHASES] = {
	[PHASE_EXIT]	= "exit to the VMM",
	[PHASE_THINK]	= "VMM's own time",
	[PHASE_WAIT]	= "wait for slots_lock",
	[PHASE_ZAP]	= "zap and flush",
	[PHASE_STORE]	= "store attributes",
	[PHASE_PUNCH]	= "punch or populate",
	[PHASE_BACK]	= "back into the guest",
	[PHASE_TOTAL]	= "total",
	[PHASE_FAULT]	= "(then) first fault",
};

const char *const dir_names[2] = { "shared", "private" };

struct snapshot {
	__u32 *tgids;
	struct vm_stats *vms;
	int nr;
};

/* What was told already; and VMs that are gone, whose counters the kernel keeps no longer. */
static struct snapshot last, gone;

#define MAX_GONE	128

static void free_snapshot(struct snapshot *s)
{
	free(s->tgids);
	free(s->vms);
	memset(s, 0, sizeof(*s));
}

static void append(struct snapshot *s, __u32 tgid, const struct vm_stats *vm)
{
	s->tgids = realloc(s->tgids, (s->nr + 1) * sizeof(*s->tgids));
	s->vms = realloc(s->vms, (s->nr + 1) * sizeof(*s->vms));
	if (!s->tgids || !s->vms)
		abort();
	s->tgids[s->nr] = tgid;
	s->vms[s->nr++] = *vm;
}

static struct vm_stats *find_vm(const struct snapshot *s, __u32 tgid)
{
	int i;

	for (i = 0; i < s->nr; i++) {
		if (s->tgids[i] == tgid)
			return &s->vms[i];
	}
	return NULL;
}

static void forget_vm(struct snapshot *s, __u32 tgid)
{
	struct vm_stats *vm = find_vm(s, tgid);

	if (!vm)
		return;
	s->nr--;
	s->tgids[vm - s->vms] = s->tgids[s->nr];
	*vm = s->vms[s->nr];
}

static void subtract_costs(struct cost *c, const struct cost *earlier, int nr)
{
	for (; nr--; c++, earlier++) {
		c->count -= earlier->count;
		c->pages -= earlier->pages;
		c->ns -= earlier->ns;
		c->wait_ns -= earlier->wait_ns;
	}
}

static void subtract(struct vm_stats *vm, const struct vm_stats *earlier)
{
	int d, p;

	vm->hypercalls -= earlier->hypercalls;
	vm->faults -= earlier->faults;
	vm->noops -= earlier->noops;
	vm->failed -= earlier->failed;
	vm->joined -= earlier->joined;
	vm->unasked -= earlier->unasked;
	vm->unanswered -= earlier->unanswered;
	vm->partial -= earlier->partial;
	for (d = 0; d < 2; d++) {
		vm->dir[d].conversions -= earlier->dir[d].conversions;
		vm->dir[d].pages -= earlier->dir[d].pages;
		for (p = 0; p < NR_PHASES; p++)
			hist_subtract(&vm->dir[d].phase[p], &earlier->dir[d].phase[p]);
		subtract_costs(vm->dir[d].by_size, earlier->dir[d].by_size, NR_SIZES);
		subtract_costs(vm->dir[d].by_crowd, earlier->dir[d].by_crowd, NR_CROWDS);
	}
}

/* By their place, what was told already of latencies of costs. */
static struct hist *last_hists[MAX_COST_HISTS];

/* What was counted since the last time that this was asked. */
void cost_hist_since(const struct cost *cost, struct hist *h)
{
	struct hist *now, **earlier = &last_hists[cost->hist % MAX_COST_HISTS];

	memset(h, 0, sizeof(*h));
	if (tracer_cost_hist(cost, h))
		return;
	now = xalloc(sizeof(*now));
	*now = *h;
	if (*earlier)
		hist_subtract(h, *earlier);
	free(*earlier);
	*earlier = now;
}

static void forget_hists(struct cost *costs, int nr)
{
	for (; nr--; costs++) {
		free(last_hists[costs->hist % MAX_COST_HISTS]);
		last_hists[costs->hist % MAX_COST_HISTS] = NULL;
		costs->hist = 0;
	}
}

/* Another VM gets the places. */
static void forget_cost_hists(struct vm_stats *vm)
{
	int d;

	for (d = 0; d < 2; d++) {
		forget_hists(vm->dir[d].by_size, NR_SIZES);
		forget_hists(vm->dir[d].by_crowd, NR_CROWDS);
	}
}

static bool happened(const struct vm_stats *vm)
{
	return vm->hypercalls || vm->faults || vm->noops || vm->failed ||
	       vm->dir[0].conversions || vm->dir[1].conversions ||
	       vm->dir[0].phase[PHASE_TOTAL].count || vm->dir[1].phase[PHASE_TOTAL].count ||
	       vm->dir[1].phase[PHASE_FAULT].count;
}

/* ---- JSON ---- */

static json_object *cost_json(const struct cost *c, const char *unit, __u64 from, __u64 to)
{
	json_object *o = json_object_new_object();

	json_num(o, fmt("%s_from", unit), from);
	json_num(o, fmt("%s_to", unit), to);
	json_num(o, "conversions", c->count);
	json_num(o, "pages", c->pages);
	json_num(o, "ns", c->ns);
	json_num(o, "lock_ns", c->wait_ns);
	json_real(o, "ns_per_page", c->pages ? (double)c->ns / c->pages : 0);
	return o;
}

__u64 crowd_from(int i)
{
	return i ? (1ULL << (i - 1)) + 1 : 1;
}

static json_object *dir_json(const struct direction *dir, __u64 interval_ns)
{
	json_object *o = json_object_new_object(), *a, *phases = json_object_new_object();
	int i;

	json_num(o, "conversions", dir->conversions);
	json_num(o, "pages", dir->pages);
	json_num(o, "bytes", dir->pages * PAGE_BYTES);
	json_real(o, "per_second", dir->conversions * 1e9 / interval_ns);
	for (i = 0; i < NR_PHASES; i++)
		json_object_object_add(phases, phase_names[i], hist_json(&dir->phase[i]));
	json_object_object_add(o, "phases", phases);
	a = json_object_new_array();
	for (i = 0; i < NR_SIZES; i++) {
		if (dir->by_size[i].count)
			json_object_array_add(a, cost_json(&dir->by_size[i], "pages", 1ULL << i,
							   (2ULL << i) - 1));
	}
	json_object_object_add(o, "by_size", a);
	a = json_object_new_array();
	for (i = 0; i < NR_CROWDS; i++) {
		if (dir->by_crowd[i].count)
			json_object_array_add(a, cost_json(&dir->by_crowd[i], "vcpus",
							   crowd_from(i), 1ULL << i));
	}
	json_object_object_add(o, "by_vcpus", a);
	return o;
}

static json_object *stats_json(__u32 tgid, const struct vm_stats *vm, __u64 interval_ns)
{
	json_object *o = json_object_new_object(), *r = json_object_new_object();

	vm_json(o, vm_info(tgid, vm->comm));
	json_num(o, "conversions", vm->dir[0].conversions + vm->dir[1].conversions);
	json_num(r, "hypercall", vm->hypercalls);
	json_num(r, "memory_fault", vm->faults);
	json_num(r, "unanswered", vm->unanswered);
	json_object_object_add(o, "requests", r);
	json_num(o, "joined", vm->joined);
	json_num(o, "unasked", vm->unasked);
	json_num(o, "partial", vm->partial);
	json_num(o, "changed_nothing", vm->noops);
	json_num(o, "failed", vm->failed);
	json_int(o, "converting", vm->converting);
	r = json_object_new_object();
	json_object_object_add(r, "private", dir_json(&vm->dir[1], interval_ns));
	json_object_object_add(r, "shared", dir_json(&vm->dir[0], interval_ns));
	json_object_object_add(o, "to", r);
	return o;
}

/* ---- Text ---- */

static void print_phases(const struct direction *dir)
{
	const struct hist *h;
	int i;

	printf("  %-20s %8s %8s %8s %8s %8s %8s %5s\n", "phase", "count", "p50", "p90", "p99",
	       "p99.9", "max", "share");
	for (i = 0; i < NR_PHASES; i++) {
		h = &dir->phase[i];
		if (!h->count)
			continue;
		printf("  %-20s %8llu %8s %8s %8s %8s %8s", phase_help[i], h->count,
		       fmt_ns(hist_percentile(h, 500)), fmt_ns(hist_percentile(h, 900)),
		       fmt_ns(hist_percentile(h, 990)), fmt_ns(hist_percentile(h, 999)),
		       fmt_ns(h->max));
		if (i < PHASE_TOTAL && dir->phase[PHASE_TOTAL].sum)
			printf(" %4.0f%%", 100.0 * h->sum / dir->phase[PHASE_TOTAL].sum);
		putchar('\n');
	}
}

/* "4K", "8K to 12K" */
static const char *size_class(int i)
{
	__u64 low = PAGE_BYTES << i, high = (PAGE_BYTES << (i + 1)) - PAGE_BYTES;

	return low == high ? fmt_size(low) : fmt("%s to %s", fmt_size(low), fmt_size(high));
}

static const char *crowd_class(int i)
{
	return crowd_from(i) == 1ULL << i ? fmt("%llu", 1ULL << i) :
					     fmt("%llu to %llu", crowd_from(i), 1ULL << i);
}

static void print_costs(const char *head, const char *(*class)(int), const struct cost *c, int nr)
{
	int i;

	printf("  %-20s %8s %12s %10s %10s\n", head, "count", "total each", "lock each", "per page");
	for (i = 0; i < nr; i++) {
		if (!c[i].count)
			continue;
		printf("  %-20s %8llu %12s %10s %10s\n", class(i), c[i].count,
		       fmt_ns(c[i].ns / c[i].count), fmt_ns(c[i].wait_ns / c[i].count),
		       fmt_ns(c[i].pages ? c[i].ns / c[i].pages : 0));
	}
}

/* @live: counted by the kernel, which knows what has no end. */
void print_vm_stats(const char *title, const struct vm_stats *vm, __u64 interval_ns, bool live)
{
	const struct direction *dir;
	int d;

	printf("\nVM %s: %llu conversions, %.1f/s\n", title,
	       vm->dir[0].conversions + vm->dir[1].conversions,
	       (vm->dir[0].conversions + vm->dir[1].conversions) * 1e9 / interval_ns);
	printf("  asked by %llu hypercalls, %llu memory faults", vm->hypercalls, vm->faults);
	if (live)
		printf("; %llu requests not answered", vm->unanswered);
	printf("\n  %llu conversions answer a request, %llu were not asked for", vm->joined,
	       vm->unasked);
	if (live)
		printf("; %lld now", vm->converting);
	putchar('\n');
	if (vm->noops || vm->failed || vm->partial)
		printf("  besides, %llu calls changed nothing, %llu failed, %llu began untraced\n",
		       vm->noops, vm->failed, vm->partial);
	for (d = 1; d >= 0; d--) {
		dir = &vm->dir[d];
		if (!dir->conversions && !dir->phase[PHASE_TOTAL].count)
			continue;
		printf("to %s: %llu conversions, %.1f/s, %s\n", dir_names[d], dir->conversions,
		       dir->conversions * 1e9 / interval_ns, fmt_size(dir->pages * PAGE_BYTES));
		print_phases(dir);
		print_costs("range size", size_class, dir->by_size, NR_SIZES);
		print_costs("vCPUs at once", crowd_class, dir->by_crowd, NR_CROWDS);
	}
}

/* ---- Reports ---- */

static void add_costs(struct cost *sum, const struct cost *c, int nr)
{
	for (; nr--; c++, sum++) {
		sum->count += c->count;
		sum->pages += c->pages;
		sum->ns += c->ns;
		sum->wait_ns += c->wait_ns;
	}
}

static void merge(struct vm_stats *sum, const struct vm_stats *vm)
{
	int d, p;

	sum->hypercalls += vm->hypercalls;
	sum->faults += vm->faults;
	sum->noops += vm->noops;
	sum->failed += vm->failed;
	sum->joined += vm->joined;
	sum->unasked += vm->unasked;
	sum->unanswered += vm->unanswered;
	sum->partial += vm->partial;
	for (d = 0; d < 2; d++) {
		sum->dir[d].conversions += vm->dir[d].conversions;
		sum->dir[d].pages += vm->dir[d].pages;
		for (p = 0; p < NR_PHASES; p++)
			hist_add_all(&sum->dir[d].phase[p], &vm->dir[d].phase[p]);
		add_costs(sum->dir[d].by_size, vm->dir[d].by_size, NR_SIZES);
		add_costs(sum->dir[d].by_crowd, vm->dir[d].by_crowd, NR_CROWDS);
	}
}

/*
 * The VM has ended: take its counters out of the kernel, where room is limited. Here it is limited
 * as well: what is too much goes into one sum, as VM 0.
 */
static void retire(__u32 tgid)
{
	struct vm_stats *vm = xalloc(sizeof(*vm)), *sum;

	if (!tracer_take_vm(tgid, vm)) {
		forget_cost_hists(vm);
		vm->converting = 0;
		sum = find_vm(&gone, tgid);
		if (sum) {
			merge(sum, vm);
		} else if (gone.nr < MAX_GONE) {
			append(&gone, tgid, vm);
		} else if (vm_info(tgid, vm->comm)->wanted) {
			/* Without what was told of it as a VM of its own */
			sum = find_vm(&last, tgid);
			if (sum)
				subtract(vm, sum);
			forget_vm(&last, tgid);
			sum = find_vm(&gone, 0);
			if (sum)
				merge(sum, vm);
			else
				append(&gone, 0, vm);
		}
	}
	free(vm);
}

/* See who is there, while they are, and who is not any more. */
void conversions_look(void)
{
	static __u64 next;
	__u32 *tgids;
	int i, nr;

	nr = tracer_vm_list(&tgids);
	for (i = 0; i < nr; i++) {
		const struct vm_info *vm = vm_info(tgids[i], NULL);

		if (vm->gone)
			retire(tgids[i]);
	}
	free(tgids);
	/* One that is gone now may have been counted since: it is taken at the next look. */
	if (now_ns() >= next) {
		vms_refresh();
		next = now_ns() + NSEC_PER_SEC;
	}
}

static void tell(vm_fn fn, __u32 tgid, const struct vm_stats *all)
{
	const struct vm_stats *earlier = find_vm(&last, tgid);
	struct vm_stats *since;

	if (!vm_info(tgid, all->comm)->wanted)
		return;
	since = xalloc(sizeof(*since));
	*since = *all;
	if (earlier)
		subtract(since, earlier);
	fn(tgid, all, since);
	free(since);
}

/*
 * Hand each VM that is wanted to @fn: all that it did, and what it did since the last time. One
 * that has ended comes before what the kernel has counted of it since, which is counted anew.
 */
void conversions_since(vm_fn fn)
{
	struct vm_stats *vm = xalloc(sizeof(*vm)), *earlier;
	__u32 *tgids;
	int i, nr;

	conversions_look();
	for (i = 0; i < gone.nr; i++) {
		tell(fn, gone.tgids[i], &gone.vms[i]);
		forget_vm(&last, gone.tgids[i]);
		vms_forget(gone.tgids[i]);
	}
	free_snapshot(&gone);

	nr = tracer_vm_list(&tgids);
	for (i = 0; i < nr; i++) {
		if (tracer_vm(tgids[i], vm))
			continue;
		tell(fn, tgids[i], vm);
		earlier = find_vm(&last, tgids[i]);
		if (earlier)
			*earlier = *vm;
		else
			append(&last, tgids[i], vm);
	}
	free(tgids);
	free(vm);
}

/* The report that is made now: its VMs, and its interval. */
static json_object *report_vms;
static __u64 report_ns;

static void report_vm(__u32 tgid, const struct vm_stats *all __attribute__((unused)),
		      const struct vm_stats *vm)
{
	if (!happened(vm))
		return;
	if (opt.json)
		json_object_array_add(report_vms, stats_json(tgid, vm, report_ns));
	else
		print_vm_stats(vm_title(vm_info(tgid, vm->comm)), vm, report_ns, true);
}

static void report(__u64 interval_ns)
{
	json_object *root;

	if (!interval_ns) {
		conversions_look();
		return;
	}
	report_ns = interval_ns;
	report_vms = json_object_new_array();
	if (!opt.json)
		print_time();
	conversions_since(report_vm);
	if (!opt.json) {
		json_object_put(report_vms);
		print_losses();
		fflush(stdout);
		return;
	}
	root = json_report("conversions", interval_ns);
	json_object_object_add(root, "vms", report_vms);
	json_object_object_add(root, "cannot_show", lacks_json());
	json_object_object_add(root, "losses", losses_json());
	json_line(root);
}

/* What all VMs did since the beginning: to be told once, at the end. */
json_object *conversions_json(__u64 interval_ns)
{
	struct vm_stats *vm = xalloc(sizeof(*vm)), *earlier;
	json_object *vms = json_object_new_array();
	__u32 *tgids;
	int i, nr;

	nr = tracer_vm_list(&tgids);
	for (i = 0; i < nr; i++) {
		if (tracer_vm(tgids[i], vm) || !vm_info(tgids[i], vm->comm)->wanted)
			continue;
		earlier = find_vm(&gone, tgids[i]);
		if (earlier)
			merge(earlier, vm);
		else
			json_object_array_add(vms, stats_json(tgids[i], vm, interval_ns));
	}
	for (i = 0; i < gone.nr; i++) {
		if (vm_info(gone.tgids[i], gone.vms[i].comm)->wanted)
			json_object_array_add(vms, stats_json(gone.tgids[i], &gone.vms[i],
							      interval_ns));
	}
	free(tgids);
	free(vm);
	return vms;
}

static const char *const programs[] = { "conv_*", NULL };
static const char *const events[] = { "kvm_gmem_convert_end", NULL };

int cmd_conversions(void)
{
	const struct needs needs = { .programs = programs, .events = events, .vms = true };

	if (tracer_open(&needs, 0))
		return -1;
	return run_reports("conversions of guest memory", report, NULL);
}
