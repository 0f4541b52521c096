// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The programs of gmem-trace. They use nothing of the kernel but the arguments of tracepoints, and
 * how many page faults a thread has had, so that they run on every kernel that has these. User
 * space loads those that a command needs and leaves out those whose tracepoint is missing.
 *
 * Conversions are joined where they happen:
 *
 *   kvm_exit		vCPU thread: remember when
 *   convert_request	vCPU thread: it asks; its state says for what, and since when
 *   convert_begin	any thread: find who asked for the range
 *   convert_end	the same thread: keep what is known with the vCPU that asked
 *   punch_hole etc.	the same thread: add its time to that conversion
 *   kvm_entry		vCPU thread: the conversion is whole; count it
 *   sched_process_exit	vCPU thread: it waits no more
 *   fault		vCPU thread: the first fault on what became private
 *
 * State is kept with threads (task storage): a vCPU that waits for a conversion is in user space,
 * and so is one thread. It goes with the thread, and cannot outgrow the number of them. The thread
 * that converts is mostly the vCPU's own. If another one does it for the vCPU, the table "asked"
 * says which thread has asked for a range with this start, or in this 2M; what it says is checked
 * with that thread's state, so it needs no deletion, and may forget.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "gmem_trace.h"

char _license[] SEC("license") = "GPL";

#define ASKED_SIZE	65536
#define PAGES_2M	512
#define RET_PF_FIXED	5	/* of KVM's MMU: mapped; greater: was mapped already */
#define ATTR_PRIVATE	8

/* Set before loading. */
const volatile __u32 only_tgid;		/* 0: all */
const volatile __u32 emit_events;	/* of those that are joined: a bit each */
const volatile bool see_entry = true;	/* kvm_entry is there */
const volatile bool cost_latencies;	/* keep a histogram with each cost */
const volatile bool free_latencies;	/* and one of the time that freeing takes */
const volatile bool fault_sources;	/* tell where the memory of faults comes from */

struct losses losses;

struct conv_request {
	__u64 since;		/* ns; 0: none */
	__u64 exit_ns;		/* when the hardware exited; 0: not known */
	__u64 gfn;
	__u64 nr;
	__u32 vcpu;
	__u32 tgid;
	__u8 to_private;
	__u8 hypercall;
	__u8 answered;
};

/* A conversion that is made, and whose vCPU is not back yet. */
struct pending {
	__u64 end_ns;		/* when the ioctl ended; 0: none */
	__u64 id;
	__u64 gfn;
	__u64 nr;
	__u64 phase[PHASE_PUNCH];	/* those before it */
	__u64 punch_ns;		/* before the ioctl */
	__u64 punch_after_ns;	/* after it */
	__u32 tgid;
	__u8 to_private;
	__u8 asked;		/* exit and think are known */
	__u8 crowd;
};

struct thread {
	__u64 exit_ns;
	__u32 vm_tgid;		/* 0: not known yet */
	__u32 vm_slot;
	/* as a vCPU */
	struct conv_request ask;
	struct pending conv;
	__u64 punch_ns;		/* since it asked, or since its last ioctl ended */
	__u64 fill_gfn;		/* where the first fault is waited for */
	__u64 fill_nr;
	/* as the one who converts */
	struct pending unasked;
	__u64 wait_ns;
	__u64 owner_since;	/* the request that it answers; 0: none */
	__u32 owner;		/* thread that asked; kept after the ioctl, for punches */
	__u8 crowd;
	__u8 begun;		/* it is inside of the ioctl */
	/* as one that faults */
	__u8 alloc_source;	/* of what it allocated last, for a guest; 0: not known */
	__u64 zeroed_at;	/* mm_faults() as it zeroed memory; 0: not since its last fault */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread);
} threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ASKED_SIZE);
	__type(key, __u32);
	__type(value, __u32);
} asked SEC(".maps");

/* Where the counters of a VM are in vm_stats. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_VMS);
	__type(key, __u32);
	__type(value, __u32);
} vms SEC(".maps");

/* Places that are free. User space fills it first, and gives back those of VMs that ended. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, MAX_VMS);
	__type(value, __u32);
} free_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_VMS);
	__type(key, __u32);
	__type(value, struct vm_stats);
} vm_stats SEC(".maps");

/* Latencies of costs. Few classes of sizes and crowds occur, so they get a place when they do. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_COST_HISTS);
	__type(key, __u32);
	__type(value, struct hist);
} cost_hists SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, MAX_COST_HISTS);
	__type(value, __u32);
} free_hists SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct series_key);
	__type(value, struct series);
} series SEC(".maps");

/* What a new element is: too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct series);
} new_series SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct decision_key);
	__type(value, struct decisions);
} decisions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} events SEC(".maps");

static __always_inline void add(__u64 *counter, __u64 n)
{
	__sync_fetch_and_add(counter, n);
}

static __always_inline bool wanted(__u32 tgid)
{
	return !only_tgid || tgid == only_tgid;
}

/* ---- Histograms ---- */

#define TIMES_2(n)	n, n
#define TIMES_4(n)	TIMES_2(n), TIMES_2(n)
#define TIMES_8(n)	TIMES_4(n), TIMES_4(n)
#define TIMES_16(n)	TIMES_8(n), TIMES_8(n)
#define TIMES_32(n)	TIMES_16(n), TIMES_16(n)
#define TIMES_64(n)	TIMES_32(n), TIMES_32(n)
#define TIMES_128(n)	TIMES_64(n), TIMES_64(n)

/* The highest bit of a byte that is set: BPF has no instruction for it. */
static const __u8 top_bits[256] = {
	0, 0, TIMES_2(1), TIMES_4(2), TIMES_8(3), TIMES_16(4), TIMES_32(5), TIMES_64(6),
	TIMES_128(7)
};

static __always_inline __u32 top_bit(__u64 v)
{
	__u32 bit = 0;

	if (v >= 1ULL << 32) {
		v >>= 32;
		bit += 32;
	}
	if (v >= 1 << 16) {
		v >>= 16;
		bit += 16;
	}
	if (v >= 1 << 8) {
		v >>= 8;
		bit += 8;
	}
	return bit + top_bits[v & 0xff];
}

static __always_inline __u32 hist_bucket(__u64 v)
{
	__u32 bit;

	if (v < HIST_SUBS)
		return v;
	bit = top_bit(v);
	if (bit > HIST_TOP_BIT)
		return HIST_BUCKETS - 1;
	v >>= bit - HIST_SUB_BITS;
	return (bit - HIST_SUB_BITS + 1) * HIST_SUBS + (v & (HIST_SUBS - 1));
}

/* @v may be the largest so far: it seldom is. */
static __noinline void hist_raise(struct hist *h, __u64 v)
{
	__u64 max;
	int i;

	if (!h)
		return;
	max = h->max;
	/* Again only if another CPU came between with a smaller one. */
	for (i = 0; i < 16 && v > max; i++) {
		__u64 seen = __sync_val_compare_and_swap(&h->max, max, v);

		if (seen == max)
			break;
		max = seen;
	}
}

/* Global, as settle() is: the verifier looks at these once, not on each path that leads there. */
__noinline int hist_add(struct hist *h, __u64 v)
{
	__u32 bucket = hist_bucket(v);

	if (!h)
		return 0;
	if (bucket >= HIST_BUCKETS)
		bucket = HIST_BUCKETS - 1;
	add(&h->sum, v);
	add(&h->bucket[bucket], 1);
	if (v > h->max)
		hist_raise(h, v);
	return 0;
}

/* ---- State ---- */

static __always_inline struct thread *thread_get(__u64 flags)
{
	struct thread *t;

	t = bpf_task_storage_get(&threads, bpf_get_current_task_btf(), NULL, flags);
	if (!t && flags)
		add(&losses.threads_full, 1);
	return t;
}

static __always_inline __u32 current_tid(void)
{
	return bpf_get_current_pid_tgid();
}

static __noinline struct vm_stats *vm_new(__u32 tgid)
{
	struct vm_stats *vm;
	__u32 slot, *first;

	if (bpf_map_pop_elem(&free_slots, &slot))
		goto full;
	if (bpf_map_update_elem(&vms, &tgid, &slot, BPF_NOEXIST)) {
		/* Another CPU was faster. */
		bpf_map_push_elem(&free_slots, &slot, 0);
		first = bpf_map_lookup_elem(&vms, &tgid);
		if (!first)
			goto full;
		slot = *first;
	}
	vm = bpf_map_lookup_elem(&vm_stats, &slot);
	if (vm && !vm->seen_ns) {
		bpf_get_current_comm(vm->comm, sizeof(vm->comm));
		vm->seen_ns = bpf_ktime_get_ns();
	}
	return vm;
full:
	add(&losses.vms_full, 1);
	return NULL;
}

static __always_inline struct vm_stats *vm_find(__u32 tgid)
{
	__u32 *slot = bpf_map_lookup_elem(&vms, &tgid);

	return slot ? bpf_map_lookup_elem(&vm_stats, slot) : vm_new(tgid);
}

/*
 * The same by the thread's state, where the place of its VM is kept. It holds as long as the
 * process lives, whose threads these are.
 */
static __always_inline struct vm_stats *vm_of(struct thread *t, __u32 tgid)
{
	struct vm_stats *vm;
	__u32 *slot;

	if (t->vm_tgid == tgid)
		return bpf_map_lookup_elem(&vm_stats, &t->vm_slot);
	vm = vm_find(tgid);
	slot = bpf_map_lookup_elem(&vms, &tgid);
	if (vm && slot) {
		t->vm_slot = *slot;
		t->vm_tgid = tgid;
	}
	return vm;
}

static __always_inline struct event *event_new(__u16 type, __u64 ns, __u64 id,
					       __u32 tgid, __u32 words)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e) + words * sizeof(e->v[0]), 0);

	if (!e) {
		add(&losses.dropped, 1);
		return NULL;
	}
	e->ns = ns;
	e->id = id;
	e->tgid = tgid;
	e->tid = current_tid();
	e->type = type;
	e->words = words;
	e->cpu = bpf_get_smp_processor_id();
	return e;
}

/* ---- Conversions ---- */

static __always_inline __u32 asked_slot(__u32 tgid, __u64 where)
{
	__u64 h = (where ^ (__u64)tgid << 40) * 0x9e3779b97f4a7c15ULL;

	return h >> 48;
}

static __always_inline void asked_note(__u32 tgid, __u64 where, __u32 tid)
{
	__u32 slot = asked_slot(tgid, where);
	__u32 *who = bpf_map_lookup_elem(&asked, &slot);

	if (who)
		*who = tid;
}

static __always_inline __u32 asked_by(__u32 tgid, __u64 where)
{
	__u32 slot = asked_slot(tgid, where);
	__u32 *who = bpf_map_lookup_elem(&asked, &slot);

	return who ? *who : 0;
}

/* Frames of 2M and single frames share the table. */
#define IN_2M(gfn)	((gfn) / PAGES_2M | 1ULL << 63)

/* The state of the thread @tid. It stays valid while the program runs, as all under RCU does. */
static __always_inline struct thread *thread_of(__u32 tid)
{
	struct task_struct *task;
	struct thread *t;

	if (!bpf_ksym_exists(bpf_task_from_pid) || !tid)
		return NULL;
	task = bpf_task_from_pid(tid);
	if (!task)
		return NULL;
	t = bpf_task_storage_get(&threads, task, NULL, 0);
	bpf_task_release(task);
	return t;
}

/*
 * Did the thread ask for something in this range, in this VM? A VMM may convert more than it was
 * asked for, or less at a time, but not what nobody asked for.
 */
static __always_inline bool has_asked(const struct thread *t, __u32 tgid, __u64 gfn, __u64 nr)
{
	return t->ask.since && t->ask.tgid == tgid && t->ask.gfn < gfn + nr &&
	       gfn < t->ask.gfn + t->ask.nr;
}

static __noinline void cost_hist_new(struct cost *c)
{
	__u32 place;

	if (!c)
		return;
	if (bpf_map_pop_elem(&free_hists, &place)) {
		add(&losses.series_full, 1);
		return;
	}
	/* Another CPU was faster. */
	if (__sync_val_compare_and_swap(&c->hist, 0, place))
		bpf_map_push_elem(&free_hists, &place, 0);
}

/* @bucket: that of @ns, computed once for all costs; neither sums nor maxima are kept there. */
static __always_inline void cost_add(struct cost *c, __u64 pages, __u64 ns, __u64 wait_ns,
				     __u32 bucket)
{
	struct hist *h;
	__u32 place;

	add(&c->count, 1);
	add(&c->pages, pages);
	add(&c->ns, ns);
	add(&c->wait_ns, wait_ns);
	if (!cost_latencies)
		return;
	if (!c->hist)
		cost_hist_new(c);
	place = c->hist;
	h = place ? bpf_map_lookup_elem(&cost_hists, &place) : NULL;
	if (h && bucket < HIST_BUCKETS)
		add(&h->bucket[bucket], 1);
}

/* How many, in classes: 1, 2, to 4, to 8, ... */
static __always_inline __u8 crowd_class(__s64 n)
{
	__u32 c = n > 1 ? top_bit(n - 1) + 1 : 0;

	return c < NR_CROWDS ? c : NR_CROWDS - 1;
}

static __always_inline void emit_conversion(const struct pending *c, const struct conv_request *ask,
					    __u64 now, __u64 punch, __u64 back, __u64 total)
{
	struct event *e = event_new(EV_CONVERSION, now, c->id, c->tgid, 19);

	if (!e)
		return;
	e->v[0] = c->asked ? ask->vcpu : -1ULL;
	e->v[1] = c->gfn;
	e->v[2] = c->nr;
	e->v[3] = c->to_private;
	e->v[4] = c->asked;
	e->v[5] = c->asked && ask->hypercall;
	e->v[6] = c->crowd;
	e->v[7] = c->asked ? ask->exit_ns : 0;
	e->v[8] = c->end_ns;
	e->v[9] = c->phase[PHASE_EXIT];
	e->v[10] = c->phase[PHASE_THINK];
	e->v[11] = c->phase[PHASE_WAIT];
	e->v[12] = c->phase[PHASE_ZAP];
	e->v[13] = c->phase[PHASE_STORE];
	e->v[14] = punch;
	e->v[15] = back;
	e->v[16] = total;
	e->v[17] = c->asked ? ask->gfn : 0;
	e->v[18] = c->asked ? ask->nr : 0;
	bpf_ringbuf_submit(e, 0);
}

/*
 * A conversion has all its phases: count it. @ask is what it answers, if anything; @now is when
 * the vCPU runs again, or when the next conversion for the same request begins; only the former
 * has the phase "back".
 */
__noinline int settle(struct vm_stats *vm, struct pending *c, struct conv_request *ask, __u64 now,
		      __u32 is_back)
{
	__u64 punch, back = 0, total;
	struct direction *dir;
	__u32 size, bucket;

	if (!vm || !c || !ask)
		return 0;
	dir = &vm->dir[c->to_private & 1];
	punch = c->punch_ns + c->punch_after_ns;
	if (is_back && now > c->end_ns + c->punch_after_ns)
		back = now - c->end_ns - c->punch_after_ns;
	total = c->phase[PHASE_EXIT] + c->phase[PHASE_THINK] + c->phase[PHASE_WAIT] +
		c->phase[PHASE_ZAP] + c->phase[PHASE_STORE] + punch + back;

	if (c->asked) {
		if (c->phase[PHASE_EXIT])
			hist_add(&dir->phase[PHASE_EXIT], c->phase[PHASE_EXIT]);
		hist_add(&dir->phase[PHASE_THINK], c->phase[PHASE_THINK]);
	}
	hist_add(&dir->phase[PHASE_WAIT], c->phase[PHASE_WAIT]);
	hist_add(&dir->phase[PHASE_ZAP], c->phase[PHASE_ZAP]);
	hist_add(&dir->phase[PHASE_STORE], c->phase[PHASE_STORE]);
	if (punch)
		hist_add(&dir->phase[PHASE_PUNCH], punch);
	if (is_back)
		hist_add(&dir->phase[PHASE_BACK], back);
	hist_add(&dir->phase[PHASE_TOTAL], total);

	size = top_bit(c->nr);
	bucket = cost_latencies ? hist_bucket(total) : 0;
	cost_add(&dir->by_size[size < NR_SIZES ? size : NR_SIZES - 1], c->nr, total,
		 c->phase[PHASE_WAIT], bucket);
	cost_add(&dir->by_crowd[c->crowd < NR_CROWDS ? c->crowd : NR_CROWDS - 1], c->nr, total,
		 c->phase[PHASE_WAIT], bucket);
	if (emit_events & 1 << EV_CONVERSION)
		emit_conversion(c, ask, now, punch, back, total);
	c->end_ns = 0;
	return 0;
}

/* The vCPU of this thread runs again: whatever it asked for is over. */
static __always_inline void vcpu_back(struct thread *t, __u64 now)
{
	struct vm_stats *vm = vm_of(t, t->ask.tgid);

	if (vm) {
		if (t->conv.end_ns) {
			if (t->conv.to_private) {
				t->fill_gfn = t->conv.gfn;
				t->fill_nr = t->conv.nr;
			}
			t->conv.punch_after_ns = t->punch_ns;
			settle(vm, &t->conv, &t->ask, now, see_entry);
		}
		if (!t->ask.answered)
			add(&vm->unanswered, 1);
		__sync_fetch_and_sub(&vm->converting, 1);
	}
	t->ask.since = 0;
	t->conv.end_ns = 0;
	t->punch_ns = 0;
}

SEC("?tp_btf/kvm_exit")
int BPF_PROG(conv_exit)
{
	struct thread *t;

	if (only_tgid && bpf_get_current_pid_tgid() >> 32 != only_tgid)
		return 0;
	t = thread_get(BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (t)
		t->exit_ns = bpf_ktime_get_ns();
	return 0;
}

SEC("?tp_btf/kvm_entry")
int BPF_PROG(conv_entry)
{
	struct thread *t = thread_get(0);

	if (t && t->ask.since)
		vcpu_back(t, bpf_ktime_get_ns());
	return 0;
}

/* A thread that asked and dies waits no more. */
SEC("?tp_btf/sched_process_exit")
int BPF_PROG(conv_died)
{
	struct thread *t = thread_get(0);
	struct vm_stats *vm;

	if (!t || !t->ask.since)
		return 0;
	vm = vm_of(t, t->ask.tgid);
	if (vm) {
		if (!t->ask.answered)
			add(&vm->unanswered, 1);
		__sync_fetch_and_sub(&vm->converting, 1);
	}
	t->ask.since = 0;
	return 0;
}

SEC("?tp_btf/kvm_gmem_convert_request")
int BPF_PROG(conv_request, u64 id, u32 tgid, u32 vcpu, u64 gfn, u64 nr, bool to_private,
	     bool hypercall)
{
	__u64 now = bpf_ktime_get_ns();
	struct vm_stats *vm;
	struct thread *t;
	__u32 tid;

	if (!wanted(tgid))
		return 0;
	t = thread_get(BPF_LOCAL_STORAGE_GET_F_CREATE);
	vm = t ? vm_of(t, tgid) : NULL;
	if (!vm)
		return 0;

	/* It asks again without having run: only if its entry cannot be seen. */
	if (t->ask.since)
		vcpu_back(t, now);

	add(hypercall ? &vm->hypercalls : &vm->faults, 1);
	__sync_fetch_and_add(&vm->converting, 1);
	t->ask.since = now;
	t->ask.exit_ns = t->exit_ns;
	t->exit_ns = 0;
	t->ask.gfn = gfn;
	t->ask.nr = nr;
	t->ask.vcpu = vcpu;
	t->ask.tgid = tgid;
	t->ask.to_private = to_private;
	t->ask.hypercall = hypercall;
	t->ask.answered = false;
	t->punch_ns = 0;
	t->fill_nr = 0;
	tid = current_tid();
	asked_note(tgid, gfn, tid);
	asked_note(tgid, IN_2M(gfn), tid);
	return 0;
}

/* The thread that asked for what this thread converts, NULL if nobody did. */
static __always_inline struct thread *find_owner(struct thread *me, __u32 tgid, __u64 gfn, __u64 nr)
{
	struct thread *t;

	me->owner = 0;
	if (has_asked(me, tgid, gfn, nr))
		return me;

	me->owner = asked_by(tgid, gfn);
	t = thread_of(me->owner);
	if (t && has_asked(t, tgid, gfn, nr))
		return t;
	me->owner = asked_by(tgid, IN_2M(gfn));
	t = thread_of(me->owner);
	if (t && has_asked(t, tgid, gfn, nr))
		return t;
	me->owner = 0;
	return NULL;
}

/* No clock is read here: convert_end tells how long ago this was. */
SEC("?tp_btf/kvm_gmem_convert_begin")
int BPF_PROG(conv_begin, u64 id, u32 tgid, u64 gfn, u64 nr, u64 attributes, u64 wait_ns)
{
	struct thread *me, *owner;
	struct vm_stats *vm;

	if (!wanted(tgid))
		return 0;
	me = thread_get(BPF_LOCAL_STORAGE_GET_F_CREATE);
	vm = me ? vm_of(me, tgid) : NULL;
	if (!vm)
		return 0;

	owner = find_owner(me, tgid, gfn, nr);
	me->owner_since = owner ? owner->ask.since : 0;
	if (!owner)
		__sync_fetch_and_add(&vm->converting, 1);
	me->begun = true;
	me->wait_ns = wait_ns;
	me->crowd = crowd_class(vm->converting);
	return 0;
}

/* The ioctl's own phases */
static __always_inline void fill(struct pending *c, const struct thread *me, __u64 id, __u32 tgid,
				 __u64 gfn, __u64 nr, bool to_private, __u64 zap_ns, __u64 ns)
{
	c->tgid = tgid;
	c->id = id;
	c->gfn = gfn;
	c->nr = nr;
	c->to_private = to_private;
	c->crowd = me->crowd;
	c->punch_after_ns = 0;
	c->phase[PHASE_WAIT] = me->wait_ns;
	c->phase[PHASE_ZAP] = zap_ns;
	c->phase[PHASE_STORE] = ns - zap_ns;
}

/*
 * The ioctl was called for the request of this thread. Several conversions may answer one request:
 * then the one before ends here.
 */
static __always_inline void begin_joined(struct vm_stats *vm, struct thread *owner, __u64 called)
{
	struct pending *c = &owner->conv;
	__u64 from = owner->ask.since, exit_ns = 0;

	if (c->end_ns) {
		from = c->end_ns + owner->punch_ns;
		c->punch_after_ns = owner->punch_ns;
		settle(vm, c, &owner->ask, called, false);
		owner->ask.exit_ns = 0;
		owner->punch_ns = 0;
	} else if (owner->ask.exit_ns && owner->ask.exit_ns < from) {
		exit_ns = from - owner->ask.exit_ns;
	}
	c->phase[PHASE_EXIT] = exit_ns;
	c->punch_ns = owner->punch_ns;
	owner->punch_ns = 0;
	c->phase[PHASE_THINK] = called > from + c->punch_ns ? called - from - c->punch_ns : 0;
	c->asked = true;
}

SEC("?tp_btf/kvm_gmem_convert_end")
int BPF_PROG(conv_end, u64 id, u32 tgid, u64 gfn, u64 nr, u64 attributes, bool changed, int ret,
	     u64 zap_ns, u64 ns)
{
	__u64 now = bpf_ktime_get_ns(), called;
	bool to_private = attributes & ATTR_PRIVATE, begun;
	struct thread *me, *owner = NULL;
	struct vm_stats *vm;

	if (!wanted(tgid))
		return 0;
	me = thread_get(0);
	vm = me ? vm_of(me, tgid) : vm_find(tgid);
	if (!vm)
		return 0;
	begun = me && me->begun;

	if (begun) {
		me->begun = false;
		called = now - ns - me->wait_ns;
		if (!me->owner_since)
			__sync_fetch_and_sub(&vm->converting, 1);
		else
			owner = me->owner ? thread_of(me->owner) : me;
		/* What was asked later is not what this answers. */
		if (owner && (owner->ask.since != me->owner_since || owner->ask.since > called))
			owner = NULL;
		if (owner)
			owner->ask.answered = true;
	}

	if (ret < 0 || !changed) {
		add(ret < 0 ? &vm->failed : &vm->noops, 1);
		return 0;
	}
	add(&vm->dir[to_private].conversions, 1);
	add(&vm->dir[to_private].pages, nr);
	if (!begun || zap_ns > ns) {
		add(&vm->partial, 1);
		return 0;
	}

	if (owner) {
		add(&vm->joined, 1);
		begin_joined(vm, owner, called);
		fill(&owner->conv, me, id, tgid, gfn, nr, to_private, zap_ns, ns);
		owner->conv.end_ns = now;
		if (!see_entry)
			vcpu_back(owner, now);
	} else {
		add(&vm->unasked, 1);
		me->owner = 0;
		fill(&me->unasked, me, id, tgid, gfn, nr, to_private, zap_ns, ns);
		me->unasked.end_ns = now;
		settle(vm, &me->unasked, &me->ask, now, false);
	}
	return 0;
}

/* Time that a thread spends on memory for a conversion that it serves: its own, or another's. */
static __always_inline void note_punch(__u64 ns)
{
	struct thread *t = thread_get(0);
	__u64 since;

	if (!t)
		return;
	if (!t->ask.since && t->owner) {
		/* What the other one has asked since is not what this belongs to. */
		since = t->owner_since;
		t = thread_of(t->owner);
		if (!t || t->ask.since != since)
			return;
	}
	if (t->ask.since)
		t->punch_ns += ns;
}

SEC("?tp_btf/kvm_gmem_punch_hole")
int BPF_PROG(conv_punch, u64 id, u32 tgid, u64 index, u64 nr, int ret, u64 ns)
{
	note_punch(ns);
	return 0;
}

SEC("?tp_btf/kvm_gmem_fallocate")
int BPF_PROG(conv_fallocate, u64 id, u32 tgid, u64 index, u64 nr, int ret, u64 ns)
{
	note_punch(ns);
	return 0;
}

SEC("?tp_btf/kvm_gmem_prealloc")
int BPF_PROG(conv_prealloc, u64 id, u32 tgid, u64 index, u64 nr, u32 why, bool background,
	     u64 done, int ret, u64 ns)
{
	if (!background)
		note_punch(ns);
	return 0;
}

SEC("?tp_btf/kvm_gmem_fault")
int BPF_PROG(conv_fault, u64 id, u32 tgid, u32 vcpu, u64 gfn, u64 index, u32 order, u32 level,
	     bool allocated, bool private, bool prefetch, int ret, u64 ns)
{
	struct thread *t = thread_get(0);
	struct vm_stats *vm;
	struct event *e;

	if (!t || !t->fill_nr || gfn - t->fill_gfn >= t->fill_nr || !private || prefetch ||
	    ret < RET_PF_FIXED)
		return 0;
	t->fill_nr = 0;
	vm = vm_of(t, tgid);
	if (!vm)
		return 0;
	hist_add(&vm->dir[1].phase[PHASE_FAULT], ns);
	if (!(emit_events & 1 << EV_FIRST_FAULT))
		return 0;
	e = event_new(EV_FIRST_FAULT, bpf_ktime_get_ns(), id, tgid, 4);
	if (e) {
		e->v[0] = vcpu;
		e->v[1] = gfn;
		e->v[2] = allocated;
		e->v[3] = ns;
		bpf_ringbuf_submit(e, 0);
	}
	return 0;
}

/* ---- Series: faults, zeroing, allocations ---- */

static __always_inline struct series *series_get(struct series_key *key)
{
	struct series *s;
	__u32 zero = 0;

	s = bpf_map_lookup_elem(&series, key);
	if (s)
		return s;
	s = bpf_map_lookup_elem(&new_series, &zero);
	if (s)
		bpf_map_update_elem(&series, key, s, BPF_NOEXIST);
	s = bpf_map_lookup_elem(&series, key);
	if (!s)
		add(&losses.series_full, 1);
	return s;
}

static __noinline void series_add(struct series_key *key, __u64 pages, __u64 ns)
{
	struct series *s = key ? series_get(key) : NULL;

	if (!s)
		return;
	add(&s->pages, pages);
	hist_add(&s->ns, ns);
}

/*
 * Where the memory of a fault comes from, the events before it tell, which are of the same thread.
 * The last allocation for a guest is that of a fault which says that it allocated. Memory is zeroed
 * at its first use by the fault, or as the VMM touches it: then the thread ends a fault of the
 * VMM's own page tables before it can be in one of the guest. Time would not tell: an interrupt may
 * come between the end of a fault, which only the kernel knows, and the program here.
 */
static __always_inline __u64 mm_faults(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return task->min_flt + task->maj_flt + 1;
}

SEC("?tp_btf/kvm_gmem_alloc")
int BPF_PROG(source_alloc, u64 id, u32 tgid, u64 index, u64 gfn, u32 why, u32 order_asked,
	     u32 fitted, u32 order, s32 node, u32 zero, int ret, u64 ns)
{
	struct thread *t;

	if (why != GMEM_WHY_GUEST_FAULT || ret < 0 || !wanted(tgid))
		return 0;
	t = thread_get(BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (t)
		t->alloc_source = zero <= GMEM_ZERO_POOL ? SOURCE_FIRST_USE + zero : NR_SOURCES;
	return 0;
}

SEC("?tp_btf/kvm_gmem_zero")
int BPF_PROG(source_zero, u64 id, u32 tgid, u64 index, u64 nr, u32 when, u64 ns)
{
	struct thread *t;

	if (when != GMEM_ZEROED_FIRST_USE || !wanted(tgid))
		return 0;
	t = thread_get(BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (t)
		t->zeroed_at = mm_faults();
	return 0;
}

/* To be asked once for each fault: what was zeroed belongs to one. */
static __always_inline __u8 source_of(bool allocated, int ret)
{
	struct thread *t;
	bool zeroed;

	if (!fault_sources)
		return NR_SOURCES;
	t = thread_get(0);
	zeroed = t && t->zeroed_at == mm_faults();
	if (t)
		t->zeroed_at = 0;
	if (ret < RET_PF_FIXED)
		return NR_SOURCES;
	if (allocated)
		return t && t->alloc_source ? t->alloc_source : NR_SOURCES;
	return zeroed ? SOURCE_FIRST_USE : SOURCE_FOUND;
}

SEC("?tp_btf/kvm_gmem_fault")
int BPF_PROG(count_fault, u64 id, u32 tgid, u32 vcpu, u64 gfn, u64 index, u32 order, u32 level,
	     bool allocated, bool private, bool prefetch, int ret, u64 ns)
{
	struct series_key key = { .tgid = tgid, .kind = SERIES_FAULT };

	if (!wanted(tgid))
		return 0;
	key.d = source_of(allocated, ret);
	if (ret >= RET_PF_FIXED) {
		key.a = order;
		key.b = level;
		if (allocated)
			key.c |= FAULT_ALLOCATED;
	} else {
		key.c = ret < 0 ? FAULT_FAILED : FAULT_RACED;
	}
	if (private)
		key.c |= FAULT_PRIVATE;
	if (prefetch)
		key.c |= FAULT_PREFETCH;
	series_add(&key, 1, ns);
	return 0;
}

SEC("?tp_btf/kvm_gmem_zero")
int BPF_PROG(count_zero, u64 id, u32 tgid, u64 index, u64 nr, u32 when, u64 ns)
{
	struct series_key key = { .tgid = tgid, .kind = SERIES_ZERO, .a = when };

	if (wanted(tgid))
		series_add(&key, nr, ns);
	return 0;
}

SEC("?tp_btf/kvm_gmem_alloc")
int BPF_PROG(count_alloc, u64 id, u32 tgid, u64 index, u64 gfn, u32 why, u32 order_asked,
	     u32 fitted, u32 order, s32 node, u32 zero, int ret, u64 ns)
{
	struct series_key key = { .tgid = tgid, .kind = SERIES_ALLOC, .a = why };

	if (!wanted(tgid))
		return 0;
	if (ret < 0) {
		key.kind = SERIES_ALLOC_FAILED;
		series_add(&key, 0, ns);
		return 0;
	}
	key.node = node;
	key.b = order_asked;
	key.c = fitted;
	key.d = order;
	key.e = zero;
	series_add(&key, 1ULL << (order & 31), ns);
	return 0;
}

SEC("?tp_btf/kvm_gmem_free")
int BPF_PROG(count_free, u64 id, u32 tgid, u64 index, u64 nr, u32 why, u32 mode, u64 pages,
	     u64 failed, u64 ns)
{
	struct series_key key = { .tgid = tgid, .kind = SERIES_FREE, .a = why, .b = mode };
	struct series *s;

	if (!wanted(tgid))
		return 0;
	if (free_latencies) {
		series_add(&key, pages, ns);
		return 0;
	}
	/* This is part of each conversion that is punched out: as cheap as can be. */
	s = series_get(&key);
	if (s)
		add(&s->pages, pages);
	return 0;
}

SEC("?tp_btf/kvm_gmem_prealloc")
int BPF_PROG(count_prealloc, u64 id, u32 tgid, u64 index, u64 nr, u32 why, bool background,
	     u64 done, int ret, u64 ns)
{
	struct series_key key = {
		.tgid = tgid, .kind = SERIES_AHEAD, .a = why, .b = background,
	};

	if (wanted(tgid))
		series_add(&key, done, ns);
	return 0;
}

SEC("?tp_btf/kvm_gmem_split")
int BPF_PROG(count_split, u64 id, u32 tgid, u64 index, u32 order, u32 why, int ret, u64 ns)
{
	struct series_key key = { .tgid = tgid, .kind = SERIES_SPLIT, .a = order, .b = ret < 0 };

	if (wanted(tgid))
		series_add(&key, ret < 0 ? 0 : 1ULL << (order & 31), ns);
	return 0;
}

SEC("?tp_btf/kvm_gmem_collapse")
int BPF_PROG(count_collapse, u64 id, u32 tgid, u64 index, u32 order, u64 holes, u32 why, int ret,
	     u64 ns)
{
	struct series_key key = {
		.tgid = tgid, .kind = SERIES_COLLAPSE, .a = order, .b = ret < 0, .c = why,
	};

	if (wanted(tgid))
		series_add(&key, ret < 0 ? 0 : 1ULL << (order & 31), ns);
	return 0;
}

SEC("?tp_btf/kvm_gmem_policy_decision")
int BPF_PROG(count_decision, u64 id, u32 tgid, const char *name, u32 op, u32 why, u64 index, u64 nr,
	     u64 a, u64 b, bool fitted, bool clamped, bool shadow)
{
	struct decision_key key = { .tgid = tgid, .op = op, .shadow = shadow };
	struct decisions none = {}, *d;

	if (!wanted(tgid))
		return 0;
	bpf_probe_read_kernel_str(key.name, sizeof(key.name), name);
	d = bpf_map_lookup_elem(&decisions, &key);
	if (!d) {
		bpf_map_update_elem(&decisions, &key, &none, BPF_NOEXIST);
		d = bpf_map_lookup_elem(&decisions, &key);
		if (!d) {
			add(&losses.series_full, 1);
			return 0;
		}
	}
	add(&d->count, 1);
	add(&d->fitted, fitted);
	add(&d->clamped, clamped);
	return 0;
}

/* ---- Events, as they are ---- */

/* Values as they are in struct event; their names are in events.c. */
#define VALUES(...)	((const __u64 []){ __VA_ARGS__ })
#define EMIT(type, words, ...) \
	emit(type, id, tgid, words, VALUES(__VA_ARGS__))

static __always_inline int emit(__u16 type, __u64 id, __u32 tgid, __u32 words, const __u64 *values)
{
	struct event *e;

	if (!wanted(tgid))
		return 0;
	e = event_new(type, bpf_ktime_get_ns(), id, tgid, words);
	if (!e)
		return 0;
	__builtin_memcpy(e->v, values, words * sizeof(e->v[0]));
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("?tp_btf/kvm_gmem_create")
int BPF_PROG(ev_create, u64 id, u32 tgid, u64 size, u64 flags)
{
	return EMIT(EV_CREATE, 2, size, flags);
}

SEC("?tp_btf/kvm_gmem_release")
int BPF_PROG(ev_release, u64 id, u32 tgid)
{
	return emit(EV_RELEASE, id, tgid, 0, NULL);
}

SEC("?tp_btf/kvm_gmem_bind")
int BPF_PROG(ev_bind, u64 id, u32 tgid, u32 slot, u64 gfn, u64 index, u64 nr)
{
	return EMIT(EV_BIND, 4, slot, gfn, index, nr);
}

SEC("?tp_btf/kvm_gmem_unbind")
int BPF_PROG(ev_unbind, u64 id, u32 tgid, u32 slot, u64 gfn, u64 index, u64 nr)
{
	return EMIT(EV_UNBIND, 4, slot, gfn, index, nr);
}

SEC("?tp_btf/kvm_gmem_alloc")
int BPF_PROG(ev_alloc, u64 id, u32 tgid, u64 index, u64 gfn, u32 why, u32 order_asked,
	     u32 fitted, u32 order, s32 node, u32 zero, int ret, u64 ns)
{
	return EMIT(EV_ALLOC, 10, index, gfn, why, order_asked, fitted, order, (__s64)node, zero,
		    (__s64)ret, ns);
}

SEC("?tp_btf/kvm_gmem_zero")
int BPF_PROG(ev_zero, u64 id, u32 tgid, u64 index, u64 nr, u32 when, u64 ns)
{
	return EMIT(EV_ZERO, 4, index, nr, when, ns);
}

SEC("?tp_btf/kvm_gmem_free")
int BPF_PROG(ev_free, u64 id, u32 tgid, u64 index, u64 nr, u32 why, u32 mode, u64 pages,
	     u64 failed, u64 ns)
{
	return EMIT(EV_FREE, 7, index, nr, why, mode, pages, failed, ns);
}

SEC("?tp_btf/kvm_gmem_fault")
int BPF_PROG(ev_fault, u64 id, u32 tgid, u32 vcpu, u64 gfn, u64 index, u32 order, u32 level,
	     bool allocated, bool private, bool prefetch, int ret, u64 ns)
{
	return EMIT(EV_FAULT, 11, vcpu, gfn, index, order, level, allocated, private, prefetch,
		    (__s64)ret, ns, source_of(allocated, ret));
}

SEC("?tp_btf/kvm_gmem_prealloc")
int BPF_PROG(ev_prealloc, u64 id, u32 tgid, u64 index, u64 nr, u32 why, bool background, u64 done,
	     int ret, u64 ns)
{
	return EMIT(EV_PREALLOC, 7, index, nr, why, background, done, (__s64)ret, ns);
}

SEC("?tp_btf/kvm_gmem_fallocate")
int BPF_PROG(ev_fallocate, u64 id, u32 tgid, u64 index, u64 nr, int ret, u64 ns)
{
	return EMIT(EV_FALLOCATE, 4, index, nr, (__s64)ret, ns);
}

SEC("?tp_btf/kvm_gmem_punch_hole")
int BPF_PROG(ev_punch_hole, u64 id, u32 tgid, u64 index, u64 nr, int ret, u64 ns)
{
	return EMIT(EV_PUNCH_HOLE, 4, index, nr, (__s64)ret, ns);
}

SEC("?tp_btf/kvm_gmem_invalidate")
int BPF_PROG(ev_invalidate, u64 id, u32 tgid, u64 index, u64 nr, int ret, u64 ns)
{
	return EMIT(EV_INVALIDATE, 4, index, nr, (__s64)ret, ns);
}

SEC("?tp_btf/kvm_gmem_error")
int BPF_PROG(ev_error, u64 id, u32 tgid, u64 index, u64 nr, int ret, u64 ns)
{
	return EMIT(EV_ERROR, 4, index, nr, (__s64)ret, ns);
}

SEC("?tp_btf/kvm_gmem_split")
int BPF_PROG(ev_split, u64 id, u32 tgid, u64 index, u32 order, u32 why, int ret, u64 ns)
{
	return EMIT(EV_SPLIT, 5, index, order, why, (__s64)ret, ns);
}

SEC("?tp_btf/kvm_gmem_collapse")
int BPF_PROG(ev_collapse, u64 id, u32 tgid, u64 index, u32 order, u64 holes, u32 why, int ret,
	     u64 ns)
{
	return EMIT(EV_COLLAPSE, 6, index, order, holes, why, (__s64)ret, ns);
}

SEC("?tp_btf/kvm_gmem_convert_begin")
int BPF_PROG(ev_convert_begin, u64 id, u32 tgid, u64 gfn, u64 nr, u64 attributes, u64 wait_ns)
{
	return EMIT(EV_CONVERT_BEGIN, 4, gfn, nr, attributes, wait_ns);
}

SEC("?tp_btf/kvm_gmem_convert_end")
int BPF_PROG(ev_convert_end, u64 id, u32 tgid, u64 gfn, u64 nr, u64 attributes, bool changed,
	     int ret, u64 zap_ns, u64 ns)
{
	return EMIT(EV_CONVERT_END, 7, gfn, nr, attributes, changed, (__s64)ret, zap_ns, ns);
}

SEC("?tp_btf/kvm_gmem_convert_request")
int BPF_PROG(ev_convert_request, u64 id, u32 tgid, u32 vcpu, u64 gfn, u64 nr, bool to_private,
	     bool hypercall)
{
	return EMIT(EV_CONVERT_REQUEST, 5, vcpu, gfn, nr, to_private, hypercall);
}

/* Pools are the host's, whichever process is asked for. */
SEC("?tp_btf/kvm_gmem_pool")
int BPF_PROG(ev_pool, int node, u32 order, u32 action, u64 nr, u64 ready, u64 ns)
{
	struct event *e = event_new(EV_POOL, bpf_ktime_get_ns(), 0, 0, 6);

	if (!e)
		return 0;
	e->v[0] = (__s64)node;
	e->v[1] = order;
	e->v[2] = action;
	e->v[3] = nr;
	e->v[4] = ready;
	e->v[5] = ns;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

/*
 * Texts stand behind the values. What happens to a policy itself (id 0) concerns all VMs, whichever
 * process is asked for.
 */
#define NAME_WORDS	(NAME_LEN / 8)
#define REASON_WORDS	(REASON_LEN / 8)
#define COMM_WORDS	2

SEC("?tp_btf/kvm_gmem_policy_attach")
int BPF_PROG(ev_policy_attach, u64 id, u32 tgid, const char *name, u64 policy, u64 cgroup_id,
	     u32 flags, u32 uid, const char *comm, u64 tag)
{
	struct event *e;

	if (!wanted(tgid) && id)
		return 0;
	e = event_new(EV_POLICY_ATTACH, bpf_ktime_get_ns(), id, tgid,
		      5 + NAME_WORDS + COMM_WORDS);
	if (!e)
		return 0;
	e->v[0] = policy;
	e->v[1] = cgroup_id;
	e->v[2] = flags;
	e->v[3] = uid;
	e->v[4] = tag;
	bpf_probe_read_kernel_str(&e->v[5], NAME_LEN, name);
	bpf_probe_read_kernel_str(&e->v[5 + NAME_WORDS], COMM_WORDS * 8, comm);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

static __always_inline void emit_policy_end(__u16 type, __u64 id, __u32 tgid,
					    const char *name, __u64 policy, const char *reason)
{
	struct event *e;

	if (!wanted(tgid) && id)
		return;
	e = event_new(type, bpf_ktime_get_ns(), id, tgid, 1 + NAME_WORDS + REASON_WORDS);
	if (!e)
		return;
	e->v[0] = policy;
	bpf_probe_read_kernel_str(&e->v[1], NAME_LEN, name);
	bpf_probe_read_kernel_str(&e->v[1 + NAME_WORDS], REASON_LEN, reason);
	bpf_ringbuf_submit(e, 0);
}

SEC("?tp_btf/kvm_gmem_policy_detach")
int BPF_PROG(ev_policy_detach, u64 id, u32 tgid, const char *name, u64 policy, const char *reason)
{
	emit_policy_end(EV_POLICY_DETACH, id, tgid, name, policy, reason);
	return 0;
}

SEC("?tp_btf/kvm_gmem_policy_trip")
int BPF_PROG(ev_policy_trip, u64 id, u32 tgid, const char *name, u64 policy, const char *reason)
{
	emit_policy_end(EV_POLICY_TRIP, id, tgid, name, policy, reason);
	return 0;
}

SEC("?tp_btf/kvm_gmem_policy_decision")
int BPF_PROG(ev_policy_decision, u64 id, u32 tgid, const char *name, u32 op, u32 why, u64 index,
	     u64 nr, u64 a, u64 b, bool fitted, bool clamped, bool shadow)
{
	struct event *e;

	if (!wanted(tgid))
		return 0;
	e = event_new(EV_POLICY_DECISION, bpf_ktime_get_ns(), id, tgid, 9 + NAME_WORDS);
	if (!e)
		return 0;
	e->v[0] = op;
	e->v[1] = why;
	e->v[2] = index;
	e->v[3] = nr;
	e->v[4] = a;
	e->v[5] = b;
	e->v[6] = fitted;
	e->v[7] = clamped;
	e->v[8] = shadow;
	bpf_probe_read_kernel_str(&e->v[9], NAME_LEN, name);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
