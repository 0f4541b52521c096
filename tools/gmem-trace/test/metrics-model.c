// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The counting of gmem-trace export against a model of it: VMs that start, work, end and start
 * again at random, in place of the kernel and of /proc. metrics-model STEPS SEED [MAX_VMS]
 *
 * After each look at the metrics: no series is smaller than it ever was; the host's counters are
 * those of the model, exactly; there are no more labels than allowed; histograms are whole. Without
 * MAX_VMS, also what HTTP clients may ask for is checked.
 */
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "../src/metrics.h"

const struct tool tool = { .name = "metrics-model" };
struct options opt;

#define NR_SLOTS	12	/* processes at a time */
#define NR_NAMES	20

/* What the kernel has of a process, and what is known of the process. */
struct sim {
	struct vm_info info;
	bool alive;
	bool in_kernel;
	struct vm_stats stats;
	struct series fault;
	bool has_fault;
	struct decisions decided;
	bool has_decided;
};

static struct sim sims[NR_SLOTS];
static struct vm_info infos[4096];
static int nr_infos;
static __u64 clock_ns = NSEC_PER_SEC, state;
static __u32 next_tgid = 100;

/* The model: of the host, since the beginning. */
static struct {
	__u64 conversions[2];
	__u64 pages[2];
	__u64 ns[2];
	__u64 hypercalls;
	__u64 faults;
	__u64 decisions;
} model;

static void die(const char *what, const char *detail)
{
	fprintf(stderr, "metrics-model: %s: %s\n", what, detail);
	exit(1);
}

static __u64 below(__u64 n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 16) % n;
}

/* ---- In place of the kernel and of /proc ---- */

static struct sim *sim_of(__u32 tgid)
{
	int i;

	for (i = 0; i < NR_SLOTS; i++) {
		if (sims[i].in_kernel && sims[i].info.tgid == tgid)
			return &sims[i];
	}
	return NULL;
}

__u64 __wrap_now_ns(void);
__u64 __wrap_now_ns(void)
{
	return clock_ns;
}

int __wrap_tracer_vm_list(__u32 **tgids);
int __wrap_tracer_vm_list(__u32 **tgids)
{
	int i, nr = 0;

	*tgids = xalloc(NR_SLOTS * sizeof(**tgids));
	for (i = 0; i < NR_SLOTS; i++) {
		if (sims[i].in_kernel && sims[i].stats.seen_ns)
			(*tgids)[nr++] = sims[i].info.tgid;
	}
	return nr;
}

int __wrap_tracer_vm(__u32 tgid, struct vm_stats *vm);
int __wrap_tracer_vm(__u32 tgid, struct vm_stats *vm)
{
	struct sim *s = sim_of(tgid);

	if (!s || !s->stats.seen_ns)
		return -1;
	*vm = s->stats;
	return 0;
}

int __wrap_tracer_take_vm(__u32 tgid, struct vm_stats *vm);
int __wrap_tracer_take_vm(__u32 tgid, struct vm_stats *vm)
{
	int err = __wrap_tracer_vm(tgid, vm);

	if (!err)
		memset(&sim_of(tgid)->stats, 0, sizeof(struct vm_stats));
	return err;
}

int __wrap_tracer_series(struct series_key **keys, struct series **values);
int __wrap_tracer_series(struct series_key **keys, struct series **values)
{
	int i, nr = 0;

	*keys = xalloc(NR_SLOTS * sizeof(**keys));
	*values = xalloc(NR_SLOTS * sizeof(**values));
	for (i = 0; i < NR_SLOTS; i++) {
		if (!sims[i].in_kernel || !sims[i].has_fault)
			continue;
		(*keys)[nr].tgid = sims[i].info.tgid;
		(*keys)[nr].kind = SERIES_FAULT;
		(*keys)[nr].c = FAULT_PRIVATE | FAULT_ALLOCATED;
		(*keys)[nr].d = SOURCE_POOL;
		(*values)[nr++] = sims[i].fault;
	}
	return nr;
}

int __wrap_tracer_take_series(const struct series_key *key, struct series *value);
int __wrap_tracer_take_series(const struct series_key *key, struct series *value)
{
	struct sim *s = sim_of(key->tgid);

	*value = s->fault;
	memset(&s->fault, 0, sizeof(s->fault));
	s->has_fault = false;
	return 0;
}

int __wrap_tracer_decisions(struct decision_key **keys, struct decisions **values);
int __wrap_tracer_decisions(struct decision_key **keys, struct decisions **values)
{
	int i, nr = 0;

	*keys = xalloc(NR_SLOTS * sizeof(**keys));
	*values = xalloc(NR_SLOTS * sizeof(**values));
	for (i = 0; i < NR_SLOTS; i++) {
		if (!sims[i].in_kernel || !sims[i].has_decided)
			continue;
		/* more policies than have labels */
		snprintf((*keys)[nr].name, NAME_LEN, "policy_%u", sims[i].info.tgid % 90);
		(*keys)[nr].tgid = sims[i].info.tgid;
		(*values)[nr++] = sims[i].decided;
	}
	return nr;
}

int __wrap_tracer_take_decisions(const struct decision_key *key, struct decisions *value);
int __wrap_tracer_take_decisions(const struct decision_key *key, struct decisions *value)
{
	struct sim *s = sim_of(key->tgid);

	*value = s->decided;
	memset(&s->decided, 0, sizeof(s->decided));
	s->has_decided = false;
	return 0;
}

void __wrap_tracer_losses(struct losses *losses);
void __wrap_tracer_losses(struct losses *losses)
{
	memset(losses, 0, sizeof(*losses));
}

const struct vm_info *__wrap_vm_info(__u32 tgid, const char *comm);
const struct vm_info *__wrap_vm_info(__u32 tgid, const char *comm)
{
	struct sim *s = sim_of(tgid);
	int i;

	for (i = 0; i < nr_infos; i++) {
		if (infos[i].tgid == tgid)
			return &infos[i];
	}
	infos[nr_infos] = s->info;
	infos[nr_infos].gone = !s->alive;
	if (!s->alive) {
		*infos[nr_infos].name = '\0';
		snprintf(infos[nr_infos].comm, sizeof(s->info.comm), "%s", comm ?: "?");
	}
	return &infos[nr_infos++];
}

void __wrap_vms_refresh(void);
void __wrap_vms_refresh(void)
{
	struct sim *s;
	int i;

	for (i = 0; i < nr_infos; i++) {
		s = sim_of(infos[i].tgid);
		infos[i].gone |= !s || !s->alive;
	}
}

void __wrap_vms_forget(__u32 tgid);
void __wrap_vms_forget(__u32 tgid)
{
	int i;

	for (i = 0; i < nr_infos; i++) {
		if (infos[i].tgid == tgid)
			infos[i--] = infos[--nr_infos];
	}
}

/* ---- What happens ---- */

static const char *const odd_names[] = {
	"quo\"te", "back\\slash", "new\nline", "b\303\274ro", "broken\303", "\355\240\200", "other",
};

static void start_vm(struct sim *s)
{
	unsigned int n = below(NR_NAMES);

	/* Its place is taken when nothing of the one before is left in the kernel. */
	if (s->alive || (s->in_kernel && (s->stats.seen_ns || s->has_fault || s->has_decided)))
		return;
	memset(s, 0, sizeof(*s));
	s->alive = true;
	s->in_kernel = true;
	s->info.tgid = next_tgid++;
	s->info.wanted = true;
	snprintf(s->info.comm, sizeof(s->info.comm), "vmm");
	if (n < ARRAY_SIZE(odd_names))
		snprintf(s->info.name, sizeof(s->info.name), "%s", odd_names[n]);
	else if (n < NR_NAMES - 4)
		snprintf(s->info.name, sizeof(s->info.name), "web-%u", n);
	if (below(2)) {
		struct event e = { .tgid = s->info.tgid, .type = EV_CREATE };

		metrics_event(&e);
	}
}

/* Any number of digits is as likely as any other. */
static __u64 some_ns(void)
{
	return below(1ULL << (1 + below(38)));
}

static void convert(struct sim *s)
{
	int d = below(2);
	__u64 ns = some_ns(), pages = 1 + below(512);
	struct direction *dir = &s->stats.dir[d];

	s->stats.seen_ns = clock_ns;
	dir->conversions++;
	dir->pages += pages;
	s->stats.hypercalls++;
	hist_add_value(&dir->phase[PHASE_TOTAL], ns);
	hist_add_value(&dir->phase[PHASE_WAIT], ns);
	dir->by_size[0].count++;
	model.conversions[d]++;
	model.pages[d] += pages;
	model.ns[d] += ns;
	model.hypercalls++;
}

static void fault(struct sim *s)
{
	s->has_fault = true;
	hist_add_value(&s->fault.ns, some_ns());
	model.faults++;
}

static void decide(struct sim *s)
{
	s->has_decided = true;
	s->decided.count++;
	model.decisions++;
}

/* After its process has ended, too: memory is freed, and background work goes on. */
static void work(struct sim *s)
{
	if (!s->in_kernel || (!s->alive && !s->stats.seen_ns && !s->has_fault))
		return;
	switch (below(3)) {
	case 0:
		if (s->alive)
			convert(s);
		break;
	case 1:
		fault(s);
		break;
	default:
		decide(s);
	}
}

static void step(void)
{
	struct sim *s = &sims[below(NR_SLOTS)];

	clock_ns += below(NSEC_PER_SEC / 4);
	switch (below(8)) {
	case 0:
		start_vm(s);
		break;
	case 1:
		if (!below(3))
			s->alive = false;
		break;
	default:
		work(s);
	}
	if (!below(3))
		metrics_look();
}

/* ---- Checks ---- */

struct seen {
	char *series;
	__u64 units;		/* value in 1e-9 */
	__u64 at;		/* the look at which it was there */
};

static void *all_seen;
static __u64 nr_looks;

static int compare_seen(const void *a, const void *b)
{
	return strcmp(((const struct seen *)a)->series, ((const struct seen *)b)->series);
}

static struct seen *see(const char *series)
{
	struct seen key = { .series = (char *)series }, *new;
	struct seen **found = tfind(&key, &all_seen, compare_seen);

	if (found)
		return *found;
	new = xalloc(sizeof(*new));
	new->series = strdup(series);
	tsearch(new, &all_seen, compare_seen);
	return new;
}

/* Exactly: doubles are too small for sums of ns. */
static __u64 parse_units(const char *text)
{
	char *end;
	__u64 units = strtoull(text, &end, 10) * NSEC_PER_SEC, digit = NSEC_PER_SEC;

	if (*end == '.') {
		for (end++; *end >= '0' && *end <= '9'; end++) {
			digit /= 10;
			units += (*end - '0') * digit;
		}
	}
	if (*end || end == text)
		die("no number", text);
	return units;
}

static __u64 value_of(const char *series)
{
	struct seen *s = see(series);

	if (s->at != nr_looks)
		die("missing", series);
	return s->units / NSEC_PER_SEC;
}

static void expect(const char *series, __u64 value)
{
	if (value_of(series) != value)
		die(series, fmt("%llu, not %llu", value_of(series), value));
}

static bool is_counter(const char *series)
{
	size_t len = strcspn(series, "{");
	static const char *const ends[] = { "_total", "_bucket", "_sum", "_count" };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ends); i++) {
		if (len > strlen(ends[i]) &&
		    !strncmp(series + len - strlen(ends[i]), ends[i], strlen(ends[i])))
			return true;
	}
	return false;
}

static __u64 labels, bucket, vm_sum;

/* One sample: lines come in order, so that a histogram's buckets follow each other. */
static void check_sample(char *line)
{
	char *space = strrchr(line, ' ');
	struct seen *s;
	__u64 units;

	if (!space)
		die("no sample", line);
	*space = '\0';
	units = parse_units(space + 1);
	s = see(line);
	if (s->at == nr_looks)
		die("twice", line);
	if (is_counter(line) && units < s->units)
		die("decreased", fmt("%s from %llu to %llu", line, s->units, units));
	s->units = units;
	s->at = nr_looks;
	if (strstr(line, "_bucket{")) {
		if (units < bucket)
			die("not cumulative", line);
		bucket = strstr(line, "le=\"+Inf\"") ? 0 : units;
		if (!bucket && units != parse_units(space + 1))
			die("+Inf", line);
	}
	if (!strncmp(line, "gmem_vm_processes{", 18))
		labels++;
	if (!strncmp(line, "gmem_vm_conversions_total{", 26))
		vm_sum += units / NSEC_PER_SEC;
}

/* The count of a histogram is what its last bucket has. */
static void check_count(const void *node, VISIT visit, int depth)
{
	const struct seen *s = *(const struct seen *const *)node;
	size_t len = strcspn(s->series, "{");
	const char *name, *inner;
	char *bucket_name;

	if ((visit != postorder && visit != leaf) || depth < 0 || s->at != nr_looks ||
	    strncmp(s->series + len - 6, "_count", 6))
		return;
	name = fmt("%.*s", (int)len - 6, s->series);
	inner = s->series[len] ? s->series + len + 1 : "}";
	if (asprintf(&bucket_name, "%s_bucket{%.*s%sle=\"+Inf\"}", name, (int)strlen(inner) - 1,
		     inner, *inner == '}' ? "" : ",") < 0)
		abort();
	if (see(bucket_name)->at != nr_looks || see(bucket_name)->units != s->units)
		die("+Inf is not _count", s->series);
	free(bucket_name);
}

static __u64 decisions_sum;

static void sum_decisions(const void *node, VISIT visit, int depth)
{
	const struct seen *s = *(const struct seen *const *)node;

	if ((visit == postorder || visit == leaf) && depth >= 0 && s->at == nr_looks &&
	    !strncmp(s->series, "gmem_policy_decisions_total{", 28))
		decisions_sum += s->units / NSEC_PER_SEC;
}

static void check_model(unsigned int max_vms)
{
	const char *label;
	struct seen *s;
	int d;

	for (d = 0; d < 2; d++) {
		label = fmt("{direction=\"%s\"}", dir_names[d]);
		expect(fmt("gmem_conversions_total%s", label), model.conversions[d]);
		expect(fmt("gmem_converted_bytes_total%s", label), model.pages[d] * PAGE_BYTES);
		expect(fmt("gmem_conversion_duration_seconds_count%s", label),
		       model.conversions[d]);
		s = see(fmt("gmem_conversion_duration_seconds_sum%s", label));
		if (s->units != model.ns[d])
			die(s->series, "is not exact");
	}
	expect("gmem_conversion_requests_total{how=\"hypercall\"}", model.hypercalls);
	expect("gmem_faults_total{access=\"private\",result=\"allocated\"}", model.faults);
	expect("gmem_fault_sources_total{source=\"pool\"}", model.faults);
	expect("gmem_fault_duration_seconds_count{access=\"private\",result=\"allocated\"}",
	       model.faults);
	decisions_sum = 0;
	twalk(all_seen, sum_decisions);
	if (decisions_sum != model.decisions)
		die("decisions", fmt("%llu, not %llu", decisions_sum, model.decisions));
	if (labels > max_vms + 1)
		die("labels", fmt("%llu", labels));
	if (max_vms == MAX_VMS && vm_sum != model.conversions[0] + model.conversions[1])
		die("VMs", fmt("%llu conversions", vm_sum));
}

static void check(unsigned int max_vms)
{
	static struct metrics m;
	char *text, *line, *next;
	size_t len;

	metrics_collect(&m);
	text = expose(&m, false, &len);
	nr_looks++;
	labels = 0;
	vm_sum = 0;
	for (line = text; *line; line = next) {
		next = strchr(line, '\n') + 1;
		next[-1] = '\0';
		if (*line != '#')
			check_sample(line);
	}
	free(text);
	twalk(all_seen, check_count);
	check_model(max_vms);
}

/* What comes of a header. */
static void check_accept(void)
{
	static const struct {
		const char *accept;
		bool openmetrics;
	} cases[] = {
		{ NULL, false }, { "", false }, { "*/*", false }, { "text/plain", false },
		{ "application/openmetrics-text", true },
		{ "Application/OpenMetrics-Text; version=1.0.0", true },
		{ "application/openmetrics-text-x", false },
		{ "application/openmetrics-text;version=1.0.0;q=0", false },
		{ "application/openmetrics-text;version=2.0.0", false },
		{ "application/openmetrics-text;q=0.2,text/plain;q=0.5", false },
		{ "text/plain;q=0.3, application/openmetrics-text;q=0.6", true },
		/* Prometheus 2, Prometheus 3 */
		{
			"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
			true
		}, {
			"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
			true
		},
	};
	static const char *const addresses[] = { "127.0.0.1:0", "[::1]:10920", "localhost:80" };
	static const char *const none[] = {
		"", ":", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536",
		"127.0.0.1:-1", "::1:80", "[]:80", "[::1:80", "127.0.0.1:80x",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		if (http_wants_openmetrics(cases[i].accept) != cases[i].openmetrics)
			die("Accept", cases[i].accept ?: "none");
	}
	for (i = 0; i < ARRAY_SIZE(addresses); i++) {
		if (!http_address_valid(addresses[i]))
			die("an address is refused", addresses[i]);
	}
	for (i = 0; i < ARRAY_SIZE(none); i++) {
		if (http_address_valid(none[i]))
			die("an address is taken", none[i]);
	}
}

int main(int argc, char **argv)
{
	unsigned int max_vms = argc > 3 ? atoi(argv[3]) : MAX_VMS;
	long i, steps;

	if (argc < 3)
		die("usage", "metrics-model STEPS SEED [MAX_VMS]");
	steps = atol(argv[1]);
	state = atol(argv[2]) * 2 + 1;
	if (argc == 3)
		check_accept();
	metrics_begin(max_vms);
	for (i = 0; i < steps; i++) {
		step();
		if (!below(10))
			check(max_vms);
	}
	check(max_vms);
	printf("%ld steps, %llu looks, %u VMs, %llu labels\n", steps, nr_looks, next_tgid - 100,
	       labels);
	return 0;
}
