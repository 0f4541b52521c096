// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * gmem-trace report: a recording as a page, a drawing, text, or a trace for Perfetto. The file is
 * read twice: for its time, and for what happened in each part of it. What is kept does not grow
 * with the number of events.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report.h"

#define RET_PF_FIXED	5

const char *const fault_names[NR_FAULTS] = {
	[SOURCE_FOUND]		= "found",
	[SOURCE_FIRST_USE]	= "first_use",
	[SOURCE_ALLOC]		= "alloc",
	[SOURCE_POOL]		= "pool",
	[FAULTS_ALLOCATED]	= "allocated",
	[FAULTS_OTHER]		= "raced or failed",
};

static struct report_vm *find_vm(struct report *r, __u32 tgid)
{
	struct report_vm *vm;
	int i;

	for (i = 0; i < r->nr_vms; i++) {
		if (r->vms[i]->tgid == tgid)
			return r->vms[i];
	}
	if (r->nr_vms == MAX_REPORT_VMS)
		return NULL;
	vm = xalloc(sizeof(*vm));
	vm->tgid = tgid;
	snprintf(vm->name, sizeof(vm->name), "process");
	r->vms[r->nr_vms++] = vm;
	return vm;
}

const char *report_vm_name(const struct report *r, __u32 tgid)
{
	int i;

	for (i = 0; i < r->nr_vms; i++) {
		if (r->vms[i]->tgid == tgid)
			return fmt("%s (%u)", r->vms[i]->name, tgid);
	}
	return fmt("process %u", tgid);
}

/* What is missing, in the recording and here */
const char *report_losses(const struct report *r)
{
	const struct losses *l = &r->losses.kernel;

	return fmt("lost: %llu events dropped, %llu of VMs too many, %llu of threads, %llu of series too many; %llu VMs not known; not shown: %llu events of VMs and %llu conversions of vCPUs too many",
		   l->dropped, l->vms_full, l->threads_full, l->series_full, r->losses.unknown_vms,
		   r->other_vms, r->other_lanes);
}

static struct lane *find_lane(struct report *r, __u32 tgid, __u32 vcpu)
{
	struct lane *lane;
	int i;

	for (i = 0; i < r->nr_lanes; i++) {
		if (r->lanes[i]->tgid == tgid && r->lanes[i]->vcpu == vcpu)
			return r->lanes[i];
	}
	if (r->nr_lanes == MAX_LANES)
		return NULL;
	lane = xalloc(sizeof(*lane));
	lane->tgid = tgid;
	lane->vcpu = vcpu;
	r->lanes[r->nr_lanes++] = lane;
	return lane;
}

/* How long the recording is, ns; as a number that cannot overflow, whatever a file says. */
static double span_of(const struct report *r)
{
	return (double)(r->end - r->start) + 1;
}

static int bin_of(const struct report *r, __u64 ns)
{
	double at;

	if (ns < r->start)
		return 0;
	at = (double)(ns - r->start) / span_of(r) * NR_BINS;
	return at < NR_BINS ? (int)at : NR_BINS - 1;
}

/* ---- What happened ---- */

/* The time of one phase, in all bins that it is in. */
static void add_span(const struct report *r, struct lane *lane, int phase, __u64 from, __u64 ns)
{
	double width = span_of(r) / NR_BINS;
	int i, first = bin_of(r, from), last = bin_of(r, from + ns);

	if (first == last) {
		lane->ns[first][phase] += ns;
		return;
	}
	for (i = first; i <= last; i++) {
		double a = r->start + i * width, b = a + width;

		if (a < from)
			a = from;
		if (b > from + ns)
			b = from + ns;
		if (b > a)
			lane->ns[i][phase] += b - a;
	}
}

static int heat_row(__u64 ns)
{
	int bit = 0;

	while (bit < 31 && ns >> (bit + 1))
		bit++;
	/* Two rows for each power of two */
	return 2 * bit + (bit && (ns >> (bit - 1) & 1));
}

static void note_worst(struct report *r, const struct event *e)
{
	int i;

	if (r->nr_worst == NR_WORST && r->worst[NR_WORST - 1].v[CV_TOTAL] >= e->v[CV_TOTAL])
		return;
	i = r->nr_worst < NR_WORST ? r->nr_worst++ : NR_WORST - 1;
	for (; i && r->worst[i - 1].v[CV_TOTAL] < e->v[CV_TOTAL]; i--)
		r->worst[i] = r->worst[i - 1];
	r->worst[i].ns = e->ns;
	r->worst[i].tgid = e->tgid;
	memcpy(r->worst[i].v, e->v, sizeof(r->worst[i].v));
}

static void count_cost(struct cost *c, const struct event *e)
{
	c->count++;
	c->pages += e->v[CV_NR];
	c->ns += e->v[CV_TOTAL];
	c->wait_ns += e->v[CV_PHASE + PHASE_WAIT];
}

/* Phases that all conversions have, and the total */
static bool is_ioctl(int phase)
{
	return phase == PHASE_WAIT || phase == PHASE_ZAP || phase == PHASE_STORE ||
	       phase == PHASE_TOTAL;
}

static void count_conversion(struct report_vm *vm, const struct event *e)
{
	struct direction *dir = &vm->stats.dir[e->v[CV_TO_PRIVATE] & 1];
	bool asked = e->v[CV_ASKED];
	__u64 ns, pages;
	int p, size = 0;

	dir->conversions++;
	dir->pages += e->v[CV_NR];
	if (asked) {
		vm->stats.joined++;
		if (e->v[CV_HYPERCALL])
			vm->stats.hypercalls++;
		else
			vm->stats.faults++;
	} else {
		vm->stats.unasked++;
	}
	for (p = 0; p <= PHASE_TOTAL; p++) {
		ns = e->v[CV_PHASE + p];
		if (ns || (p != PHASE_PUNCH && p != PHASE_EXIT && p != PHASE_BACK &&
			   (asked || is_ioctl(p))))
			hist_add_value(&dir->phase[p], ns);
	}
	for (pages = e->v[CV_NR]; pages > 1 && size < NR_SIZES - 1; pages >>= 1)
		size++;
	count_cost(&dir->by_size[size], e);
	count_cost(&dir->by_crowd[e->v[CV_CROWD] < NR_CROWDS ? e->v[CV_CROWD] : NR_CROWDS - 1], e);
}

static void draw_conversion(struct report *r, const struct event *e)
{
	struct lane *lane = find_lane(r, e->tgid, e->v[CV_ASKED] ? e->v[CV_VCPU] : ~0U);
	__u64 at = e->ns - e->v[CV_TOTAL];
	int p;

	r->heat[bin_of(r, e->ns)][heat_row(e->v[CV_TOTAL])]++;
	note_worst(r, e);
	if (!lane) {
		r->other_lanes++;
		return;
	}
	lane->conversions++;
	for (p = 0; p < NR_DRAWN; p++) {
		add_span(r, lane, p, at, e->v[CV_PHASE + p]);
		at += e->v[CV_PHASE + p];
	}
}

/* Times of an event that cannot be: longer than the recording is old. */
static bool is_sane(const struct event *e)
{
	__u64 sum = 0;
	int p;

	if (e->words < CV_WORDS)
		return false;
	for (p = 0; p < NR_DRAWN; p++) {
		if (e->v[CV_PHASE + p] > e->ns)
			return false;
		sum += e->v[CV_PHASE + p];
	}
	return sum == e->v[CV_TOTAL] && sum <= e->ns;
}

/* Recordings had no source once, and have none where the kernel does not tell. */
static int fault_kind(const struct event *e)
{
	if ((__s64)e->v[8] < RET_PF_FIXED)
		return FAULTS_OTHER;
	if (e->words > 10 && e->v[10] < NR_SOURCES)
		return e->v[10];
	return e->v[5] ? FAULTS_ALLOCATED : SOURCE_FOUND;
}

static void on_fault(struct report *r, struct report_vm *vm, const struct event *e)
{
	int kind;

	if (e->words < 10)
		return;
	kind = fault_kind(e);
	hist_add_value(&vm->faults[kind], e->v[9]);
	r->faults[bin_of(r, e->ns)][kind]++;
}

static void on_zero(struct report *r, struct report_vm *vm, const struct event *e)
{
	if (e->words < 4 || e->v[2] >= NR_ZEROED)
		return;
	hist_add_value(&vm->zero[e->v[2]], e->v[3]);
	vm->zero_pages[e->v[2]] += e->v[1];
	r->zeroed[bin_of(r, e->ns)][e->v[2]] += e->v[1] * PAGE_BYTES;
}

/* What is not of a VM, but of whoever loads policies, or of the host */
static bool is_of_host(const struct event *e)
{
	return e->type == EV_POOL ||
	       (!e->id && e->type >= EV_POLICY_ATTACH && e->type <= EV_POLICY_DECISION);
}

static void on_event(struct report *r, const struct event *e)
{
	struct report_vm *vm;

	r->events[e->type]++;
	if (is_of_host(e))
		return;
	vm = find_vm(r, e->tgid);
	if (!vm) {
		r->other_vms++;
		return;
	}
	if (e->type == EV_CONVERSION && is_sane(e)) {
		count_conversion(vm, e);
		draw_conversion(r, e);
	} else if (e->type == EV_FIRST_FAULT && e->words >= 4) {
		hist_add_value(&vm->stats.dir[1].phase[PHASE_FAULT], e->v[3]);
	} else if (e->type == EV_FAULT) {
		on_fault(r, vm, e);
	} else if (e->type == EV_ZERO) {
		on_zero(r, vm, e);
	}
}

static void on_memory(struct report *r, const struct rec *rec)
{
	struct report_vm *vm = find_vm(r, rec->memory.tgid);
	int bin = bin_of(r, rec->memory.ns);

	if (!vm)
		return;
	if (rec->memory.known & REC_KNOWS_PRIVATE) {
		vm->has_private[bin] = true;
		vm->private[bin] = rec->memory.private;
	}
	if (rec->memory.known & REC_KNOWS_SHARED) {
		vm->has_shared[bin] = true;
		vm->shared[bin] = rec->memory.shared;
	}
}

/* Is the VM of this record what -p and --vm ask for? */
static bool is_named(const struct rec *rec)
{
	return (!opt.pid || opt.pid == rec->vm.tgid) && name_matches(rec->vm.name, rec->vm.tgid);
}

static bool is_wanted(const struct report *r, __u32 tgid)
{
	int i;

	if (opt.pid && opt.pid != tgid)
		return false;
	if (!opt.vm)
		return true;
	for (i = 0; i < r->nr_vms; i++) {
		if (r->vms[i]->tgid == tgid)
			return name_matches(r->vms[i]->name, tgid);
	}
	return false;
}

/* ---- Reading ---- */

static void read_times(struct report *r, struct rec_file *file)
{
	struct rec rec;
	__u64 ns, first;

	r->start = ~0ULL;
	while (rec_read(file, &rec)) {
		if (rec.type == REC_MEMORY)
			ns = rec.memory.ns;
		else if (rec.type < NR_EVENTS)
			ns = rec.event.ns;
		else
			continue;
		first = ns;
		if (rec.type == EV_CONVERSION && is_sane(&rec.event))
			first -= rec.event.v[CV_TOTAL];
		if (first < r->start)
			r->start = first;
		if (ns > r->end)
			r->end = ns;
	}
	if (r->start > r->end) {
		r->start = file->start_ns;
		r->end = file->start_ns;
	}
}

static void on_name(struct report *r, const struct rec *rec)
{
	struct report_vm *vm;

	if (!is_named(rec))
		return;
	vm = find_vm(r, rec->vm.tgid);
	if (vm)
		memcpy(vm->name, rec->vm.name, sizeof(vm->name));
}

static void read_records(struct report *r, struct rec_file *file)
{
	struct rec rec;

	while (rec_read(file, &rec)) {
		switch (rec.type) {
		case REC_VM:
			on_name(r, &rec);
			break;
		case REC_MEMORY:
			if (is_wanted(r, rec.memory.tgid))
				on_memory(r, &rec);
			break;
		case REC_LOSSES:
			r->losses = rec.losses;
			break;
		default:
			if (is_wanted(r, rec.event.tgid))
				on_event(r, &rec.event);
		}
	}
	r->records = file->records;
}

static int compare_lanes(const void *a, const void *b)
{
	const struct lane *x = *(struct lane *const *)a, *y = *(struct lane *const *)b;

	if (x->tgid != y->tgid)
		return x->tgid < y->tgid ? -1 : 1;
	return x->vcpu < y->vcpu ? -1 : x->vcpu > y->vcpu;
}

static int fail_damaged(const struct rec_file *file)
{
	return fail(EINVAL, "%s: record %llu is damaged", opt.file, file->records + 1);
}

static int open_recording(struct rec_file *file)
{
	const char *wrong = rec_open(file, opt.file);

	return wrong ? fail(EINVAL, "%s: %s", opt.file, wrong) : 0;
}

static int read_recording(struct report *r)
{
	struct rec_file file;

	if (open_recording(&file))
		return -1;
	r->file = opt.file;
	r->wall_ns = file.start_wall_ns;
	read_times(r, &file);
	if (file.end != REC_DAMAGED) {
		/* Wall time of the first event */
		r->wall_ns += r->start - file.start_ns;
		rec_rewind(&file);
		read_records(r, &file);
		qsort(r->lanes, r->nr_lanes, sizeof(*r->lanes), compare_lanes);
	}
	r->unfinished = file.end == REC_UNFINISHED;
	rec_close(&file);
	if (file.end == REC_DAMAGED)
		return fail_damaged(&file);
	if (r->unfinished)
		fprintf(stderr, "gmem-trace: %s is unfinished; this is what %llu records tell\n",
			opt.file, r->records);
	return 0;
}

/* ---- As text ---- */

static void print_times(const char *name, const struct hist *h, const char *amount)
{
	if (!h->count)
		return;
	printf("  %-20s %8llu %8s %8s %8s %8s %8s %s\n", name, h->count,
	       fmt_ns(hist_percentile(h, 500)), fmt_ns(hist_percentile(h, 900)),
	       fmt_ns(hist_percentile(h, 990)), fmt_ns(hist_percentile(h, 999)), fmt_ns(h->max),
	       amount);
}

static void print_report_vm(const struct report_vm *vm, __u64 ns)
{
	int i;

	print_vm_stats(fmt("%s (%u)", vm->name, vm->tgid), &vm->stats, ns, false);
	printf("faults and zeroing\n");
	for (i = 0; i < NR_FAULTS; i++)
		print_times(fmt("fault, %s", fault_names[i]), &vm->faults[i], "");
	for (i = 0; i < NR_ZEROED; i++)
		print_times(fmt("zero, %s", zeroed_names[i]), &vm->zero[i],
			    fmt_size(vm->zero_pages[i] * PAGE_BYTES));
}

static void print_worst(const struct report *r)
{
	const struct worst *w;
	int i, p;

	printf("\nlongest conversions\n  %10s %-24s %4s %-7s %9s %8s", "at", "VM", "vCPU", "to",
	       "size", "total");
	for (p = 0; p < NR_DRAWN; p++)
		printf(" %8s", phase_names[p]);
	putchar('\n');
	for (i = 0; i < r->nr_worst; i++) {
		w = &r->worst[i];
		printf("  %9.3fs %-24s %4s %-7s %9s %8s", (w->ns - r->start) / 1e9,
		       report_vm_name(r, w->tgid),
		       w->v[CV_ASKED] ? fmt("%llu", w->v[CV_VCPU]) : "-",
		       w->v[CV_TO_PRIVATE] ? "private" : "shared",
		       fmt_size(w->v[CV_NR] * PAGE_BYTES), fmt_ns(w->v[CV_TOTAL]));
		for (p = 0; p < NR_DRAWN; p++)
			printf(" %8s", fmt_ns(w->v[CV_PHASE + p]));
		putchar('\n');
	}
}

static void print_text(const struct report *r)
{
	int i;

	printf("%s: %llu records, %.3f s\n", r->file, r->records, (r->end - r->start) / 1e9);
	for (i = 0; i < r->nr_vms; i++)
		print_report_vm(r->vms[i], r->end - r->start + 1);
	if (r->nr_worst)
		print_worst(r);
	puts(report_losses(r));
}

/* ---- For Perfetto, and whatever reads Chrome's traces ---- */

static void print_slice(bool *first, const char *name, const struct event *e, double at, double ns)
{
	printf("%s\n{\"name\":\"%s\",\"cat\":\"gmem\",\"ph\":\"X\",\"ts\":%.3f,\"dur\":%.3f,\"pid\":%u,\"tid\":%lld}",
	       *first ? "" : ",", name, at / 1e3, ns / 1e3, e->tgid,
	       e->v[CV_ASKED] ? (__s64)e->v[CV_VCPU] : 1000000);
	*first = false;
}

static void print_slices(bool *first, const struct event *e, __u64 start)
{
	double at = e->ns - e->v[CV_TOTAL] - start;
	int p;

	print_slice(first, e->v[CV_TO_PRIVATE] ? "to private" : "to shared", e, at,
		    e->v[CV_TOTAL]);
	for (p = 0; p < NR_DRAWN; p++) {
		if (e->v[CV_PHASE + p])
			print_slice(first, phase_names[p], e, at, e->v[CV_PHASE + p]);
		at += e->v[CV_PHASE + p];
	}
}

static void print_process(bool *first, const struct rec *rec)
{
	json_object *name = json_object_new_string(rec->vm.name);

	printf("%s\n{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%u,\"args\":{\"name\":%s}}",
	       *first ? "" : ",", rec->vm.tgid, json_object_to_json_string(name));
	*first = false;
	json_object_put(name);
}

static int print_perfetto(const struct report *r)
{
	struct rec_file file;
	bool first = true;
	struct rec rec;

	if (open_recording(&file))
		return -1;
	printf("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[");
	while (rec_read(&file, &rec)) {
		if (rec.type == REC_VM && is_named(&rec))
			print_process(&first, &rec);
		else if (rec.type == EV_CONVERSION && is_sane(&rec.event) &&
			 is_wanted(r, rec.event.tgid))
			print_slices(&first, &rec.event, r->start);
	}
	rec_close(&file);
	printf("\n],\"otherData\":{\"lost\":\"%s\"}}\n", report_losses(r));
	return 0;
}

/* ---- The command ---- */

static int write_page(const struct report *r)
{
	char *name;
	FILE *f;
	int err;

	if (opt.output && !strcmp(opt.output, "-"))
		return write_html(r, stdout) ? fail(EIO, "the page cannot be written") : 0;
	if (asprintf(&name, "%s%s", opt.output ?: opt.file, opt.output ? "" : ".html") < 0)
		abort();
	f = fopen(name, "w");
	err = f ? write_html(r, f) : -errno;
	if (f && fclose(f) && !err)
		err = -errno;
	if (err)
		fail(-err, "%s cannot be written: %s", name, strerror(-err));
	else
		fprintf(stderr, "%s is the report\n", name);
	free(name);
	return err ? -1 : 0;
}

int cmd_report(void)
{
	struct report *r = xalloc(sizeof(*r));
	int ret = read_recording(r), i;

	if (!ret) {
		switch (opt.format) {
		case FORMAT_TEXT:
			print_text(r);
			break;
		case FORMAT_SVG:
			ret = write_svg(r, stdout);
			break;
		case FORMAT_PERFETTO:
			ret = print_perfetto(r);
			break;
		default:
			ret = write_page(r);
		}
	}
	for (i = 0; i < r->nr_vms; i++)
		free(r->vms[i]);
	for (i = 0; i < r->nr_lanes; i++)
		free(r->lanes[i]);
	free(r);
	return ret;
}
