// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The programs of gmem_trace.bpf.c in the kernel: loads those that a command needs and that this
 * kernel has tracepoints for, and reads what they count.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "gmem-trace.h"
#include "gmem_trace.skel.h"

static struct gmem_trace_bpf *skel;
static struct ring_buffer *ring;
static event_fn ring_fn;

/*
 * The tracepoints, their arguments, which programs take by position, and what is missing without
 * them. Of those that are not kvm_gmem's, programs use none.
 */
static const struct tracepoint {
	const char *name;
	const char *args;
	const char *lack;
} tracepoints[] = {
	{ "kvm_exit", "", "how long KVM takes to leave to the VMM (the phase 'exit')" },
	{ "kvm_entry", "", "the way back into the guest, and requests that nobody answered" },
	{ "sched_process_exit", "", "vCPUs that die while they wait for a conversion" },
	{ "kvm_gmem_create", "id tgid size flags", "files that are created" },
	{ "kvm_gmem_release", "id tgid", "files that are closed" },
	{ "kvm_gmem_bind", "id tgid slot gfn index nr", "memslots that are bound" },
	{ "kvm_gmem_unbind", "id tgid slot gfn index nr", "memslots that are unbound" },
	{ "kvm_gmem_alloc", "id tgid index gfn why asked fitted order node zero ret ns",
	  "allocations" },
	{ "kvm_gmem_zero", "id tgid index nr when ns", "zeroing" },
	{ "kvm_gmem_free", "id tgid index nr why mode pages failed ns", "memory that is freed" },
	{ "kvm_gmem_fault",
	  "id tgid vcpu gfn index order level allocated private prefetch ret ns",
	  "faults, and the first fault after a conversion" },
	{ "kvm_gmem_prealloc", "id tgid index nr why background done ret ns",
	  "memory populated ahead" },
	{ "kvm_gmem_fallocate", "id tgid index nr ret ns", "fallocate()" },
	{ "kvm_gmem_punch_hole", "id tgid index nr ret ns", "holes that are punched" },
	{ "kvm_gmem_invalidate", "id tgid index nr ret ns", "invalidations" },
	{ "kvm_gmem_error", "id tgid index nr ret ns", "memory errors" },
	{ "kvm_gmem_split", "id tgid index order why ret ns", "large folios that are split" },
	{ "kvm_gmem_collapse", "id tgid index order holes why ret ns",
	  "large folios that are made of small ones" },
	{ "kvm_gmem_convert_begin", "id tgid gfn nr attributes wait_ns", "phases of conversions" },
	{ "kvm_gmem_convert_end", "id tgid gfn nr attributes changed ret zap_ns ns",
	  "conversions" },
	{ "kvm_gmem_convert_request", "id tgid vcpu gfn nr to_private hypercall",
	  "requests, and the phases 'exit', 'think' and 'back'" },
	{ "kvm_gmem_policy_attach", "id tgid name policy cgroup_id flags uid comm tag",
	  "policies that are attached" },
	{ "kvm_gmem_policy_detach", "id tgid name policy reason", "policies that are detached" },
	{ "kvm_gmem_policy_trip", "id tgid name policy reason", "policies that are disabled" },
	{ "kvm_gmem_policy_decision",
	  "id tgid name op why index nr a b fitted clamped shadow", "what policies decide" },
	{ "kvm_gmem_pool", "node order action nr ready ns", "pools of zeroed memory" },
};

/* What each of them is missed for, and KVM. */
static const char *lacks[ARRAY_SIZE(tracepoints) + 1];
static unsigned int nr_lacks;

static const struct tracepoint *find_tracepoint(const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(tracepoints); i++) {
		if (!strcmp(tracepoints[i].name, name))
			return &tracepoints[i];
	}
	return NULL;
}

/* Types of the kernel, and of kvm.ko where KVM is a module. */
static struct btf *vmlinux_btf, *kvm_btf;

static int load_types(void)
{
	vmlinux_btf = btf__load_vmlinux_btf();
	if (!vmlinux_btf)
		return fail(errno, "the kernel's types (/sys/kernel/btf/vmlinux) cannot be read");
	kvm_btf = btf__load_module_btf("kvm", vmlinux_btf);
	return 0;
}

static void free_types(void)
{
	btf__free(kvm_btf);
	btf__free(vmlinux_btf);
	kvm_btf = NULL;
	vmlinux_btf = NULL;
}

/* Does the prototype begin with these arguments, behind one that is not the tracepoint's? */
static bool has_args(const struct btf *btf, const struct btf_type *proto, const char *args)
{
	const struct btf_param *p = btf_params(proto) + 1;
	int left = btf_vlen(proto) - 1;
	size_t len;

	for (; *args; args += len + (args[len] == ' '), p++, left--) {
		const char *name = left > 0 ? btf__name_by_offset(btf, p->name_off) : "";

		len = strcspn(args, " ");
		if (strlen(name) != len || strncmp(name, args, len))
			return false;
	}
	return true;
}

/*
 * Does the tracepoint exist, with the arguments that we know? Their names are those of the stub
 * that each tracepoint has for probes.
 */
static bool has_tracepoint_in(const struct btf *btf, const struct tracepoint *tp)
{
	const struct btf_type *t;
	int id;

	if (!btf)
		return false;
	id = btf__find_by_name_kind(btf, fmt("btf_trace_%s", tp->name), BTF_KIND_TYPEDEF);
	if (id < 0)
		return false;
	if (!*tp->args)
		return true;
	id = btf__find_by_name_kind(btf, fmt("__probestub_%s", tp->name), BTF_KIND_FUNC);
	if (id < 0)
		return false;
	t = btf__type_by_id(btf, btf__type_by_id(btf, id)->type);
	return t && btf_is_func_proto(t) && btf_vlen(t) && has_args(btf, t, tp->args);
}

/* Those of policies and of pools are there without CONFIG_GMEM_BPF, but nothing fires them. */
static bool is_dead(const struct tracepoint *tp)
{
	if (strncmp(tp->name, "kvm_gmem_policy_", strlen("kvm_gmem_policy_")) &&
	    strcmp(tp->name, "kvm_gmem_pool"))
		return false;
	return btf__find_by_name_kind(vmlinux_btf, "gmem_policy_ops", BTF_KIND_STRUCT) < 0;
}

static bool has_tracepoint(const struct tracepoint *tp)
{
	if (is_dead(tp))
		return false;
	return has_tracepoint_in(vmlinux_btf, tp) || has_tracepoint_in(kvm_btf, tp);
}

static void note_lack(const char *what)
{
	unsigned int i;

	for (i = 0; i < nr_lacks; i++) {
		if (!strcmp(lacks[i], what))
			return;
	}
	if (nr_lacks < ARRAY_SIZE(lacks))
		lacks[nr_lacks++] = what;
}

/* The i-th thing that this kernel does not tell, NULL after the last. */
const char *tracer_lacks(unsigned int i)
{
	return i < nr_lacks ? lacks[i] : NULL;
}

static bool matches(const char *const *patterns, const char *name)
{
	size_t len;

	for (; *patterns; patterns++) {
		len = strlen(*patterns);
		if ((*patterns)[len - 1] == '*' ? !strncmp(*patterns, name, len - 1) :
						  !strcmp(*patterns, name))
			return true;
	}
	return false;
}

static int fail_tracepoints(void)
{
	fail_hint("The kvm_gmem tracepoints come with the gmem-bpf patches, those of policies and pools are of use with CONFIG_GMEM_BPF only; 'ls /sys/kernel/tracing/events/kvm_gmem' shows those of this kernel.");
	return -1;
}

/* Choose programs: those that are wanted, and whose tracepoint is there. */
static int choose_programs(const struct needs *needs)
{
	const struct tracepoint *tp;
	struct bpf_program *prog;
	const char *section;
	bool any = false;
	int i;

	for (i = 0; needs->events[i]; i++) {
		if (has_tracepoint(find_tracepoint(needs->events[i])))
			continue;
		fail(EOPNOTSUPP, "this kernel has no tracepoint %s", needs->events[i]);
		return fail_tracepoints();
	}

	bpf_object__for_each_program(prog, skel->obj) {
		if (!matches(needs->programs, bpf_program__name(prog)))
			continue;
		section = strrchr(bpf_program__section_name(prog), '/') + 1;
		tp = find_tracepoint(section);
		if (tp && has_tracepoint(tp)) {
			bpf_program__set_autoload(prog, true);
			any |= !strncmp(section, "kvm_gmem_", strlen("kvm_gmem_"));
			continue;
		}
		note_lack(tp ? tp->lack : section);
		if (!strcmp(section, "kvm_entry"))
			skel->rodata->see_entry = false;
	}
	if (!any) {
		fail(EOPNOTSUPP, "this kernel has none of the tracepoints that tell this");
		return fail_tracepoints();
	}
	if (!kvm_btf && !has_tracepoint(find_tracepoint("kvm_entry")) &&
	    access("/dev/kvm", F_OK))
		note_lack("what needs KVM, which is not loaded (modprobe kvm_amd, or kvm_intel)");
	return 0;
}

static void size_map(struct bpf_map *map, bool needed)
{
	if (!needed)
		bpf_map__set_max_entries(map, 1);
}

static int on_ring(void *ctx __attribute__((unused)), void *data, size_t size)
{
	const struct event *e = data;

	if (size < sizeof(*e) || size < sizeof(*e) + e->words * sizeof(e->v[0]))
		return 0;
	return ring_fn ? ring_fn(e) : 0;
}

/* CAP_SYS_ADMIN, CAP_PERFMON and CAP_BPF */
#define CAPS		(1ULL << 21 | 1ULL << 38 | 1ULL << 39)

static bool is_privileged(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	unsigned long long caps = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "CapEff: %llx", &caps) == 1)
			break;
	}
	if (f)
		fclose(f);
	return (caps & CAPS) == CAPS;
}

/* The kernel refused programs. Without privileges, it says many things about why. */
int fail_load(int err)
{
	if (!is_privileged())
		err = -EPERM;
	fail(-err, "the programs cannot be loaded: %s", strerror(-err));
	if (err == -EPERM || err == -EACCES)
		fail_hint("Run it as root: it needs CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN.");
	else if (!opt.verbose)
		fail_hint("-v shows what the kernel says.");
	fail_log();
	return -1;
}

static int give(struct bpf_map *stack, __u32 place)
{
	return bpf_map__update_elem(stack, NULL, 0, &place, sizeof(place), 0);
}

static int fill_stacks(void)
{
	__u32 place;
	int err = 0;

	for (place = bpf_map__max_entries(skel->maps.vm_stats); place-- > 0 && !err; )
		err = give(skel->maps.free_slots, place);
	for (place = bpf_map__max_entries(skel->maps.cost_hists); place-- > 1 && !err; )
		err = give(skel->maps.free_hists, place);
	return err;
}

/* @emit: which of the events that are joined from others are told, a bit each. */
int tracer_open(const struct needs *needs, __u32 emit)
{
	int err;

	log_begin();
	if (load_types())
		return -1;
	skel = gmem_trace_bpf__open();
	if (!skel)
		return fail_load(-errno);
	skel->rodata->only_tgid = opt.pid;
	skel->rodata->emit_events = emit;
	skel->rodata->cost_latencies = needs->cost_latencies;
	skel->rodata->free_latencies = needs->free_latencies;
	skel->rodata->fault_sources = matches(needs->programs, "source_alloc");
	err = choose_programs(needs);
	free_types();
	if (err)
		return -1;
	size_map(skel->maps.vms, needs->vms);
	size_map(skel->maps.vm_stats, needs->vms);
	size_map(skel->maps.cost_hists, needs->cost_latencies);
	size_map(skel->maps.series, needs->series);
	size_map(skel->maps.decisions, needs->decisions);
	bpf_map__set_max_entries(skel->maps.events, needs->ring ?: (__u32)getpagesize());

	err = gmem_trace_bpf__load(skel);
	if (!err)
		err = fill_stacks();
	if (!err && needs->ring) {
		ring = ring_buffer__new(bpf_map__fd(skel->maps.events), on_ring, NULL, NULL);
		err = ring ? 0 : -errno;
	}
	if (!err)
		err = gmem_trace_bpf__attach(skel);
	if (err)
		return fail_load(err);
	/* What libbpf says from now on is not of loading, and would pile up. */
	libbpf_set_print(NULL);
	return 0;
}

void tracer_close(void)
{
	ring_buffer__free(ring);
	gmem_trace_bpf__destroy(skel);
	ring = NULL;
	skel = NULL;
}

/* Readable when there are events */
int tracer_fd(void)
{
	return ring_buffer__epoll_fd(ring);
}

/* Hand what is in the ring buffer to @fn; number of events, 0 after the timeout. */
int tracer_poll(int timeout_ms, event_fn fn)
{
	int n;

	ring_fn = fn;
	n = ring_buffer__poll(ring, timeout_ms);
	return n == -EINTR ? 0 : n;
}

void tracer_losses(struct losses *losses)
{
	*losses = skel->bss->losses;
}

/* All elements of a hash map. Those that come or go meanwhile may be missing. */
static int read_map(struct bpf_map *map, void **keys, void **values)
{
	size_t key_size = bpf_map__key_size(map), value_size = bpf_map__value_size(map);
	unsigned int room = 0, nr = 0;
	void *key = NULL;

	*keys = *values = NULL;
	for (;;) {
		if (nr == room) {
			room = room ? 2 * room : 16;
			*keys = realloc(*keys, room * key_size);
			*values = realloc(*values, room * value_size);
			if (!*keys || !*values)
				abort();
			key = nr ? *keys + (nr - 1) * key_size : NULL;
		}
		if (bpf_map__get_next_key(map, key, *keys + nr * key_size, key_size))
			return nr;
		key = *keys + nr * key_size;
		if (!bpf_map__lookup_elem(map, key, key_size, *values + nr * value_size,
					  value_size, 0))
			nr++;
		if (nr > bpf_map__max_entries(map))
			return nr;
	}
}

/* The VMs that were seen: their number, and an array to be freed. */
int tracer_vm_list(__u32 **tgids)
{
	struct bpf_map *map = skel->maps.vms;
	int nr = 0, max = bpf_map__max_entries(map);
	__u32 *key = NULL;

	*tgids = xalloc(max * sizeof(**tgids));
	while (nr < max && !bpf_map__get_next_key(map, key, &(*tgids)[nr], sizeof(**tgids)))
		key = &(*tgids)[nr++];
	return nr;
}

/* What a histogram has in all is the sum of its buckets. */
static void count_hist(struct hist *h)
{
	int i;

	h->count = 0;
	for (i = 0; i < HIST_BUCKETS; i++)
		h->count += h->bucket[i];
}

static void count_hists(struct vm_stats *vm)
{
	int d, p;

	for (d = 0; d < 2; d++) {
		for (p = 0; p < NR_PHASES; p++)
			count_hist(&vm->dir[d].phase[p]);
	}
}

int tracer_vm(__u32 tgid, struct vm_stats *vm)
{
	__u32 slot;

	if (bpf_map__lookup_elem(skel->maps.vms, &tgid, sizeof(tgid), &slot, sizeof(slot), 0) ||
	    bpf_map__lookup_elem(skel->maps.vm_stats, &slot, sizeof(slot), vm, sizeof(*vm), 0))
		return -1;
	count_hists(vm);
	return 0;
}

/* Latencies of a cost */
int tracer_cost_hist(const struct cost *cost, struct hist *h)
{
	__u32 place = cost->hist;

	if (!place || bpf_map__lookup_elem(skel->maps.cost_hists, &place, sizeof(place), h,
					   sizeof(*h), 0))
		return -1;
	count_hist(h);
	return 0;
}

static void drop_hists(const struct cost *costs, int nr)
{
	static const struct hist none;
	__u32 place;

	for (; nr--; costs++) {
		place = costs->hist;
		if (!place)
			continue;
		bpf_map__update_elem(skel->maps.cost_hists, &place, sizeof(place), &none,
				     sizeof(none), 0);
		give(skel->maps.free_hists, place);
	}
}

/*
 * The VM has ended: others may have its places. What it counted is handed out; its place is taken
 * from it first, so that whatever is counted late is counted anew.
 */
int tracer_take_vm(__u32 tgid, struct vm_stats *vm)
{
	static const struct vm_stats none;
	__u32 slot;
	int d, err;

	if (bpf_map__lookup_and_delete_elem(skel->maps.vms, &tgid, sizeof(tgid), &slot,
					    sizeof(slot), 0))
		return -1;
	err = bpf_map__lookup_elem(skel->maps.vm_stats, &slot, sizeof(slot), vm, sizeof(*vm), 0);
	if (!err)
		count_hists(vm);
	for (d = 0; !err && d < 2; d++) {
		drop_hists(vm->dir[d].by_size, NR_SIZES);
		drop_hists(vm->dir[d].by_crowd, NR_CROWDS);
	}
	bpf_map__update_elem(skel->maps.vm_stats, &slot, sizeof(slot), &none, sizeof(none), 0);
	give(skel->maps.free_slots, slot);
	return err;
}

int tracer_series(struct series_key **keys, struct series **values)
{
	int i, nr = read_map(skel->maps.series, (void **)keys, (void **)values);

	for (i = 0; i < nr; i++)
		count_hist(&(*values)[i].ns);
	return nr;
}

/* Read it and take it out, at once: nothing is counted in between. */
int tracer_take_series(const struct series_key *key, struct series *value)
{
	int err = bpf_map__lookup_and_delete_elem(skel->maps.series, key, sizeof(*key), value,
						  sizeof(*value), 0);

	if (!err)
		count_hist(&value->ns);
	return err;
}

int tracer_decisions(struct decision_key **keys, struct decisions **values)
{
	return read_map(skel->maps.decisions, (void **)keys, (void **)values);
}

int tracer_take_decisions(const struct decision_key *key, struct decisions *value)
{
	return bpf_map__lookup_and_delete_elem(skel->maps.decisions, key, sizeof(*key), value,
					       sizeof(*value), 0);
}
