// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Metrics as text, in the format of OpenMetrics, and in the older one of Prometheus. What they are
 * stands in tables. Counters of "vm_metrics" are exported twice: as gmem_vm_NAME with the label
 * "vm", and their sum over all VMs that ever were as gmem_NAME.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include <bpf/libbpf.h>

#include "metrics.h"

const char *const openmetrics_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const char *const classic_type = "text/plain; version=0.0.4; charset=utf-8";

enum type {
	COUNTER,
	PAGES,		/* a counter of pages, exported in bytes */
	TIME,		/* a counter of ns, exported in seconds */
	HISTOGRAM,
	GAUGE,
	BYTES,		/* a gauge */
	INFO,
};

static struct {
	FILE *f;
	bool openmetrics;
	char name[96];		/* of the family */
	enum type type;
	int nr_labels;
} out;

/* ---- The formats ---- */

static const char *type_word(enum type type)
{
	switch (type) {
	case HISTOGRAM:
		return "histogram";
	case GAUGE:
	case BYTES:
		return "gauge";
	case INFO:
		return out.openmetrics ? "info" : "gauge";
	default:
		return "counter";
	}
}

static const char *unit_word(enum type type)
{
	switch (type) {
	case PAGES:
	case BYTES:
		return "bytes";
	case TIME:
	case HISTOGRAM:
		return "seconds";
	default:
		return NULL;
	}
}

/* What the name of a sample has behind that of its family. */
static const char *suffix(enum type type)
{
	switch (type) {
	case COUNTER:
	case PAGES:
	case TIME:
		return "_total";
	case INFO:
		return "_info";
	default:
		return "";
	}
}

/* In the older format, families are named as their samples are. */
static void family(const char *name, enum type type, const char *help)
{
	const char *behind = out.openmetrics ? "" : suffix(type);

	snprintf(out.name, sizeof(out.name), "gmem_%s", name);
	out.type = type;
	fprintf(out.f, "# HELP %s%s %s\n", out.name, behind, help);
	fprintf(out.f, "# TYPE %s%s %s\n", out.name, behind, type_word(type));
	if (out.openmetrics && unit_word(type))
		fprintf(out.f, "# UNIT %s %s\n", out.name, unit_word(type));
}

/* Length of the UTF-8 character that @s begins with; 0 if it is none. */
static int utf8_len(const unsigned char *s)
{
	static const __u32 least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	int i, len = *s < 0x80 ? 1 : *s >> 5 == 6 ? 2 : *s >> 4 == 14 ? 3 : *s >> 3 == 30 ? 4 : 0;
	__u32 c = len > 1 ? *s & (0x7f >> len) : *s;

	for (i = 1; i < len; i++) {
		if (s[i] >> 6 != 2)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	return len && c >= least[len] && c <= 0x10ffff && c >> 11 != 27 ? len : 0;
}

/* Names come from command lines: they may have anything in them, also what is no UTF-8. */
static void label(const char *key, const char *value)
{
	const unsigned char *s = (const unsigned char *)value;
	int len;

	fprintf(out.f, "%c%s=\"", out.nr_labels++ ? ',' : '{', key);
	for (; *s; s += len ? len : 1) {
		len = utf8_len(s);
		if (*s == '\n')
			fputs("\\n", out.f);
		else if (*s == '"' || *s == '\\')
			fprintf(out.f, "\\%c", *s);
		else if (len)
			fwrite(s, 1, len, out.f);
		else
			fputs("\xef\xbf\xbd", out.f);
	}
	putc('"', out.f);
}

/* A sample: begin, labels, value. */
static void begin(const char *behind)
{
	fprintf(out.f, "%s%s", out.name, behind);
	out.nr_labels = 0;
}

static void end_labels(void)
{
	fputs(out.nr_labels ? "} " : " ", out.f);
}

static void value(__u64 n)
{
	end_labels();
	fprintf(out.f, "%llu\n", n);
}

/* Exactly, as a decimal fraction; whole seconds are floats, too. */
static const char *seconds(__u64 ns)
{
	static char text[40];
	char *last;

	snprintf(text, sizeof(text), "%llu.%09llu", ns / NSEC_PER_SEC, ns % NSEC_PER_SEC);
	last = text + strlen(text) - 1;
	while (*last == '0' && last[-1] != '.')
		*last-- = '\0';
	return text;
}

static void value_ns(__u64 ns)
{
	end_labels();
	fprintf(out.f, "%s\n", seconds(ns));
}

/* ---- Tables ---- */

/* A dimension of an array of counters: what its places are called. */
struct dim {
	const char *label;
	const char *(*word)(unsigned int i);
	unsigned int nr;
	bool open;		/* the last place is for what has no word; told if used */
};

#define MAX_DIMS	2

struct metric {
	const char *name;
	enum type type;
	size_t offset;
	struct dim dims[MAX_DIMS];
	bool sparse;		/* nothing is told of what never happened */
	const char *help;
};

static const char *direction_word(unsigned int i)
{
	return dir_names[i];
}

static const char *phase_word(unsigned int i)
{
	return phase_names[i];
}

static const char *request_word(unsigned int i)
{
	return i ? "hypercall" : "memory_fault";
}

static const char *access_word(unsigned int i)
{
	static const char *const words[] = { "shared", "private", "prefault" };

	return words[i];
}

static const char *result_word(unsigned int i)
{
	static const char *const words[] = { "found", "allocated", "raced", "failed" };

	return words[i];
}

static const char *source_word(unsigned int i)
{
	return i < NR_SOURCES ? source_names[i] : "unknown";
}

static const char *outcome_word(unsigned int i)
{
	static const char *const words[] = { "as_asked", "fitted", "fell_back" };

	return words[i];
}

static const char *zeroed_word(unsigned int i)
{
	return i < NR_ZEROED ? zeroed_names[i] : "unknown";
}

static const char *free_word(unsigned int i)
{
	return i < NR_FREE ? free_names[i] : "unknown";
}

static const char *why_word(unsigned int i)
{
	return i < NR_WHY ? why_names[i] : "unknown";
}

static const char *op_word(unsigned int i)
{
	return i < NR_OPS ? op_names[i] : "unknown";
}

static const char *how_word(unsigned int i)
{
	return i ? "background" : "now";
}

static const char *done_word(unsigned int i)
{
	return i ? "failed" : "done";
}

static const char *shadow_word(unsigned int i)
{
	return i ? "true" : "false";
}

static const char *size_word(unsigned int i)
{
	return fmt("%llu", PAGE_BYTES << i);
}

static const char *crowd_word(unsigned int i)
{
	return fmt("%llu", 1ULL << i);
}

static const char *order_word(unsigned int i)
{
	return fmt("%u", i);
}

#define DIRECTION	{ "direction", direction_word, 2, false }
#define PHASE		{ "phase", phase_word, NR_PARTS, false }
#define ACCESS		{ "access", access_word, NR_ACCESS, false }
#define RESULT		{ "result", result_word, NR_RESULTS, false }
#define SIZE		{ "min_bytes", size_word, NR_SIZES, false }
#define CROWD		{ "max_vcpus", crowd_word, NR_CROWDS, false }
#define WHY		{ "why", why_word, NR_WHY + 1, true }
#define OP		{ "op", op_word, NR_OPS + 1, true }
#define SHADOW		{ "shadow", shadow_word, 2, false }

#define OF_VM(member)		offsetof(struct vm_counts, member)
#define OF_HOST(member)		offsetof(struct host_counts, member)
#define OF_POLICY(member)	offsetof(struct policy_counts, member)

static const struct metric vm_metrics[] = {
	{ "conversions", COUNTER, OF_VM(conversions), { DIRECTION }, false,
	  "Conversions of memory between private and shared that changed something." },
	{ "converted_bytes", PAGES, OF_VM(converted_pages), { DIRECTION }, false,
	  "Memory that was converted." },
	{ "conversion_duration_seconds", HISTOGRAM, OF_VM(conversion), { DIRECTION }, false,
	  "From the exit of the vCPU that asked until it runs again." },
	{ "conversion_phase_seconds", TIME, OF_VM(phase_ns), { DIRECTION, PHASE }, false,
	  "Time that conversions spent in each phase; the sum of the phases is their duration." },
	{ "conversion_requests", COUNTER, OF_VM(requests), { { "how", request_word, 2, false } },
	  false, "Requests of vCPUs to convert memory." },
	{ "conversion_requests_unanswered", COUNTER, OF_VM(unanswered), { }, false,
	  "Requests whose vCPU ran again without a conversion." },
	{ "conversions_unasked", COUNTER, OF_VM(unasked), { }, false,
	  "Conversions that no vCPU asked for." },
	{ "conversions_partial", COUNTER, OF_VM(partial), { }, false,
	  "Conversions that had begun when tracing began; they have no duration." },
	{ "conversion_noops", COUNTER, OF_VM(noops), { }, false,
	  "Calls to convert memory that changed nothing." },
	{ "conversion_failures", COUNTER, OF_VM(failed), { }, false,
	  "Calls to convert memory that failed." },
	{ "faults", COUNTER, OF_VM(faults), { ACCESS, RESULT }, false,
	  "Faults on guest memory, by what they found." },
	{ "fault_sources", COUNTER, OF_VM(fault_sources),
	  { { "source", source_word, NR_SOURCES + 1, true } }, false,
	  "Faults that mapped memory, by where its content comes from." },
	{ "zeroed_bytes", PAGES, OF_VM(zeroed_pages),
	  { { "when", zeroed_word, NR_ZEROED + 1, true } }, false, "Memory that was zeroed." },
	{ "allocated_bytes", PAGES, OF_VM(allocated_pages), { }, false,
	  "Memory that was allocated." },
	{ "freed_bytes", PAGES, OF_VM(freed_pages), { { "mode", free_word, NR_FREE + 1, true } },
	  false, "Memory that was given back." },
	{ "allocation_failures", COUNTER, OF_VM(alloc_failed), { }, false,
	  "Allocations that found no memory." },
};

static const struct metric host_metrics[] = {
	{ "conversion_phase_duration_seconds", HISTOGRAM, OF_HOST(phase), { DIRECTION, PHASE },
	  false, "How long each phase of a conversion took." },
	{ "first_fault_duration_seconds", HISTOGRAM, OF_HOST(first_fault), { }, false,
	  "Handling the first fault on what a conversion made private." },
	{ "conversion_size_conversions", COUNTER, OF_HOST(size_conversions), { DIRECTION, SIZE },
	  false, "Conversions of at least so many bytes, and less than twice as many." },
	{ "conversion_size_bytes", PAGES, OF_HOST(size_pages), { DIRECTION, SIZE }, false,
	  "Memory that they converted." },
	{ "conversion_size_seconds", TIME, OF_HOST(size_ns), { DIRECTION, SIZE }, false,
	  "Time that they took." },
	{ "conversion_vcpus_conversions", COUNTER, OF_HOST(crowd_conversions),
	  { DIRECTION, CROWD }, false,
	  "Conversions while at most so many vCPUs, and more than half as many, converted." },
	{ "conversion_vcpus_bytes", PAGES, OF_HOST(crowd_pages), { DIRECTION, CROWD }, false,
	  "Memory that they converted." },
	{ "conversion_vcpus_seconds", TIME, OF_HOST(crowd_ns), { DIRECTION, CROWD }, false,
	  "Time that they took." },
	{ "conversion_vcpus_lock_seconds", TIME, OF_HOST(crowd_lock_ns), { DIRECTION, CROWD },
	  false, "Time of it that they waited for slots_lock." },
	{ "fault_duration_seconds", HISTOGRAM, OF_HOST(fault), { ACCESS, RESULT }, false,
	  "Handling a fault on guest memory." },
	{ "zero_duration_seconds", HISTOGRAM, OF_HOST(zero),
	  { { "when", zeroed_word, NR_ZEROED + 1, true } }, false, "Zeroing memory once." },
	{ "allocation_duration_seconds", HISTOGRAM, OF_HOST(alloc),
	  { { "order", order_word, NR_ORDERS, false } }, true,
	  "Allocating a folio of that order, without zeroing." },
	{ "allocations", COUNTER, OF_HOST(allocs),
	  { WHY, { "outcome", outcome_word, NR_OUTCOMES, false } }, true,
	  "Allocations, by whether a folio is as large as the policy asked." },
	{ "populated_bytes", PAGES, OF_HOST(populated_pages), { { "how", how_word, 2, false } },
	  false, "Memory that was populated ahead of its use." },
	{ "folio_splits", COUNTER, OF_HOST(splits), { { "result", done_word, 2, false } }, false,
	  "Large folios that a hole was punched into." },
	{ "folio_collapses", COUNTER, OF_HOST(collapses), { { "result", done_word, 2, false } },
	  false, "Small folios that were made a large one again." },
};

static const struct metric policy_metrics[] = {
	{ "policy_decisions", COUNTER, OF_POLICY(decisions), { OP, SHADOW }, false,
	  "Decisions of a policy." },
	{ "policy_decisions_fitted", COUNTER, OF_POLICY(fitted), { OP, SHADOW }, false,
	  "Decisions that did not fit as they were." },
	{ "policy_decisions_clamped", COUNTER, OF_POLICY(clamped), { OP, SHADOW }, false,
	  "Decisions that were nonsense and were corrected." },
	{ "policy_attached", COUNTER, OF_POLICY(attached), { }, false,
	  "How often the policy was loaded." },
	{ "policy_detached", COUNTER, OF_POLICY(detached), { }, false,
	  "How often the policy was unloaded or replaced." },
	{ "policy_tripped", COUNTER, OF_POLICY(tripped), { }, false,
	  "How often the kernel disabled the policy for its decisions." },
};

/* ---- Samples of the tables ---- */

/* Whose counters these are: a label, or none. */
struct owner {
	const char *key;
	const char *value;
	const void *counts;
};

struct place {
	const struct metric *metric;
	const struct owner *owner;
	unsigned int at[MAX_DIMS];
};

static void begin_place(const struct place *p, const char *behind)
{
	const struct dim *dim = p->metric->dims;
	int i;

	begin(behind);
	if (p->owner->key)
		label(p->owner->key, p->owner->value);
	for (i = 0; i < MAX_DIMS && dim[i].label; i++)
		label(dim[i].label, dim[i].word(p->at[i]));
}

static __u64 histogram_count(const struct histogram *h)
{
	__u64 count = 0;
	int i;

	for (i = 0; i <= NR_LE; i++)
		count += h->bucket[i];
	return count;
}

static void histogram(const struct place *p, const struct histogram *h)
{
	__u64 count = 0;
	int i;

	for (i = 0; i <= NR_LE; i++) {
		count += h->bucket[i];
		begin_place(p, "_bucket");
		label("le", i < NR_LE ? seconds((1ULL << (LE_FIRST_BIT + i)) - 1) : "+Inf");
		value(count);
	}
	begin_place(p, "_sum");
	value_ns(h->sum_ns);
	begin_place(p, "_count");
	value(count);
}

static bool is_unused(const struct place *p, const void *counter)
{
	const struct dim *dim = p->metric->dims;
	bool optional = p->metric->sparse;
	int i;

	for (i = 0; i < MAX_DIMS; i++)
		optional |= dim[i].open && p->at[i] == dim[i].nr - 1;
	if (!optional)
		return false;
	return p->metric->type == HISTOGRAM ? !histogram_count(counter) : !*(const __u64 *)counter;
}

static void sample(const struct place *p, const void *counter)
{
	if (is_unused(p, counter))
		return;
	if (p->metric->type == HISTOGRAM) {
		histogram(p, counter);
		return;
	}
	begin_place(p, suffix(p->metric->type));
	if (p->metric->type == TIME)
		value_ns(*(const __u64 *)counter);
	else
		value(*(const __u64 *)counter * (p->metric->type == PAGES ? PAGE_BYTES : 1));
}

static void samples(const struct metric *m, const struct owner *owner)
{
	struct place p = { .metric = m, .owner = owner };
	size_t size = m->type == HISTOGRAM ? sizeof(struct histogram) : sizeof(__u64);
	unsigned int inner = m->dims[1].nr ?: 1, nr = (m->dims[0].nr ?: 1) * inner, i;

	for (i = 0; i < nr; i++) {
		p.at[0] = i / inner;
		p.at[1] = i % inner;
		sample(&p, owner->counts + m->offset + i * size);
	}
}

static void host_families(const struct metric *metrics, size_t nr, const void *counts)
{
	const struct owner owner = { .counts = counts };
	size_t i;

	for (i = 0; i < nr; i++) {
		family(metrics[i].name, metrics[i].type, metrics[i].help);
		samples(&metrics[i], &owner);
	}
}

static void vm_families(const struct metrics *m)
{
	const struct metric *metric;
	struct owner owner;
	size_t i;
	int v;

	for (i = 0; i < ARRAY_SIZE(vm_metrics) && m->nr_vms; i++) {
		metric = &vm_metrics[i];
		family(fmt("vm_%s", metric->name), metric->type, metric->help);
		for (v = 0; v < m->nr_vms; v++) {
			owner = (struct owner) { "vm", m->vms[v].label, m->vms[v].counts };
			samples(metric, &owner);
		}
	}
}

static void policy_families(const struct metrics *m)
{
	const struct labelled_policy *policy;
	const struct metric *metric;
	struct owner owner;
	size_t i;
	int p;

	for (i = 0; i < ARRAY_SIZE(policy_metrics) && m->nr_policies; i++) {
		metric = &policy_metrics[i];
		family(metric->name, metric->type, metric->help);
		for (p = 0; p < m->nr_policies; p++) {
			policy = &m->policies[p];
			owner = (struct owner) { "policy", policy->label, policy->counts };
			samples(metric, &owner);
		}
	}
}

/* ---- Gauges ---- */

static __u64 processes_of(const struct gauges *g)
{
	return g->processes;
}

static __u64 converting_of(const struct gauges *g)
{
	return g->converting;
}

static __u64 private_of(const struct gauges *g)
{
	return g->private;
}

static __u64 shared_of(const struct gauges *g)
{
	return g->shared;
}

static __u64 doubly_min_of(const struct gauges *g)
{
	return g->doubly_min;
}

static __u64 doubly_max_of(const struct gauges *g)
{
	return g->doubly_max;
}

static const struct gauge {
	const char *name;
	enum type type;
	__u64 (*value)(const struct gauges *g);
	bool needs_private;
	bool needs_shared;
	const char *help;
} vm_gauges[] = {
	{ "processes", GAUGE, processes_of, false, false, "VMs that are there now." },
	{ "converting", GAUGE, converting_of, false, false,
	  "vCPUs that wait for a conversion now." },
	{ "memory_private_bytes", BYTES, private_of, true, false,
	  "Memory that is resident in guest_memfd." },
	{ "memory_shared_bytes", BYTES, shared_of, false, true,
	  "Memory of the VMM, present or swapped, at addresses of guest memory." },
	{ "memory_doubly_backed_min_bytes", BYTES, doubly_min_of, true, true,
	  "Guest memory that is backed by both, at least." },
	{ "memory_doubly_backed_max_bytes", BYTES, doubly_max_of, true, true,
	  "Guest memory that is backed by both, at most." },
};

static const struct {
	const char *name;
	size_t offset;
	const char *help;
} pool_gauges[] = {
	{ "pool_ready_bytes", offsetof(struct pool_gauge, ready),
	  "Zeroed memory of a node, in folios of that order, that is ready for guests to come." },
	{ "pool_dirty_bytes", offsetof(struct pool_gauge, dirty),
	  "Memory that such a pool has to zero first." },
};

static void pool_families(const struct metrics *m)
{
	unsigned int g;
	int i;

	for (g = 0; g < ARRAY_SIZE(pool_gauges) && m->nr_pools; g++) {
		family(pool_gauges[g].name, BYTES, pool_gauges[g].help);
		for (i = 0; i < m->nr_pools; i++) {
			begin("");
			label("node", fmt("%u", m->pools[i].node));
			label("order", fmt("%u", m->pools[i].order));
			value(*(const __u64 *)((const char *)&m->pools[i] + pool_gauges[g].offset));
		}
	}
}

static bool is_known(const struct gauge *gauge, const struct gauges *now)
{
	return (!gauge->needs_private || now->private_known) &&
	       (!gauge->needs_shared || now->shared_known);
}

static void gauge_families(const struct metrics *m)
{
	const struct gauge *g;
	bool any;
	int v;

	for (g = vm_gauges; g < vm_gauges + ARRAY_SIZE(vm_gauges); g++) {
		if (is_known(g, &m->now)) {
			family(g->name, g->type, g->help);
			begin("");
			value(g->value(&m->now));
		}
		for (any = false, v = 0; v < m->nr_vms; v++)
			any |= is_known(g, m->vms[v].now);
		if (!any)
			continue;
		family(fmt("vm_%s", g->name), g->type, g->help);
		for (v = 0; v < m->nr_vms; v++) {
			if (!is_known(g, m->vms[v].now))
				continue;
			begin("");
			label("vm", m->vms[v].label);
			value(g->value(m->vms[v].now));
		}
	}
}

/* ---- Of the exporter itself ---- */

static void lost(const char *what, __u64 n)
{
	begin("_total");
	label("what", what);
	value(n);
}

static void self_families(const struct metrics *m)
{
	struct utsname host;
	int i;

	uname(&host);
	family("trace_build", INFO, "The exporter, and the kernel that it runs on.");
	begin("_info");
	label("libbpf", libbpf_version_string());
	label("kernel", host.release);
	value(1);

	family("trace_start_time_seconds", GAUGE, "When counting began, in seconds since 1970.");
	begin("");
	value(m->start_time);

	family("trace_lost", COUNTER,
	       "What could not be counted: events that were dropped; events of VMs, of series and of threads that there was no room for; VMs that ended before it was known whether they are wanted.");
	lost("events", m->losses.dropped);
	lost("vms", m->losses.vms_full);
	lost("series", m->losses.series_full);
	lost("threads", m->losses.threads_full);
	lost("unknown_vms", m->unknown_vms);

	family("trace_textfile_errors", COUNTER, "How often the file could not be written.");
	begin("_total");
	value(m->textfile_errors);

	if (!tracer_lacks(0))
		return;
	family("trace_unavailable", GAUGE, "1 for what this kernel does not tell.");
	for (i = 0; tracer_lacks(i); i++) {
		begin("");
		label("what", tracer_lacks(i));
		value(1);
	}
}

/* The text, to be freed; NULL if there is no memory for it. */
char *expose(const struct metrics *m, bool openmetrics, size_t *len)
{
	char *text = NULL;

	out.f = open_memstream(&text, len);
	if (!out.f)
		return NULL;
	out.openmetrics = openmetrics;
	host_families(vm_metrics, ARRAY_SIZE(vm_metrics), &m->host->all);
	host_families(host_metrics, ARRAY_SIZE(host_metrics), m->host);
	vm_families(m);
	gauge_families(m);
	pool_families(m);
	policy_families(m);
	self_families(m);
	if (openmetrics)
		fputs("# EOF\n", out.f);
	if (fclose(out.f)) {
		free(text);
		return NULL;
	}
	return text;
}
