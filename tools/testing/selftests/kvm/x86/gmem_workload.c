// SPDX-License-Identifier: GPL-2.0-only
/*
 * VMs that convert memory between private and shared, as confidential guests
 * do, and check every byte.
 *
 * Each VM is a process, as VMMs are; each of its vCPUs has memory of its own:
 *
 * - A private area, backed by guest_memfd. It is converted in both directions by
 *   KVM_HC_MAP_GPA_RANGE.
 * - With --exit fault or both, a plain area, in a memslot without guest_memfd. It
 *   is made private by the hypercall, and converted back by KVM_EXIT_MEMORY_FAULT
 *   as the guest touches it. The faults of a software-protected VM follow the
 *   attributes: only a private access that guest_memfd cannot serve exits so.
 *
 * The VMM answers each request with one KVM_SET_MEMORY_ATTRIBUTES that really
 * changes something. So the number of conversions that is printed at the end is
 * exact: it is what tracing must see.
 *
 * Each write gives a page a new pattern. The host keeps the tags of what the
 * private and the shared memory of each page must contain. After each conversion
 * the guest checks what it now sees, and writes; the host checks and writes what
 * is shared; the guest checks again, and the neighbours as well.
 */
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <linux/falloc.h>
#include <linux/sizes.h>

#include "gmem_guest.h"
#include "gmem_options.h"
#include "test_util.h"

#define MAX_VMS			64
#define MAX_VCPUS		64
#define MAX_RANGE		SZ_4M
#define MAX_LIVE		8	/* bounce buffers in use at a time, for each area */
#define NEIGHBOURS		4	/* pages on either side, checked each time */
#define MAX_MESSAGES		10

#define SLOT_CONTROL		1
#define SLOT_PRIVATE		2
#define SLOT_PLAIN		3
#define CONTROL_GPA		(4ULL * SZ_1G)
#define PRIVATE_GPA		(8ULL * SZ_1G)
#define PLAIN_GPA		(136ULL * SZ_1G)
#define AREAS_MAX		(128ULL * SZ_1G)

enum pattern {
	PATTERN_BOUNCE,
	PATTERN_2M,
	PATTERN_ACCEPT,
	PATTERN_RANDOM,
};

static const char * const pattern_names[] = { "bounce", "2m", "accept", "random" };

enum exit_how {
	EXIT_HYPERCALL,
	EXIT_FAULT,
	EXIT_BOTH,
};

enum way {
	WAY_HYPERCALL,
	WAY_FAULT,
	WAY_VMM,		/* by the VMM, unasked */
	WAYS,
};

static const char * const exit_names[] = { "hypercall", "fault", "both" };

enum breakage {
	BREAK_NONE,
	BREAK_SHARED,
	BREAK_PRIVATE,
};

static struct {
	u32 vms;
	u32 vcpus;
	u64 size;
	u64 ranges;
	u64 seconds;
	enum pattern pattern;
	enum exit_how exit;
	bool punch;
	bool other_thread;
	bool swap;
	u64 seed;
	const char *policy;
	u64 hold;
	const char *ready_file;
	bool json;
	enum breakage breakage;
	/* from these */
	u64 private_size;	/* of a vCPU's private area */
	u64 plain_size;		/* of its plain area, or 0 */
	bool start_private;	/* the VMM makes the private areas so at the start */
} opt = {
	.vms = 1,
	.vcpus = 1,
	.ranges = 64,
	.punch = true,
	.seed = 1,
};

/* Counters. All of them are exact. */
struct counts {
	u64 ranges;			/* that vCPUs were told to convert */
	u64 requested;			/* conversions asked for: exits, and the VMM's own */
	u64 made;			/* KVM_SET_MEMORY_ATTRIBUTES that succeeded */
	u64 by_way[WAYS];
	u64 to_private;
	u64 to_shared;
	u64 bytes;			/* converted */
	u64 punches;
	u64 faults;			/* private pages that the guest mapped by touching them */
	u64 allocs;			/* of them, those that find no memory */
	u64 verified;			/* bytes compared */
	u64 errors;			/* pages that differed, and conversions that failed */
};

/* Shared with the process of a VM. */
struct vm_state {
	pid_t pid;
	bool ready;
	bool done;
	u64 ns;
	struct counts counts;
};

static struct shared {
	sem_t start;
	sem_t finish;
	bool stop;
	struct vm_state vm[MAX_VMS];
} *shared;

struct page {
	u64 private_tag;
	u64 shared_tag;
	bool private;
	bool mapped;		/* by the guest, as private memory */
	bool allocated;
};

struct range {
	u64 first;		/* page of the area */
	u64 nr;
};

struct area {
	u64 gpa;
	u64 nr;			/* pages */
	void *shared;		/* the host's view */
	bool plain;
	struct page *pages;
	struct range live[MAX_LIVE];
	unsigned int nr_live;
	u64 cursor;
	u64 step;
};

struct vcpu_thread {
	pthread_t thread;
	struct kvm_vcpu *vcpu;
	u32 index;
	u64 random;
	u64 next_tag;
	struct gmem_guest_cmd *cmd;	/* the host's addresses of what is in the control slot */
	u64 *tags;
	u64 tags_gva;
	struct area areas[2];
	struct counts counts;
};

/* Of the process of a VM */
static u32 vm_index;
static struct kvm_vm *vm;
static int gmem_fd;
static struct vcpu_thread vcpu_threads[MAX_VCPUS];
static int messages;

static void __printf(1, 2) complain(const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "gmem_workload: %s\n", text);
}

static u64 next_random(struct vcpu_thread *t)
{
	t->random ^= t->random << 13;
	t->random ^= t->random >> 7;
	t->random ^= t->random << 17;
	return t->random;
}

/* 0 to n - 1 */
static u64 random_below(struct vcpu_thread *t, u64 n)
{
	return (next_random(t) >> 16) % n;
}

static void __printf(2, 3) fail(struct vcpu_thread *t, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	t->counts.errors++;
	if (__atomic_fetch_add(&messages, 1, __ATOMIC_RELAXED) >= MAX_MESSAGES)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	complain("VM %u (pid %d) vCPU %u: %s", vm_index, getpid(), t->index, text);
}

/* Conversions, on the side of the VMM. */

static void wait_sem(sem_t *sem)
{
	while (sem_wait(sem) && errno == EINTR)
		;
}

static int punch(u64 gpa, u64 size)
{
	return fallocate(gmem_fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, gpa - PRIVATE_GPA,
			 size);
}

static void set_private(struct area *area, u64 first, u64 nr, bool private)
{
	u64 i;

	for (i = first; i < first + nr; i++) {
		area->pages[i].private = private;
		/* KVM unmaps the whole range, whatever it was. */
		area->pages[i].mapped = false;
		if (!private && !area->plain && opt.punch) {
			area->pages[i].allocated = false;
			area->pages[i].private_tag = 0;
		}
	}
}

/*
 * With --other-thread, one thread of the VMM calls the ioctl for all vCPUs, one after the other, as
 * VMMs do whose vCPU threads leave such work to an event loop.
 */
static struct {
	sem_t free;			/* one request at a time */
	sem_t asked;
	sem_t done;
	struct kvm_memory_attributes *attr;
	int ret;
	int err;
} converter;

static void *converter_main(void *arg)
{
	for (;;) {
		wait_sem(&converter.asked);
		converter.ret = __vm_ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, converter.attr);
		converter.err = errno;
		sem_post(&converter.done);
	}
	return NULL;
}

static void start_converter(void)
{
	pthread_t thread;

	sem_init(&converter.free, 0, 1);
	sem_init(&converter.asked, 0, 0);
	sem_init(&converter.done, 0, 0);
	kvm_pthread_create(&thread, NULL, converter_main, NULL);
}

/*
 * With --swap, two vCPUs that ask at the same time get what they asked for from each other's
 * thread. One that has waited for another in vain, which may be done, helps itself.
 */
#define SWAP_WAIT_NS	(20 * 1000 * 1000)

struct swap {
	struct kvm_memory_attributes *attr;
	struct swap *other;		/* who has met this one */
	sem_t met;
	sem_t done;
	int ret;
	int err;
};

static struct swap *swap_waiting;
static pthread_mutex_t swap_lock = PTHREAD_MUTEX_INITIALIZER;

/* Who waits there, or NULL after @me has begun to wait. */
static struct swap *swap_meet(struct swap *me)
{
	struct swap *other;

	pthread_mutex_lock(&swap_lock);
	other = swap_waiting;
	swap_waiting = other ? NULL : me;
	if (other)
		other->other = me;
	pthread_mutex_unlock(&swap_lock);
	if (other)
		sem_post(&other->met);
	return other;
}

/* Wait for another one; NULL if none came. */
static struct swap *swap_await(struct swap *me)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += SWAP_WAIT_NS;
	until.tv_sec += until.tv_nsec / NSEC_PER_SEC;
	until.tv_nsec %= NSEC_PER_SEC;
	while (sem_timedwait(&me->met, &until) && errno == EINTR)
		;
	pthread_mutex_lock(&swap_lock);
	if (swap_waiting == me)
		swap_waiting = NULL;
	pthread_mutex_unlock(&swap_lock);
	return me->other;
}

static int swap_attributes(struct kvm_memory_attributes *attr)
{
	struct swap me = { .attr = attr }, *other;

	sem_init(&me.met, 0, 0);
	sem_init(&me.done, 0, 0);
	other = swap_meet(&me) ?: swap_await(&me);
	if (!other)
		return __vm_ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, attr);

	other->ret = __vm_ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, other->attr);
	other->err = errno;
	sem_post(&other->done);
	wait_sem(&me.done);
	errno = me.err;
	return me.ret;
}

static int set_attributes(struct kvm_memory_attributes *attr)
{
	int ret, err;

	if (opt.swap)
		return swap_attributes(attr);
	if (!opt.other_thread)
		return __vm_ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, attr);

	wait_sem(&converter.free);
	converter.attr = attr;
	sem_post(&converter.asked);
	wait_sem(&converter.done);
	ret = converter.ret;
	err = converter.err;
	sem_post(&converter.free);
	errno = err;
	return ret;
}

static int do_convert(struct vcpu_thread *t, struct area *area, u64 first, u64 nr, bool private,
		      enum way way)
{
	struct kvm_memory_attributes attr = {
		.address = area->gpa + first * PAGE_SIZE,
		.size = nr * PAGE_SIZE,
		.attributes = private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
	};
	u64 i;

	t->counts.requested++;
	for (i = first; i < first + nr && area->pages[i].private == private; i++)
		;
	TEST_ASSERT(i < first + nr, "a conversion that changes nothing");
	if (set_attributes(&attr)) {
		fail(t, "KVM_SET_MEMORY_ATTRIBUTES 0x%llx: %s", attr.address, strerror(errno));
		return -1;
	}
	t->counts.made++;
	t->counts.by_way[way]++;
	if (private)
		t->counts.to_private++;
	else
		t->counts.to_shared++;
	t->counts.bytes += attr.size;

	/* First the attributes, then the memory, as QEMU does. */
	if (!private && !area->plain && opt.punch) {
		if (punch(attr.address, attr.size)) {
			fail(t, "punch 0x%llx: %s", attr.address, strerror(errno));
			return -1;
		}
		t->counts.punches++;
	}
	set_private(area, first, nr, private);
	return 0;
}

static struct area *find_area(struct vcpu_thread *t, u64 gpa, u64 size)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(t->areas); i++) {
		struct area *area = &t->areas[i];

		if (area->nr && gpa >= area->gpa && gpa + size <= area->gpa + area->nr * PAGE_SIZE)
			return area;
	}
	TEST_FAIL("vCPU %u: an exit for 0x%lx, 0x%lx bytes: not its own", t->index, gpa, size);
}

static void handle_hypercall(struct vcpu_thread *t)
{
	struct kvm_run *run = t->vcpu->run;
	u64 gpa = run->hypercall.args[0], size = run->hypercall.args[1] * PAGE_SIZE;
	bool private = run->hypercall.args[2] & KVM_MAP_GPA_RANGE_ENCRYPTED;
	struct area *area;

	TEST_ASSERT(run->hypercall.nr == KVM_HC_MAP_GPA_RANGE, "hypercall %llu", run->hypercall.nr);
	area = find_area(t, gpa, size);
	run->hypercall.ret = do_convert(t, area, (gpa - area->gpa) / PAGE_SIZE, size / PAGE_SIZE,
					private, WAY_HYPERCALL);
}

static void handle_memory_fault(struct vcpu_thread *t)
{
	struct kvm_run *run = t->vcpu->run;
	u64 gpa = run->memory_fault.gpa, size = run->memory_fault.size;
	struct area *area = find_area(t, gpa, size);
	u64 first = (gpa - area->gpa) / PAGE_SIZE;

	TEST_ASSERT(area->plain && run->memory_fault.flags == KVM_MEMORY_EXIT_FLAG_PRIVATE,
		    "unexpected memory fault at 0x%lx, flags 0x%llx", gpa, run->memory_fault.flags);
	TEST_ASSERT(!do_convert(t, area, first, size / PAGE_SIZE, false, WAY_FAULT),
		    "cannot go on after that");
}

/* Have the guest execute *t->cmd, and serve its exits. */
static void run_guest(struct vcpu_thread *t)
{
	struct kvm_run *run = t->vcpu->run;
	struct ucall uc;

	for (;;) {
		if (_vcpu_run(t->vcpu)) {
			TEST_ASSERT(errno == EFAULT && run->exit_reason == KVM_EXIT_MEMORY_FAULT,
				    "KVM_RUN: exit %u (%s), guest at 0x%lx + 0x%lx",
				    run->exit_reason, exit_reason_str(run->exit_reason),
				    t->cmd->gpa, t->cmd->at);
			handle_memory_fault(t);
			continue;
		}
		if (run->exit_reason == KVM_EXIT_HYPERCALL) {
			handle_hypercall(t);
			continue;
		}
		TEST_ASSERT_KVM_EXIT_REASON(t->vcpu, KVM_EXIT_IO);
		switch (get_ucall(t->vcpu, &uc)) {
		case UCALL_SYNC:
			return;
		case UCALL_ABORT:
			REPORT_GUEST_ASSERT(uc);
			return;
		default:
			TEST_FAIL("unknown ucall %lu", uc.cmd);
		}
	}
}

/* What the guest does, and what must come of it. */

static u64 visible_tag(const struct page *page)
{
	return page->private ? page->private_tag : page->shared_tag;
}

static void guest_pages(struct vcpu_thread *t, struct area *area, enum gmem_guest_op op,
			u64 first, u64 nr)
{
	struct page *page;
	u64 i;

	for (i = 0; i < nr; i++) {
		page = &area->pages[first + i];
		t->tags[i] = visible_tag(page);
		if (!page->private || page->mapped)
			continue;
		TEST_ASSERT(!area->plain, "the guest would exit");
		t->counts.faults++;
		if (!page->allocated)
			t->counts.allocs++;
		page->mapped = true;
		page->allocated = true;
	}
	*t->cmd = (struct gmem_guest_cmd) {
		.op = op,
		.gpa = area->gpa + first * PAGE_SIZE,
		.len = nr * PAGE_SIZE,
		.tags = (u64 *)t->tags_gva,
	};
	run_guest(t);
}

static void guest_check(struct vcpu_thread *t, struct area *area, u64 first, u64 nr,
			const char *what)
{
	guest_pages(t, area, GMEM_GUEST_CHECK, first, nr);
	t->counts.verified += nr * PAGE_SIZE;
	if (t->cmd->result) {
		fail(t, "%s: %lu pages differ; the guest at 0x%lx should see 0x%lx, and sees 0x%lx",
		     what, t->cmd->result, t->cmd->bad_gpa, t->cmd->want, t->cmd->got);
		t->counts.errors += t->cmd->result - 1;
	}
}

static void new_tags(struct vcpu_thread *t, struct area *area, u64 first, u64 nr)
{
	struct page *page;

	for (page = &area->pages[first]; page < &area->pages[first + nr]; page++) {
		if (page->private)
			page->private_tag = t->next_tag++;
		else
			page->shared_tag = t->next_tag++;
	}
}

static void guest_fill(struct vcpu_thread *t, struct area *area, u64 first, u64 nr)
{
	new_tags(t, area, first, nr);
	guest_pages(t, area, GMEM_GUEST_FILL, first, nr);
}

/* Shared memory stays what it was while the guest has a private page in its place. */
static void host_check(struct vcpu_thread *t, struct area *area, u64 first, u64 nr,
		       const char *what)
{
	const u64 *mem;
	int word;
	u64 i;

	for (i = first; i < first + nr; i++) {
		mem = area->shared + i * PAGE_SIZE;
		word = gmem_check_page(mem, area->pages[i].shared_tag);
		if (word >= 0)
			fail(t, "%s: the host at 0x%lx should see 0x%lx, and sees 0x%lx", what,
			     (unsigned long)(area->gpa + i * PAGE_SIZE + word * sizeof(u64)),
			     gmem_pattern(area->pages[i].shared_tag, word), mem[word]);
	}
	t->counts.verified += nr * PAGE_SIZE;
}

static void host_fill(struct vcpu_thread *t, struct area *area, u64 first, u64 nr)
{
	u64 i;

	new_tags(t, area, first, nr);
	for (i = first; i < first + nr; i++)
		gmem_fill_page(area->shared + i * PAGE_SIZE, area->pages[i].shared_tag);
}

static void corrupt(struct vcpu_thread *t, struct area *area, u64 first, u64 nr)
{
	static bool done;
	u64 i;

	if (done || t->index)
		return;
	if (opt.breakage == BREAK_SHARED) {
		((u8 *)area->shared)[first * PAGE_SIZE + 1234] ^= 1;
		done = true;
	}
	if (opt.breakage == BREAK_PRIVATE && !area->plain) {
		/* a neighbour loses its memory */
		for (i = 0; i < area->nr && !done; i++) {
			if (!area->pages[i].private || (i >= first && i < first + nr))
				continue;
			TEST_ASSERT(!punch(area->gpa + i * PAGE_SIZE, PAGE_SIZE), "punch");
			done = true;
		}
	}
}

static void check_neighbours(struct vcpu_thread *t, struct area *area, u64 first, u64 nr)
{
	u64 before = min_t(u64, first, NEIGHBOURS);
	u64 after = min_t(u64, area->nr - first - nr, NEIGHBOURS);
	u64 i;

	/* In the plain area, looking at a private page would convert it. */
	for (i = 1; area->plain && i <= before; i++)
		if (area->pages[first - i].private)
			before = i - 1;
	for (i = 0; area->plain && i < after; i++)
		if (area->pages[first + nr + i].private)
			after = i;
	if (before)
		guest_check(t, area, first - before, before, "the pages before it");
	if (after)
		guest_check(t, area, first + nr, after, "the pages after it");
}

static void convert(struct vcpu_thread *t, struct area *area, u64 first, u64 nr, bool private)
{
	t->counts.ranges++;
	if (area->plain && !private) {
		*t->cmd = (struct gmem_guest_cmd) {
			.op = GMEM_GUEST_TOUCH,
			.gpa = area->gpa + first * PAGE_SIZE,
			.len = nr * PAGE_SIZE,
			.step = PAGE_SIZE,
		};
		run_guest(t);
	} else {
		*t->cmd = (struct gmem_guest_cmd) {
			.op = GMEM_GUEST_CONVERT,
			.gpa = area->gpa + first * PAGE_SIZE,
			.len = nr * PAGE_SIZE,
			.value = private,
		};
		run_guest(t);
		TEST_ASSERT(!t->cmd->result, "the hypercall returned %ld", (long)t->cmd->result);
	}

	if (!private) {
		guest_check(t, area, first, nr, "shared memory is not what it was");
		guest_fill(t, area, first, nr);
		host_check(t, area, first, nr, "after the guest's write");
		host_fill(t, area, first, nr);
		corrupt(t, area, first, nr);
		guest_check(t, area, first, nr, "after the host's write");
	} else {
		if (!area->plain) {
			guest_check(t, area, first, nr, "private memory is not what it must be");
			guest_fill(t, area, first, nr);
		}
		host_check(t, area, first, nr, "shared memory behind private memory");
		corrupt(t, area, first, nr);
		if (!area->plain)
			guest_check(t, area, first, nr, "after the guest's private write");
	}
	check_neighbours(t, area, first, nr);
}

/* Patterns. Each step converts one range of the area. */

static u64 bounce_pages(struct vcpu_thread *t)
{
	/* 4K to 256K; the small ones are more */
	unsigned int order = min(random_below(t, 7), random_below(t, 7));

	return opt.size ? opt.size / PAGE_SIZE : 1ULL << order;
}

/*
 * Bounce buffers: taken one behind the other from the pool, and given back in
 * that order some time later. A plain area has it the other way round: what is
 * live there is private, so that giving it back is a fault.
 */
static void step_bounce(struct vcpu_thread *t, struct area *area)
{
	u64 nr = bounce_pages(t);
	struct range r;
	unsigned int i;
	bool give;

	if (area->cursor + nr > area->nr)
		area->cursor = 0;
	give = area->nr_live == MAX_LIVE || (area->nr_live && random_below(t, 2));
	for (i = 0; i < area->nr_live && !give; i++)
		give = area->cursor < area->live[i].first + area->live[i].nr &&
		       area->live[i].first < area->cursor + nr;
	if (give) {
		r = area->live[0];
		area->nr_live--;
		memmove(area->live, area->live + 1, area->nr_live * sizeof(r));
	} else {
		r = (struct range) { .first = area->cursor, .nr = nr };
		area->live[area->nr_live++] = r;
		area->cursor += nr;
	}
	convert(t, area, r.first, r.nr, give != area->plain);
}

/* 2M, to shared and back, one after the other */
static void step_2m(struct vcpu_thread *t, struct area *area)
{
	const u64 nr = SZ_2M / PAGE_SIZE;
	u64 first = area->step / 2 * nr % area->nr;

	convert(t, area, first, nr, (area->step & 1) != area->plain);
}

/* A guest accepts its memory: converts it, and touches it for the first time. */
static void step_accept(struct vcpu_thread *t, struct area *area)
{
	u64 nr = opt.size / PAGE_SIZE;

	convert(t, area, area->step * nr, nr, true);
}

/* Any range, from what its first page is to the other. */
static void step_random(struct vcpu_thread *t, struct area *area)
{
	u64 nr = 1 + random_below(t, opt.size / PAGE_SIZE);
	u64 first = random_below(t, area->nr - nr + 1);

	convert(t, area, first, nr, !area->pages[first].private);
}

static void step(struct vcpu_thread *t, u64 n)
{
	struct area *area = &t->areas[0];

	if (opt.exit == EXIT_FAULT || (opt.exit == EXIT_BOTH && (n & 1)))
		area = &t->areas[1];
	switch (opt.pattern) {
	case PATTERN_BOUNCE:
		step_bounce(t, area);
		break;
	case PATTERN_2M:
		step_2m(t, area);
		break;
	case PATTERN_ACCEPT:
		step_accept(t, area);
		break;
	case PATTERN_RANDOM:
		step_random(t, area);
		break;
	}
	area->step++;
}

/* Every byte of everything, once more */
static void check_all(struct vcpu_thread *t, struct area *area)
{
	u64 i, n;

	for (i = 0; i < area->nr; i += n) {
		for (n = 1; i + n < area->nr; n++)
			if (area->pages[i + n].private != area->pages[i].private)
				break;
		/* A private page of a plain area would be converted by the look. */
		if (!area->pages[i].private || !area->plain)
			guest_check(t, area, i, n, "at the end");
	}
	host_check(t, area, 0, area->nr, "at the end");
}

static void *vcpu_main(void *arg)
{
	struct vcpu_thread *t = arg;
	u64 end = opt.seconds ? gmem_now_ns() + opt.seconds * 1000000000ULL : 0;
	struct area *area;
	u64 n;
	int i;

	for (area = t->areas; area < t->areas + ARRAY_SIZE(t->areas); area++)
		if (area->nr && (area->plain || opt.start_private))
			guest_fill(t, area, 0, area->nr);

	for (n = 0; !READ_ONCE(shared->stop) && (end ? gmem_now_ns() < end : n < opt.ranges); n++)
		step(t, n);

	for (i = 0; i < ARRAY_SIZE(t->areas); i++)
		check_all(t, &t->areas[i]);
	return NULL;
}

/* The VM */

static void add_slot(u32 slot, u64 gpa, u64 size, int fd, void **hva)
{
	*hva = gmem_mmap_anon(size);
	TEST_ASSERT(*hva, "mmap() of %lu bytes: %s", size, strerror(errno));
	vm_set_user_memory_region2(vm, slot, fd < 0 ? 0 : KVM_MEM_GUEST_MEMFD, gpa, size, *hva,
				   fd, 0);
	gmem_map_identity(vm, gpa, gpa + size);
}

static int create_guest_memfd(u64 size)
{
	struct kvm_create_guest_memfd args = { .size = size };
	int fd;

	if (opt.policy)
		gmem_ask_policy(&args, opt.policy);
	fd = __vm_ioctl(vm, KVM_CREATE_GUEST_MEMFD, &args);
	if (fd >= 0)
		return fd;
	if (opt.policy && errno == ENOENT)
		complain("no policy named '%s' is loaded", opt.policy);
	else
		complain("KVM_CREATE_GUEST_MEMFD: %s", strerror(errno));
	exit(1);
}

static void add_area(struct area *area, u64 gpa, u64 size, void *hva, bool plain)
{
	area->gpa = gpa;
	area->nr = size / PAGE_SIZE;
	area->shared = hva;
	area->plain = plain;
	area->pages = calloc(area->nr, sizeof(*area->pages));
	TEST_ASSERT(area->pages, "out of memory");
}

static void create_vm(void)
{
	const struct vm_shape shape = {
		.mode = VM_MODE_DEFAULT,
		.type = KVM_X86_SW_PROTECTED_VM,
	};
	u64 largest = max(opt.private_size, opt.plain_size);
	u64 tags_size = align_up(largest / PAGE_SIZE * sizeof(u64), PAGE_SIZE);
	u64 control_each = PAGE_SIZE + tags_size;
	u64 control_size = align_up(opt.vcpus * control_each, SZ_2M);
	u64 areas = opt.vcpus * (opt.private_size + opt.plain_size) + control_size;
	void *control, *private, *plain = NULL;
	struct vcpu_thread *t;
	u32 i;

	/* That is room for page tables of 4K mappings: plenty for these of 2M. */
	vm = __vm_create(shape, opt.vcpus, areas / PAGE_SIZE);
	vm_enable_cap(vm, KVM_CAP_EXIT_HYPERCALL, BIT(KVM_HC_MAP_GPA_RANGE));
	gmem_fd = create_guest_memfd(opt.vcpus * opt.private_size);
	add_slot(SLOT_CONTROL, CONTROL_GPA, control_size, -1, &control);
	add_slot(SLOT_PRIVATE, PRIVATE_GPA, opt.vcpus * opt.private_size, gmem_fd, &private);
	if (opt.plain_size)
		add_slot(SLOT_PLAIN, PLAIN_GPA, opt.vcpus * opt.plain_size, -1, &plain);

	for (i = 0; i < opt.vcpus; i++) {
		t = &vcpu_threads[i];
		t->index = i;
		t->random = (opt.seed + 1) * 0x9e3779b97f4a7c15ULL;
		t->random ^= (u64)vm_index << 32 ^ i << 8 ^ 0x55;
		t->next_tag = (u64)(vm_index + 1) << 56 | (u64)(i + 1) << 40;
		t->cmd = control + i * control_each;
		t->tags = control + i * control_each + PAGE_SIZE;
		t->tags_gva = CONTROL_GPA + i * control_each + PAGE_SIZE;
		add_area(&t->areas[0], PRIVATE_GPA + i * opt.private_size, opt.private_size,
			 private + i * opt.private_size, false);
		if (opt.plain_size)
			add_area(&t->areas[1], PLAIN_GPA + i * opt.plain_size, opt.plain_size,
				 plain + i * opt.plain_size, true);
		t->vcpu = vm_vcpu_add(vm, i, gmem_guest_main);
		vcpu_args_set(t->vcpu, 1, CONTROL_GPA + i * control_each);
	}
}

/* All of a VM's memory is private before it starts: one conversion. */
static void start_private(void)
{
	struct counts *c = &vcpu_threads[0].counts;
	u32 i;

	vm_mem_set_private(vm, PRIVATE_GPA, opt.vcpus * opt.private_size);
	for (i = 0; i < opt.vcpus; i++)
		set_private(&vcpu_threads[i].areas[0], 0, vcpu_threads[i].areas[0].nr, true);
	c->requested++;
	c->made++;
	c->by_way[WAY_VMM]++;
	c->to_private++;
	c->bytes += opt.vcpus * opt.private_size;
}

static void add_counts(struct counts *sum, const struct counts *c)
{
	const u64 *from = (const u64 *)c;
	u64 *to = (u64 *)sum;
	int i;

	for (i = 0; i < sizeof(*c) / sizeof(u64); i++)
		to[i] += from[i];
}

static void vm_main(u32 index)
{
	struct vm_state *state = &shared->vm[index];
	u64 start;
	u32 i;

	vm_index = index;
	/* Whatever becomes of the parent, no VM stays behind. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == 1)
		exit(1);
	/* The parent decides when to end. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	/* What the library prints is no part of the summary. */
	dup2(STDERR_FILENO, STDOUT_FILENO);

	create_vm();
	if (opt.other_thread)
		start_converter();
	state->ready = true;
	wait_sem(&shared->start);

	start = gmem_now_ns();
	if (opt.start_private)
		start_private();
	for (i = 0; i < opt.vcpus; i++)
		kvm_pthread_create(&vcpu_threads[i].thread, NULL, vcpu_main, &vcpu_threads[i]);
	for (i = 0; i < opt.vcpus; i++) {
		kvm_pthread_join(vcpu_threads[i].thread, NULL);
		add_counts(&state->counts, &vcpu_threads[i].counts);
	}
	state->ns = gmem_now_ns() - start;
	state->done = true;

	wait_sem(&shared->finish);
	close(gmem_fd);
	kvm_vm_free(vm);
	exit(0);
}

/* The parent */

static void on_signal(int sig)
{
	WRITE_ONCE(shared->stop, true);
}

static void kill_vms(void)
{
	u32 i;

	for (i = 0; i < opt.vms; i++)
		if (shared->vm[i].pid > 0)
			kill(shared->vm[i].pid, SIGKILL);
}

/* If a VM ended when it should not have, all end. */
static void check_vms(void)
{
	int status;
	pid_t pid;

	pid = waitpid(-1, &status, WNOHANG);
	if (pid <= 0)
		return;
	if (WIFSIGNALED(status))
		complain("the VM with pid %d was killed by signal %d", pid, WTERMSIG(status));
	else
		complain("the VM with pid %d failed (exit %d)", pid, WEXITSTATUS(status));
	kill_vms();
	exit(WIFEXITED(status) && WEXITSTATUS(status) == KSFT_SKIP ? KSFT_SKIP : 1);
}

static void nap(void)
{
	const struct timespec ts = { .tv_nsec = 5000000 };

	nanosleep(&ts, NULL);
}

static void wait_all(bool done)
{
	u32 i;

	for (i = 0; i < opt.vms; i++) {
		while (!READ_ONCE(*(done ? &shared->vm[i].done : &shared->vm[i].ready))) {
			check_vms();
			nap();
		}
	}
}

static void write_ready_file(const char *state)
{
	char *tmp;
	FILE *f;
	u32 i;

	if (!opt.ready_file)
		return;
	tmp = strdup_printf("%s.%d", opt.ready_file, getpid());
	f = fopen(tmp, "w");
	if (!f) {
		complain("%s: %s", tmp, strerror(errno));
		kill_vms();
		exit(1);
	}
	fprintf(f, "%s\n", state);
	for (i = 0; i < opt.vms; i++)
		fprintf(f, "vm=%u pid=%d\n", i, shared->vm[i].pid);
	fclose(f);
	if (rename(tmp, opt.ready_file)) {
		complain("%s: %s", opt.ready_file, strerror(errno));
		kill_vms();
		exit(1);
	}
	free(tmp);
}

static void print_counts(const struct counts *c, u64 ns)
{
	const char *kv = opt.json ? ", \"%s\": %lu" : " %s=%lu";
#define P(name, value)	printf(kv, name, (unsigned long)(value))

	P("ranges", c->ranges);
	P("requested", c->requested);
	P("conversions", c->made);
	P("to_private", c->to_private);
	P("to_shared", c->to_shared);
	P("by_hypercall", c->by_way[WAY_HYPERCALL]);
	P("by_fault", c->by_way[WAY_FAULT]);
	P("by_vmm", c->by_way[WAY_VMM]);
	P("bytes", c->bytes);
	P("punches", c->punches);
	P("faults", c->faults);
	P("allocations", c->allocs);
	P("verified_bytes", c->verified);
	P("errors", c->errors);
	P("ms", ns / 1000000);
#undef P
}

static void print_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			putchar('\\');
		if ((unsigned char)*s < ' ')
			printf("\\u%04x", *s);
		else
			putchar(*s);
	}
	putchar('"');
}

static void print_summary(const struct counts *sum, u64 ns)
{
	u32 i;

	if (opt.json) {
		printf("{\"schema\": 1, \"program\": \"gmem_workload\"");
		printf(", \"pattern\": \"%s\"", pattern_names[opt.pattern]);
		printf(", \"exit\": \"%s\"", exit_names[opt.exit]);
		printf(", \"seed\": %lu", opt.seed);
		printf(", \"punch\": %s, \"policy\": ", opt.punch ? "true" : "false");
		if (opt.policy)
			print_string(opt.policy);
		else
			printf("null");
		printf(", \"vms\": [");
		for (i = 0; i < opt.vms; i++) {
			printf("%s{\"vm\": %u, \"pid\": %d", i ? ", " : "", i, shared->vm[i].pid);
			print_counts(&shared->vm[i].counts, shared->vm[i].ns);
			printf("}");
		}
		printf("], \"total\": {\"vms\": %u, \"vcpus\": %u", opt.vms, opt.vms * opt.vcpus);
		print_counts(sum, ns);
		printf("}}\n");
	} else {
		for (i = 0; i < opt.vms; i++) {
			printf("vm: vm=%u pid=%d", i, shared->vm[i].pid);
			print_counts(&shared->vm[i].counts, shared->vm[i].ns);
			printf("\n");
		}
		printf("summary: vms=%u vcpus=%u", opt.vms, opt.vms * opt.vcpus);
		print_counts(sum, ns);
		printf("\n");
	}
	fflush(stdout);
}

static int run(void)
{
	struct counts sum = {};
	u64 start, ns;
	int status, rc = 0;
	pid_t pid;
	u32 i;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	TEST_ASSERT(shared != MAP_FAILED, "mmap(): %s", strerror(errno));
	sem_init(&shared->start, 1, 0);
	sem_init(&shared->finish, 1, 0);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);

	for (i = 0; i < opt.vms; i++) {
		pid = fork();
		if (!pid)
			vm_main(i);
		if (pid < 0) {
			complain("fork(): %s", strerror(errno));
			kill_vms();
			return 1;
		}
		shared->vm[i].pid = pid;
	}
	wait_all(false);
	write_ready_file("running");
	start = gmem_now_ns();
	for (i = 0; i < opt.vms; i++)
		sem_post(&shared->start);
	wait_all(true);
	ns = gmem_now_ns() - start;

	for (i = 0; i < opt.vms; i++)
		add_counts(&sum, &shared->vm[i].counts);
	print_summary(&sum, ns);

	if (opt.hold) {
		write_ready_file("held");
		start = gmem_now_ns();
		while (!READ_ONCE(shared->stop) &&
		       gmem_now_ns() - start < opt.hold * 1000000000ULL) {
			check_vms();
			nap();
		}
	}
	for (i = 0; i < opt.vms; i++)
		sem_post(&shared->finish);
	for (i = 0; i < opt.vms; i++) {
		while ((pid = waitpid(shared->vm[i].pid, &status, 0)) < 0 && errno == EINTR)
			;
		if (pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status)) {
			complain("VM %u (pid %d) did not end well", i, shared->vm[i].pid);
			rc = 1;
		}
	}
	write_ready_file("done");

	if (sum.errors || sum.requested != sum.made) {
		complain("%lu errors, %lu of %lu conversions made", sum.errors, sum.made,
			 sum.requested);
		rc = 1;
	}
	return rc;
}

static void print_help(void)
{
	puts("usage: gmem_workload [OPTION]...\n"
	     "VMs with guest_memfd that convert memory between private and shared, and verify\n"
	     "every byte.\n"
	     "\n"
	     "  -v, --vms N          VMs, each a process of its own (1)\n"
	     "  -c, --vcpus N        vCPUs of each VM (1)\n"
	     "  -p, --pattern NAME   what is converted:\n"
	     "                         bounce  clustered buffers of 4K to 256K, to shared and back\n"
	     "                                 (the default)\n"
	     "                         2m      2M, to shared and back\n"
	     "                         accept  4M by 4M to private, and the first touch of it\n"
	     "                         random  any ranges, from what they are to the other\n"
	     "  -s, --size SIZE      of a range, 4K to 4M; random: the largest (1M)\n"
	     "  -n, --count N        ranges that each vCPU converts (64)\n"
	     "  -t, --time SECONDS   convert for that long, instead of -n\n"
	     "  -e, --exit HOW       how the guest asks:\n"
	     "                         hypercall  by KVM_HC_MAP_GPA_RANGE (the default)\n"
	     "                         fault      to shared by KVM_EXIT_MEMORY_FAULT, 4K at a time,\n"
	     "                                    to private by the hypercall\n"
	     "                         both       in turns\n"
	     "      --punch          punch out private memory that becomes shared (the default)\n"
	     "      --no-punch       keep it\n"
	     "      --other-thread   another thread than the vCPU's converts\n"
	     "      --swap           vCPUs that ask at the same time convert for each other\n"
	     "      --seed N         of what is random (1)\n"
	     "      --policy NAME    ask for this gmem policy (a kernel with GMEM_BPF)\n"
	     "      --hold SECONDS   keep the VMs after the summary for that long, or until SIGTERM\n"
	     "      --ready-file F   write 'running' and the pids into F when the VMs start to\n"
	     "                       convert, 'held' when the hold begins, 'done' at the end\n"
	     "      --break WHAT     on purpose, corrupt a byte of 'shared' memory, or lose a page\n"
	     "                       of 'private' memory: the run must fail\n"
	     "  -j, --json           print the summary in JSON\n"
	     "  -h, --help\n"
	     "\n"
	     "The last line is the summary. In it, conversions counts KVM_SET_MEMORY_ATTRIBUTES,\n"
	     "each of which changed something; by_vmm are those that VMs start with. faults are\n"
	     "the private pages that the guest mapped by touching them, and allocations those of\n"
	     "them that were missing, as they are without a policy and with folios of 4K.\n"
	     "SIGTERM ends a run early, with a summary.\n"
	     "\n"
	     "Exit status: 0; 1 verification errors, or a VM failed; 2 bad usage; 4 this machine\n"
	     "cannot run it.\n"
	     "\n"
	     "Examples:\n"
	     "  gmem_workload                          one VM, one vCPU, bounce buffers\n"
	     "  gmem_workload -v 2 -c 4 -p random -n 500 --seed 7\n"
	     "  gmem_workload -p accept -n 16          accept 64M\n"
	     "  gmem_workload -e both -n 100 --json\n"
	     "  gmem_workload -v 3 --policy mine --hold 60 --ready-file /tmp/ready &");
}

static void parse_options(int argc, char **argv)
{
	enum { PUNCH = 256, NO_PUNCH, OTHER_THREAD, SWAP, SEED, POLICY, HOLD, READY_FILE, BREAK };
	static const struct option options[] = {
		{ "vms", required_argument, NULL, 'v' },
		{ "vcpus", required_argument, NULL, 'c' },
		{ "pattern", required_argument, NULL, 'p' },
		{ "size", required_argument, NULL, 's' },
		{ "count", required_argument, NULL, 'n' },
		{ "time", required_argument, NULL, 't' },
		{ "exit", required_argument, NULL, 'e' },
		{ "punch", no_argument, NULL, PUNCH },
		{ "no-punch", no_argument, NULL, NO_PUNCH },
		{ "other-thread", no_argument, NULL, OTHER_THREAD },
		{ "swap", no_argument, NULL, SWAP },
		{ "seed", required_argument, NULL, SEED },
		{ "policy", required_argument, NULL, POLICY },
		{ "hold", required_argument, NULL, HOLD },
		{ "ready-file", required_argument, NULL, READY_FILE },
		{ "break", required_argument, NULL, BREAK },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	static const char * const breakages[] = { "none", "shared", "private" };
	int c;

	while ((c = getopt_long(argc, argv, "v:c:p:s:n:t:e:jh", options, NULL)) != -1) {
		switch (c) {
		case 'v':
			opt.vms = gmem_number("--vms", optarg, 1, MAX_VMS);
			break;
		case 'c':
			opt.vcpus = gmem_number("--vcpus", optarg, 1, MAX_VCPUS);
			break;
		case 'p':
			opt.pattern = gmem_choice("--pattern", optarg, pattern_names,
						  ARRAY_SIZE(pattern_names));
			break;
		case 's':
			opt.size = gmem_number("--size", optarg, PAGE_SIZE, MAX_RANGE);
			if (opt.size % PAGE_SIZE)
				gmem_usage_error("--size: %s is not a multiple of 4K", optarg);
			break;
		case 'n':
			opt.ranges = gmem_number("--count", optarg, 1, 1000000000);
			break;
		case 't':
			opt.seconds = gmem_number("--time", optarg, 1, 1000000);
			break;
		case 'e':
			opt.exit = gmem_choice("--exit", optarg, exit_names,
					       ARRAY_SIZE(exit_names));
			break;
		case PUNCH:
			opt.punch = true;
			break;
		case OTHER_THREAD:
			opt.other_thread = true;
			break;
		case SWAP:
			opt.swap = true;
			break;
		case NO_PUNCH:
			opt.punch = false;
			break;
		case SEED:
			opt.seed = gmem_number("--seed", optarg, 0, UINT64_MAX);
			break;
		case POLICY:
			if (strlen(optarg) >= GMEM_POLICY_NAME_LEN)
				gmem_usage_error("--policy: names have at most %d characters",
						 GMEM_POLICY_NAME_LEN - 1);
			opt.policy = optarg;
			break;
		case HOLD:
			opt.hold = gmem_number("--hold", optarg, 0, 1000000);
			break;
		case READY_FILE:
			opt.ready_file = optarg;
			break;
		case BREAK:
			opt.breakage = gmem_choice("--break", optarg, breakages,
						   ARRAY_SIZE(breakages));
			break;
		case 'j':
			opt.json = true;
			break;
		case 'h':
			print_help();
			exit(0);
		default:
			complain("see --help");
			exit(2);
		}
	}
	if (optind < argc)
		gmem_usage_error("unexpected '%s'", argv[optind]);
}

static void check_options(void)
{
	u64 need, available = UINT64_MAX;
	char line[256];
	FILE *f;

	opt.private_size = SZ_8M;
	opt.start_private = true;
	switch (opt.pattern) {
	case PATTERN_BOUNCE:
		opt.private_size = align_up(max_t(u64, SZ_4M, 4 * opt.size), SZ_2M);
		break;
	case PATTERN_2M:
		if (opt.size && opt.size != SZ_2M)
			gmem_usage_error("--size: pattern 2m has ranges of 2M");
		opt.size = SZ_2M;
		break;
	case PATTERN_ACCEPT:
		if (opt.exit != EXIT_HYPERCALL)
			gmem_usage_error("--exit: memory is accepted by hypercall only");
		if (opt.seconds)
			gmem_usage_error("--time: accept ends when all is accepted; use --count");
		opt.size = opt.size ?: SZ_4M;
		if (opt.ranges > AREAS_MAX / opt.size / opt.vcpus)
			gmem_usage_error("--count: %lu ranges to accept are more than 128G",
					 opt.ranges);
		opt.private_size = align_up(opt.ranges * opt.size, SZ_2M);
		opt.start_private = false;
		break;
	case PATTERN_RANDOM:
		opt.size = opt.size ?: SZ_1M;
		break;
	}
	if (opt.exit != EXIT_HYPERCALL)
		opt.plain_size = opt.private_size;
	if (opt.exit == EXIT_FAULT)
		opt.private_size = SZ_2M;

	/* Private memory and the shared memory behind it */
	need = opt.vms * opt.vcpus * (2 * opt.private_size + opt.plain_size);
	f = fopen("/proc/meminfo", "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %lu kB", &available) == 1)
			available *= 1024;
	if (f)
		fclose(f);
	if (need > available)
		gmem_usage_error("this needs up to %lu MiB of memory, and there are %lu MiB",
				 need >> 20, available >> 20);
}

static void require_kernel(void)
{
	int flags;

	if (!(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM))) {
		puts("SKIP: this kernel has no KVM_X86_SW_PROTECTED_VM");
		exit(KSFT_SKIP);
	}
	flags = kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS);
	if (opt.policy && !(flags & GUEST_MEMFD_FLAG_POLICY)) {
		complain("--policy: this kernel has no gmem policies (flags 0x%x)", flags);
		exit(1);
	}
}

int main(int argc, char *argv[])
{
	gmem_start_main();
	parse_options(argc, argv);
	check_options();
	require_kernel();
	return run();
}
