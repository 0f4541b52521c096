// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * How conversions are joined with requests, by the very programs that run in the kernel, compiled
 * for user space: threads of a VM exit, ask, convert for themselves and for each other, all of it
 * or a part or more, punch, go back and die, in an order that is random and that is hard to get in
 * a machine. joins-model STEPS SEED
 *
 * Of each conversion that is told: whoever asked for it did, before it was called, and still waited
 * when it was done; no phase is longer than the time since then; all pieces of an answer add up to
 * the time from the exit to the entry, unless threads worked for it at the same time. At the end,
 * all are accounted for.
 *
 * Of each fault: where its memory comes from, however much later its program runs.
 */
#define __BPF_HELPERS__		/* these are below */
#define BPF_NO_PRESERVE_ACCESS_INDEX
#define __ksym
#define __weak			__attribute__((weak))
#define __always_inline		inline
#define __noinline
#define SEC(name)
#define __uint(name, val)	int (*name)[val]
#define __type(name, val)	typeof(val) *name
#define bpf_ksym_exists(sym)	1
#define NULL			((void *)0)

#include "vmlinux.h"

/* No header of libc goes with the kernel's types. */
int printf(const char *format, ...);
void exit(int status);
int mprotect(void *addr, unsigned long len, int prot);
unsigned long strtoul(const char *text, char **end, int base);

static void *bpf_map_lookup_elem(void *map, const void *key);
static long bpf_map_update_elem(void *map, const void *key, const void *value, __u64 flags);
static long bpf_map_pop_elem(void *map, void *value);
static long bpf_map_push_elem(void *map, const void *value, __u64 flags);
static void *bpf_task_storage_get(void *map, struct task_struct *task, void *value, __u64 flags);
static struct task_struct *bpf_get_current_task_btf(void);
static __u64 bpf_get_current_pid_tgid(void);
static long bpf_get_current_comm(void *buf, __u32 size);
static __u64 bpf_ktime_get_ns(void);
static __u32 bpf_get_smp_processor_id(void);
static void *bpf_ringbuf_reserve(void *ringbuf, __u64 size, __u64 flags);
static void bpf_ringbuf_submit(void *data, __u64 flags);
static long bpf_probe_read_kernel_str(void *to, __u32 size, const void *from);

#include "../src/gmem_trace.bpf.c"

#define NR_VCPUS	6
#define NR_THREADS	(NR_VCPUS + 2)
#define TGID		100
#define FIRST_GFN	0x100000ULL
#define NR_GFNS		2048		/* few blocks of 2M: hints collide */
#define MAX_NR		16
#define PROT_READ_WRITE	3

enum sim_state {
	RUNS,		/* a vCPU in the guest, or another thread with nothing to do */
	EXITED,
	ASKED,		/* a vCPU's thread in the VMM */
	CALLED,		/* waits for slots_lock */
	CONVERTS,
};

/* A thread, as it is */
static struct sim {
	struct task_struct task;	/* how many page faults it has had */
	enum sim_state state;
	__u32 tid;
	__u64 exit_ns;
	__u64 asked_ns;		/* 0: it has not */
	__u64 gfn, nr;		/* what it asked for */
	__u64 told_ns;		/* totals of what answered it */
	bool told;
	__u64 busy_ns;		/* when the last that was done for it ended */
	bool overlaps;		/* threads did something for it at the same time */
	__u64 called_ns, begun_ns, done_ns;
	__u64 conv_gfn, conv_nr;
} sims[NR_THREADS];

static int current;
static __u64 clock_ns = 1000000, random_state;
static __u32 next_tid = 1000;

/* The maps */
static struct thread states[NR_THREADS];
static bool has_state[NR_THREADS];
static __u32 asked_map[ASKED_SIZE];
static struct vm_stats stats;
static bool has_vm;
static __u32 slot0;
static union {
	struct event e;
	__u64 room[4 + EVENT_WORDS];
} emitted;

/* What was asked for and done in all */
static __u64 nr_requests, nr_calls, nr_conversions, nr_told, nr_exact;
static __u64 nr_sources[NR_SOURCES + 1];

static void die(const char *what, __u64 a, __u64 b)
{
	printf("joins-model: %s: %llu, %llu\n", what, a, b);
	exit(1);
}

static __u64 below(__u64 n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 16) % n;
}

/* ---- In place of the kernel ---- */

static void *bpf_map_lookup_elem(void *map, const void *key)
{
	if (map == &asked)
		return &asked_map[*(const __u32 *)key];
	if (map == &vms)
		return has_vm ? &slot0 : NULL;
	return map == &vm_stats ? &stats : NULL;
}

static long bpf_map_update_elem(void *map, const void *key, const void *value, __u64 flags)
{
	if (map == &vms)
		has_vm = true;
	return 0;
}

static long bpf_map_pop_elem(void *map, void *value)
{
	*(__u32 *)value = 0;
	return 0;
}

static long bpf_map_push_elem(void *map, const void *value, __u64 flags)
{
	return 0;
}

static struct task_struct *task(int i)
{
	return &sims[i].task;
}

static void *bpf_task_storage_get(void *map, struct task_struct *t, void *value, __u64 flags)
{
	int i = (struct sim *)t - sims;	/* it begins with the task */

	if (!has_state[i] && !(flags & BPF_LOCAL_STORAGE_GET_F_CREATE))
		return NULL;
	has_state[i] = true;
	return &states[i];
}

static struct task_struct *bpf_get_current_task_btf(void)
{
	return task(current);
}

static __u64 bpf_get_current_pid_tgid(void)
{
	return (__u64)TGID << 32 | sims[current].tid;
}

static long bpf_get_current_comm(void *buf, __u32 size)
{
	return 0;
}

static __u64 bpf_ktime_get_ns(void)
{
	return clock_ns;
}

static __u32 bpf_get_smp_processor_id(void)
{
	return 0;
}

struct task_struct *bpf_task_from_pid(s32 pid)
{
	int i;

	for (i = 0; i < NR_THREADS; i++) {
		if (sims[i].tid == (__u32)pid)
			return task(i);
	}
	return NULL;
}

void bpf_task_release(struct task_struct *t)
{
}

static long bpf_probe_read_kernel_str(void *to, __u32 size, const void *from)
{
	return 0;
}

static void *bpf_ringbuf_reserve(void *ringbuf, __u64 size, __u64 flags)
{
	return size <= sizeof(emitted) ? &emitted : NULL;
}

/* Told of a conversion: check it. */
static void bpf_ringbuf_submit(void *data, __u64 flags)
{
	const __u64 *v = emitted.e.v;
	struct sim *owner;
	__u64 sum = 0;
	int p;

	nr_told++;
	for (p = PHASE_EXIT; p < PHASE_TOTAL; p++) {
		if (v[9 + p] > clock_ns)
			die("a phase without an end", p, v[9 + p]);
		sum += v[9 + p];
	}
	if (sum != v[9 + PHASE_TOTAL])
		die("phases do not add up", sum, v[9 + PHASE_TOTAL]);
	if (!v[4])
		return;
	if (v[0] >= NR_VCPUS)
		die("no such vCPU", v[0], 0);
	owner = &sims[v[0]];
	if (!owner->asked_ns || owner->gfn != v[17] || owner->nr != v[18])
		die("it has not asked for this", v[0], v[17]);
	if (v[1] >= owner->gfn + owner->nr || owner->gfn >= v[1] + v[2])
		die("it has not asked for what was converted", v[17], v[1]);
	/* v[8] is when it ended */
	if (v[8] - v[9 + PHASE_STORE] - v[9 + PHASE_ZAP] - v[9 + PHASE_WAIT] < owner->asked_ns)
		die("called before it was asked for", owner->asked_ns, v[8]);
	owner->told_ns += sum;
	owner->told = true;
}

/* ---- What threads do ---- */

#define RUN(prog, ...)	prog((unsigned long long []){ __VA_ARGS__ })

static void ask(struct sim *s)
{
	s->asked_ns = clock_ns;
	s->gfn = FIRST_GFN + below(NR_GFNS);
	s->nr = 1 + below(MAX_NR);
	s->told_ns = 0;
	s->told = false;
	s->busy_ns = clock_ns;
	s->overlaps = false;
	s->state = ASKED;
	nr_requests++;
	RUN(conv_request, 1, TGID, current, s->gfn, s->nr, below(2), below(2));
}

/* The vCPU runs again. All that was told of its request is the time since its exit. */
static void enter(struct sim *s)
{
	RUN(conv_entry, 0);
	if (s->told && !s->overlaps) {
		if (s->told_ns != clock_ns - s->exit_ns)
			die("from exit to entry", s->told_ns, clock_ns - s->exit_ns);
		nr_exact++;
	}
	s->asked_ns = 0;
	s->told = false;
	s->state = RUNS;
}

static void die_waiting(struct sim *s)
{
	RUN(conv_died, 0);
	has_state[current] = false;
	__builtin_memset(&states[current], 0, sizeof(states[current]));
	*s = (struct sim) { .tid = next_tid++ };
}

/* What some vCPU has asked for, a part of it, or more; or anything. */
static void call(struct sim *s)
{
	const struct sim *other = &sims[below(3) ? below(NR_VCPUS) : (__u64)current];

	s->called_ns = clock_ns;
	s->state = CALLED;
	if (!other->asked_ns || !below(8)) {
		s->conv_gfn = FIRST_GFN + below(NR_GFNS);
		s->conv_nr = 1 + below(4 * MAX_NR);
		return;
	}
	s->conv_gfn = other->gfn;
	s->conv_nr = other->nr;
	if (!below(3)) {
		s->conv_gfn += below(other->nr);
		s->conv_nr = 1 + below(other->nr);
	} else if (!below(3)) {
		s->conv_gfn -= below(MAX_NR);
		s->conv_nr += MAX_NR + below(MAX_NR);
	}
}

static void begin(struct sim *s)
{
	s->begun_ns = clock_ns;
	s->state = CONVERTS;
	RUN(conv_begin, 1, TGID, s->conv_gfn, s->conv_nr, 8, s->begun_ns - s->called_ns);
}

/* Whose request the thread serves, as the programs see it; NULL if none. */
static struct sim *served(void)
{
	const struct thread *t = &states[current];

	if (!t->owner_since)
		return NULL;
	return t->owner ? (struct sim *)bpf_task_from_pid(t->owner) : &sims[current];
}

static void end(struct sim *s)
{
	__u64 ns = clock_ns - s->begun_ns;
	bool changed = below(8), failed = !below(16);
	struct sim *owner = served();

	nr_calls++;
	nr_conversions += changed && !failed;
	/* The kernel has read its clock some time before the program does. */
	clock_ns += below(4);
	RUN(conv_end, 1, TGID, s->conv_gfn, s->conv_nr, below(2) * 8, changed, failed ? -12LL : 0,
	    below(ns + 1), ns);
	if (owner) {
		owner->overlaps |= s->called_ns < owner->busy_ns;
		owner->busy_ns = clock_ns;
	}
	s->done_ns = clock_ns;
	s->state = s->asked_ns ? ASKED : RUNS;
}

/*
 * The thread has punched since something else was done for the request; or for one that is over, or
 * while another thread did something for it.
 */
static void punch(struct sim *s)
{
	struct sim *owner = s->asked_ns ? s : served();
	__u64 from = s->done_ns;

	if (!owner)
		return;
	if (owner == s || states[current].owner_since == owner->asked_ns) {
		if (owner->busy_ns > from && (owner == s || below(4)))
			from = owner->busy_ns;
		owner->overlaps |= from < owner->busy_ns;
		owner->busy_ns = clock_ns;
	}
	RUN(conv_punch, 1, TGID, 0, 1, 0, below(clock_ns - from + 1));
	s->done_ns = clock_ns;
}

/* A vCPU's thread in the VMM */
static void serve(struct sim *s)
{
	switch (below(8)) {
	case 0:
		punch(s);
		break;
	case 1:
	case 2:
		enter(s);
		break;
	case 3:
		if (!below(16))
			die_waiting(s);
		break;
	default:
		call(s);
	}
}

static void step(void)
{
	struct sim *s;

	current = below(NR_THREADS);
	s = &sims[current];
	clock_ns += 1 + below(1000);
	switch (s->state) {
	case RUNS:
		if (current >= NR_VCPUS) {
			if (below(4))
				call(s);
			else
				punch(s);
		} else {
			s->exit_ns = clock_ns;
			s->state = EXITED;
			RUN(conv_exit, 0);
		}
		break;
	case EXITED:
		if (below(2))
			ask(s);
		else
			enter(s);
		break;
	case ASKED:
		serve(s);
		break;
	case CALLED:
		begin(s);
		break;
	case CONVERTS:
		end(s);
	}
}

/* All come to rest. */
static void finish(void)
{
	for (current = 0; current < NR_THREADS; current++) {
		struct sim *s = &sims[current];

		clock_ns += 1000;
		if (s->state == CALLED)
			begin(s);
		if (s->state == CONVERTS)
			end(s);
	}
	for (current = 0; current < NR_VCPUS; current++) {
		clock_ns += 1000;
		if (sims[current].state != RUNS)
			enter(&sims[current]);
	}
}

static void check_counters(void)
{
	__u64 all = stats.dir[0].conversions + stats.dir[1].conversions;

	if (stats.hypercalls + stats.faults != nr_requests)
		die("requests", stats.hypercalls + stats.faults, nr_requests);
	if (all != nr_conversions || all + stats.noops + stats.failed != nr_calls)
		die("conversions", all, nr_conversions);
	if (all != stats.joined + stats.unasked + stats.partial || stats.partial)
		die("conversions, joined and unasked", all, stats.joined);
	if (stats.converting)
		die("converting now", stats.converting, 0);
	if (!stats.joined || !stats.unasked || !stats.unanswered || !nr_exact)
		die("some never happened", stats.joined, stats.unasked);
	/* One who died took what was made for it along. */
	if (nr_told > all)
		die("told", nr_told, all);
}

/* ---- Where the memory of faults comes from ---- */

static void zero(void)
{
	RUN(source_zero, 1, TGID, 0, 1, GMEM_ZEROED_FIRST_USE, 100);
}

static void allocate(enum gmem_why why, __u64 zero)
{
	RUN(source_alloc, 1, TGID, 0, 0, why, 0, 0, 0, 0, zero, 0, 100);
}

/* The VMM's own page tables lack a page, of guest memory or of other. */
static void vmm_touches(struct sim *s)
{
	if (below(2))
		allocate(GMEM_WHY_HOST_FAULT, GMEM_ZERO_FIRST_USE);
	if (below(2))
		zero();
	if (below(4))
		s->task.min_flt++;
	else
		s->task.maj_flt++;
}

/* A fault of the guest, which nothing of the thread's own comes in between. */
static void guest_faults(void)
{
	bool allocated = below(2), zeroed = below(2), raced = !below(4);
	__u64 how = below(GMEM_ZERO_POOL + 1);
	__u8 want = zeroed ? SOURCE_FIRST_USE : SOURCE_FOUND, got;

	if (allocated) {
		allocate(GMEM_WHY_GUEST_FAULT, how);
		zeroed = how == GMEM_ZERO_FIRST_USE;
		want = SOURCE_FIRST_USE + how;
	}
	if (zeroed)
		zero();
	if (raced)
		want = NR_SOURCES;
	/* The program may come much later than the end of the fault. */
	clock_ns += below(1000000);
	got = source_of(allocated, raced ? RET_PF_FIXED - 1 : RET_PF_FIXED);
	if (got != want)
		die("where the memory of a fault comes from", got, want);
	nr_sources[want]++;
}

static void check_sources(__u64 steps)
{
	int i;

	while (steps--) {
		current = below(NR_THREADS);
		clock_ns += below(1000);
		if (below(2))
			vmm_touches(&sims[current]);
		else
			guest_faults();
	}
	for (i = SOURCE_FOUND; i <= NR_SOURCES; i++) {
		if (!nr_sources[i])
			die("no fault whose memory comes from there", i, 0);
	}
}

/* What is set before programs are loaded is constant for them. */
static void make_writable(const volatile void *constant)
{
	if (mprotect((void *)((__u64)constant & ~4095ULL), 4096, PROT_READ_WRITE))
		exit(3);
}

int main(int argc, char **argv)
{
	__u64 i, steps;

	if (argc != 3)
		return 2;
	steps = strtoul(argv[1], NULL, 0);
	random_state = strtoul(argv[2], NULL, 0) | 1;
	make_writable(&emit_events);
	*(volatile __u32 *)&emit_events = 1U << EV_CONVERSION;
	make_writable(&fault_sources);
	*(volatile bool *)&fault_sources = true;
	for (i = 0; i < NR_THREADS; i++)
		sims[i].tid = next_tid++;
	for (i = 0; i < steps; i++)
		step();
	finish();
	check_counters();
	check_sources(steps);
	printf("%llu requests, %llu unanswered, %llu exact; %llu conversions, %llu joined, %llu unasked\n",
	       nr_requests, stats.unanswered, nr_exact, nr_conversions, stats.joined,
	       stats.unasked);
	return 0;
}
