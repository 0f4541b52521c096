// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random operations on guest memory by several processes at once, each a VMM
 * with files and memslots of its own, which come and go, and are killed in the
 * middle of whatever they do.
 *
 * gmem_model goes deep, into each byte of one file; this goes wide: files,
 * bindings, VMs and processes live and die, calls are wrong, allocations fail,
 * and other processes' memory is what one gets next. Each process knows what
 * each page of its files must contain: the pattern of its own last write, or
 * zeroes. The pattern tells whose it is, so that a page of somebody else is told
 * from one that is merely lost or old. A second vCPU reads all the time, with no
 * regard to what the first one's thread does to the memory, and must find
 * nothing but zeroes and what its own process wrote.
 *
 * What a process does follows from the seed, its number, and how many it
 * succeeds: that of a single one without the reading vCPU is repeated exactly.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <linux/falloc.h>
#include <linux/sizes.h>

#include "gmem_failing.h"
#include "gmem_guest.h"
#include "gmem_memory.h"
#include "gmem_options.h"
#include "gmem_random.h"
#include "numaif.h"
#include "test_util.h"

#define MAX_PROCS	16
#define MAX_CGROUPS	8
#define MAX_FILES	3
#define MAX_SLOTS	3
#define MAX_PAGES	2048	/* of a file */
#define MAX_TOUCHED	16	/* pages that are written or read at a time */
#define MAX_OPS		32	/* kinds */
#define LOG		12	/* last operations of each process, to be printed */
#define QUEUE_CMDS	128
#define BLOCK_PAGES	((u64)(SZ_2M / PAGE_SIZE))

#define SLOT_CONTROL	1
#define SLOT_FIRST	2
#define CONTROL_GPA	(4ULL * SZ_1G)
#define WINDOW_GPA	(8ULL * SZ_1G)
#define SLOT_STRIDE	((u64)SZ_16M)
#define WINDOW_SIZE	(MAX_SLOTS * SLOT_STRIDE)
#define WINDOW_PAGES	(WINDOW_SIZE / PAGE_SIZE)

/* A tag is the number of a process and of a write of its, and never 0. */
#define OWNER_SHIFT	40

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif

enum breakage {
	BREAK_NONE,
	BREAK_LOST,
	BREAK_STALE,
	BREAK_FOREIGN,
};

static const char * const breakage_names[] = { "none", "lost", "stale", "foreign" };

static struct {
	u64 seed;
	u64 ops;
	u64 seconds;
	u32 procs;
	const char *cgroups[MAX_CGROUPS];
	u32 nr_cgroups;
	const char *policy;
	bool reader;
	bool failing;
	u64 leak_bound;
	enum breakage breakage;
	bool verbose;
} opt = {
	.ops = 10000,
	.procs = 4,
	.reader = true,
	.failing = true,
	.leak_bound = SZ_16M,
};

/* An operation, as it is printed. */
struct record {
	u64 nr;
	char text[120];
};

/**
 * struct proc - of a process that operates, shared with the one that watches
 * @pid: of the one that lives now
 * @generation: how many were before it
 * @ops: of all of them, but for what they did after they were doomed
 * @dying: it is to be killed, by itself or its timer
 * @logged: operations that were logged
 * @log: the last of them
 * @counts: of operations, by kind
 * @failed: operations for which an allocation was made to fail
 * @compared: pages
 * @reads: by the second vCPU
 */
struct proc {
	pid_t pid;
	u32 generation;
	u64 ops;
	bool dying;
	u64 logged;
	struct record log[LOG];
	u64 counts[MAX_OPS];
	u64 failed;
	u64 compared;
	u64 reads;
};

static struct shared {
	bool stop;
	struct proc procs[MAX_PROCS];
} *shared;

struct range {
	u64 first;
	u64 nr;
};

/**
 * struct file - a guest_memfd
 * @fd: -1: there is none
 * @nr: pages
 * @vm: number of the VM that created it, which may be gone
 * @mem: where the host has it mapped, or NULL
 * @tags: of what each page must contain
 */
struct file {
	int fd;
	u64 nr;
	u32 vm;
	void *mem;
	u64 *tags;
};

/**
 * struct slot - a memslot
 * @file: that it is bound to; NULL: that is closed
 * @used: it is there
 * @r: pages of the file
 * @gpa: where
 * @hva: its shared memory, if the VM has such
 * @tags: of that
 */
struct slot {
	struct file *file;
	bool used;
	struct range r;
	u64 gpa;
	void *hva;
	u64 tags[MAX_PAGES];
};

enum guest_op {
	GUEST_FILL,
	GUEST_CHECK,
};

struct guest_cmd {
	u64 op;
	u64 gpa;
	u64 tag;
};

/* What the first vCPU is to do, in memory shared with it. It stops at a page that differs. */
struct guest_queue {
	u64 nr;
	u64 done;
	bool differs;
	u64 word;
	u64 got;
	struct guest_cmd cmds[QUEUE_CMDS];
};

/* What the second one reads. The slots are those that were there a moment ago. */
struct guest_reader {
	u64 random;
	u64 owner;
	u64 reads;
	u64 bad_gpa;
	u64 bad_value;
	struct {
		u64 gpa;
		u64 nr;
	} slots[MAX_SLOTS];
};

/* Of the process */
static struct proc *me;
static u64 rng;
static u64 owner;
static u64 nr_writes;
static bool doomed;

static struct kvm_vm *vm;
static u32 vm_nr;
static bool vm_private;
static struct kvm_vcpu *vcpu;
static struct guest_queue *queue;
static void *control;

static struct guest_reader *reader;
static struct kvm_vcpu *reader_vcpu;
static pthread_t reader_thread;
static bool reader_stop;

static struct file files[MAX_FILES];
static struct slot slots[MAX_SLOTS];
static bool is_private[WINDOW_PAGES];
static bool two_nodes;

static int nth_fd = -1;
static u64 nth;			/* allocation that is to fail in the next call */
static bool fired;		/* one did */

/* The guest */

static void guest_main(struct guest_queue *q)
{
	struct guest_cmd *cmd;
	int word;

	for (;;) {
		for (; READ_ONCE(q->done) < q->nr; WRITE_ONCE(q->done, q->done + 1)) {
			cmd = &q->cmds[q->done];
			if (cmd->op == GUEST_FILL) {
				gmem_fill_page((u64 *)cmd->gpa, cmd->tag);
				continue;
			}
			word = gmem_check_page((u64 *)cmd->gpa, cmd->tag);
			if (word < 0)
				continue;
			q->differs = true;
			q->word = word;
			q->got = READ_ONCE(((u64 *)cmd->gpa)[word]);
			break;
		}
		GUEST_SYNC(0);
	}
}

static void guest_read_one(struct guest_reader *r)
{
	u64 slot, gpa, nr, value;

	slot = (r->random >> 33) % MAX_SLOTS;
	gpa = READ_ONCE(r->slots[slot].gpa);
	nr = READ_ONCE(r->slots[slot].nr);
	/* Also if this access never returns */
	r->random = r->random * 6364136223846793005ULL + 1442695040888963407ULL;
	if (!nr)
		return;
	gpa += (r->random >> 33) % nr * PAGE_SIZE;
	value = READ_ONCE(*(u64 *)gpa);
	r->reads++;
	if (value && value >> OWNER_SHIFT != r->owner) {
		r->bad_gpa = gpa;
		r->bad_value = value;
	}
}

static void guest_reader_main(struct guest_reader *r)
{
	int i;

	for (;;) {
		for (i = 0; i < 64 && !r->bad_gpa; i++)
			guest_read_one(r);
		GUEST_SYNC(0);
	}
}

/* Chance */

static u64 below(u64 n)
{
	return gmem_below(&rng, n);
}

static bool one_in(u64 n)
{
	return !below(n);
}

/* Of @nr pages: mostly few, sometimes any number; often bounds of 2M, or one page beside */
static struct range random_range(u64 nr)
{
	static const u64 lengths[] = { 8, 8, 8, 8, 8, 64, 64, 64, BLOCK_PAGES, MAX_PAGES };
	u64 first = below(nr), end = first + 1 + below(lengths[below(ARRAY_SIZE(lengths))]);

	if (one_in(4))
		first = first / BLOCK_PAGES * BLOCK_PAGES + one_in(4);
	if (one_in(4))
		end = align_up(end, BLOCK_PAGES) - one_in(4);
	first = min(first, nr - 1);
	end = min(end, nr);
	return (struct range) { .first = first, .nr = end > first ? end - first : 1 };
}

static struct range few(struct range r)
{
	r.nr = min_t(u64, r.nr, MAX_TOUCHED);
	return r;
}

static u64 new_tag(void)
{
	return owner << OWNER_SHIFT | ++nr_writes;
}

/* What went wrong */

static void __printf(1, 2) log_op(const char *fmt, ...)
{
	struct record *r = &me->log[me->logged++ % LOG];
	va_list ap;
	int n;

	r->nr = me->ops;
	n = sprintf(r->text, "%s", doomed ? "(doomed) " : "");
	if (nth)
		n += sprintf(r->text + n, "(allocation %lu fails) ", nth);
	va_start(ap, fmt);
	vsnprintf(r->text + n, sizeof(r->text) - n, fmt, ap);
	va_end(ap);
	if (opt.verbose) {
		printf("%ld.%u %lu: %s\n", me - shared->procs, me->generation, r->nr, r->text);
		fflush(stdout);
	}
}

static void __printf(1, 2) __noreturn fail(const char *fmt, ...)
{
	va_list ap;

	printf("FAIL: seed %lu, process %ld.%u, operation %lu: ", opt.seed, me - shared->procs,
	       me->generation, me->ops);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	_exit(1);
}

/* Whose word is it? */
static const char *explain(u64 word, u64 got)
{
	static char text[96];
	u64 tag = got - (gmem_pattern(1, word) - 1);
	u64 its_owner = tag >> OWNER_SHIFT;
	u64 proc = its_owner >> 16;

	if (!got)
		return "zeroes";
	if (!proc || proc > opt.procs)
		return "no word of any pattern";
	snprintf(text, sizeof(text), "write %llu of %s, %lu.%lu", tag & (BIT_ULL(OWNER_SHIFT) - 1),
		 its_owner == owner ? "this process" : "another process", proc - 1,
		 its_owner & 0xffff);
	return text;
}

static void __noreturn mismatch(const char *who, u64 where, u64 tag, u64 word, u64 got)
{
	fail("%s at 0x%lx, word %lu: should read 0x%lx, and reads 0x%lx: %s", who, where, word,
	     gmem_pattern(tag, word), got, explain(word, got));
}

/* Calls into the kernel, of which an allocation may fail */

static void begin_call(void)
{
	fired = false;
	if (nth && !gmem_set_nth(nth_fd, nth))
		fail("fail-nth: %s", strerror(errno));
}

static void end_call(void)
{
	long left;

	if (!nth)
		return;
	left = gmem_get_nth(nth_fd);
	if (left < 0 || !gmem_set_nth(nth_fd, 0))
		fail("fail-nth: %s", strerror(errno));
	nth = 0;
	fired = !left;
	me->failed += fired;
}

/* The result of a system call, or a negative errno */
#define CALL(expr)							\
({									\
	long __ret;							\
	int __err;							\
									\
	begin_call();							\
	__ret = (long)(expr);						\
	__err = errno;							\
	end_call();							\
	__ret == -1 ? -__err : __ret;					\
})

/* A call should have had the result @want, unless it was out of memory. Return whether it had. */
static bool expect(const char *what, long ret, long want)
{
	if (ret == -ENOMEM && fired)
		return false;
	if (ret != want)
		fail("%s: %ld (%s), and should be %ld (%s)", what, ret,
		     ret < 0 ? strerror(-ret) : "success", want,
		     want < 0 ? strerror(-want) : "success");
	return true;
}

/* Where pages are, and what they contain */

static struct file *random_file(bool mapped)
{
	struct file *f = &files[below(MAX_FILES)];

	return f->fd >= 0 && (!mapped || f->mem) ? f : NULL;
}

static struct slot *random_slot(void)
{
	struct slot *s = &slots[below(MAX_SLOTS)];

	return s->used ? s : NULL;
}

static bool *gpa_private(u64 gpa)
{
	return &is_private[(gpa - WINDOW_GPA) / PAGE_SIZE];
}

static u64 slot_gpa(const struct slot *s, u64 page)
{
	return s->gpa + page * PAGE_SIZE;
}

/* The tag of what the guest sees at a page of a slot; NULL: nothing */
static u64 *guest_tag(struct slot *s, u64 page)
{
	if (vm_private && !*gpa_private(slot_gpa(s, page)))
		return &s->tags[page];
	return s->file ? &s->file->tags[s->r.first + page] : NULL;
}

/* Accesses by the guest */

static long set_private(u64 gpa, u64 nr, bool private)
{
	struct kvm_memory_attributes attr = {
		.attributes = private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
		.address = gpa,
		.size = nr * PAGE_SIZE,
	};

	return CALL(ioctl(vm->fd, KVM_SET_MEMORY_ATTRIBUTES, &attr));
}

/*
 * The second vCPU may have read where there was no slot yet, or no more. KVM of
 * 7.3 remembers that as MMIO also when the frame then becomes private, and of a
 * software-protected VM reports accesses to it as shared ones, until what it
 * remembers is zapped: which a conversion does.
 */
static bool was_mmio(void)
{
	struct kvm_run *run = vcpu->run;
	u64 gpa = run->memory_fault.gpa;

	if (!opt.reader || !vm_private || run->exit_reason != KVM_EXIT_MEMORY_FAULT ||
	    run->memory_fault.flags || !*gpa_private(gpa))
		return false;
	return !set_private(gpa, 1, false) && !set_private(gpa, 1, true);
}

static void run_guest(void)
{
	struct ucall uc;
	u64 gpa;
	int err;

	if (!queue->nr)
		return;
	queue->done = 0;
	queue->differs = false;
	do {
		err = CALL(__vcpu_run(vcpu));
	} while (err == -EINTR || (err == -ENOMEM && fired) || (err == -EFAULT && was_mmio()));
	gpa = queue->cmds[min_t(u64, queue->done, QUEUE_CMDS - 1)].gpa;
	if (err)
		fail("KVM_RUN, at 0x%lx: %s, %s 0x%llx, flags 0x%llx", gpa, strerror(-err),
		     exit_reason_str(vcpu->run->exit_reason), vcpu->run->memory_fault.gpa,
		     vcpu->run->memory_fault.flags);
	if (vcpu->run->exit_reason != KVM_EXIT_IO || get_ucall(vcpu, &uc) != UCALL_SYNC)
		fail("the guest, at 0x%lx, exited: %s", gpa,
		     exit_reason_str(vcpu->run->exit_reason));
	if (queue->differs)
		mismatch("the guest", gpa, queue->cmds[queue->done].tag, queue->word, queue->got);
	queue->nr = 0;
}

static void queue_cmd(enum guest_op op, struct slot *s, u64 page)
{
	u64 *tag = guest_tag(s, page);

	if (!tag)
		return;
	if (queue->nr == QUEUE_CMDS)
		run_guest();
	if (op == GUEST_FILL)
		*tag = new_tag();
	else
		me->compared++;
	queue->cmds[queue->nr++] = (struct guest_cmd) {
		.op = op, .gpa = slot_gpa(s, page), .tag = *tag,
	};
}

/* Accesses by the host */

static void host_fill(struct file *f, u64 page)
{
	f->tags[page] = new_tag();
	gmem_fill_page(f->mem + page * PAGE_SIZE, f->tags[page]);
}

static void host_check(struct file *f, u64 page)
{
	u64 *mem = f->mem + page * PAGE_SIZE;
	int word = gmem_check_page(mem, f->tags[page]);

	me->compared++;
	if (word >= 0)
		mismatch("the host", page * PAGE_SIZE, f->tags[page], word, mem[word]);
}

/* By all who can see it */
static void check_page(struct file *f, u64 page)
{
	struct slot *s;

	if (f->mem)
		host_check(f, page);
	for (s = slots; s < slots + MAX_SLOTS; s++)
		if (s->used && s->file == f && page - s->r.first < s->r.nr)
			queue_cmd(GUEST_CHECK, s, page - s->r.first);
}

/* On both sides of the bounds, which is where mistakes are made */
static void check_bounds(struct file *f, struct range r)
{
	if (r.first)
		check_page(f, r.first - 1);
	check_page(f, r.first);
	check_page(f, r.first + below(r.nr));
	check_page(f, r.first + r.nr - 1);
	if (r.first + r.nr < f->nr)
		check_page(f, r.first + r.nr);
	run_guest();
}

static void check_some(void)
{
	struct file *f = random_file(false);
	struct slot *s = random_slot();
	int i;

	for (i = 0; f && i < 2; i++)
		check_page(f, below(f->nr));
	for (i = 0; s && i < 4; i++)
		queue_cmd(GUEST_CHECK, s, below(s->r.nr));
	run_guest();
}

static void check_fdinfo(struct file *f)
{
	struct gmem_resident res;
	int err = gmem_read_resident(f->fd, &res);

	/* Folios may be split and made again while they are counted. */
	if (err || res.folios != res.bytes || res.ready > res.bytes ||
	    res.bytes > 2 * f->nr * PAGE_SIZE)
		fail("fdinfo of %lu pages: error %d; %lu bytes, %lu in folios, %lu ready", f->nr,
		     err, res.bytes, res.folios, res.ready);
}

/* Files */

static void unmap_file(struct file *f)
{
	if (f->mem)
		munmap(f->mem, f->nr * PAGE_SIZE);
	f->mem = NULL;
}

static void map_file(struct file *f)
{
	void *mem = mmap(NULL, f->nr * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);

	if (mem == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	f->mem = mem;
}

static void publish_slots(void)
{
	int i;

	for (i = 0; i < MAX_SLOTS; i++) {
		reader->slots[i].gpa = slots[i].gpa;
		WRITE_ONCE(reader->slots[i].nr, slots[i].used ? slots[i].r.nr : 0);
	}
}

static void close_file(struct file *f)
{
	bool unmap_first = one_in(2);
	struct slot *s;

	if (unmap_first)
		unmap_file(f);
	expect("close", CALL(close(f->fd)), 0);
	unmap_file(f);
	for (s = slots; s < slots + MAX_SLOTS; s++)
		if (s->file == f)
			s->file = NULL;
	free(f->tags);
	*f = (struct file) { .fd = -1 };
}

static void op_create(void)
{
	struct kvm_create_guest_memfd args = {};
	struct file *f = &files[below(MAX_FILES)];
	bool asks = opt.policy && one_in(4);
	u64 nr;
	long fd;

	if (f->fd >= 0) {
		log_op("close file %ld to have room", f - files);
		close_file(f);
	}
	nr = one_in(4) ? (1 + below(MAX_PAGES / BLOCK_PAGES)) * BLOCK_PAGES : 1 + below(MAX_PAGES);
	args.size = nr * PAGE_SIZE;
	if (!vm_private)
		args.flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED;
	if (asks)
		gmem_ask_policy(&args, opt.policy);
	log_op("create file %ld of %lu pages%s", f - files, nr, asks ? ", with a policy" : "");
	fd = CALL(ioctl(vm->fd, KVM_CREATE_GUEST_MEMFD, &args));
	if (fd < 0) {
		/* Policies come and go. */
		if (asks && fd == -ENOENT)
			return;
		expect("KVM_CREATE_GUEST_MEMFD", fd, 0);
		return;
	}
	*f = (struct file) { .fd = fd, .nr = nr, .vm = vm_nr };
	f->tags = calloc(nr, sizeof(*f->tags));
	TEST_ASSERT(f->tags, "memory for the model");
	if (!vm_private && one_in(2))
		map_file(f);
}

static void op_close(void)
{
	struct file *f = random_file(false);

	if (!f)
		return;
	log_op("close file %ld", f - files);
	close_file(f);
}

static void op_map(void)
{
	struct file *f = random_file(false);

	if (!f || vm_private)
		return;
	log_op("%s file %ld", f->mem ? "unmap" : "map", f - files);
	if (f->mem)
		unmap_file(f);
	/* One that an earlier VM created may have been a private one's. */
	else if (f->vm == vm_nr)
		map_file(f);
}

static void op_fallocate(void)
{
	struct file *f = random_file(false);
	struct range r;

	if (!f)
		return;
	r = random_range(f->nr);
	log_op("fallocate file %ld, pages %lu+%lu", f - files, r.first, r.nr);
	expect("fallocate", CALL(fallocate(f->fd, FALLOC_FL_KEEP_SIZE, r.first * PAGE_SIZE,
					   r.nr * PAGE_SIZE)), 0);
	check_bounds(f, r);
}

static void op_punch(void)
{
	struct file *f = random_file(false);
	struct range r;
	u64 beyond;

	if (!f)
		return;
	r = random_range(f->nr);
	/* A hole may reach past the end. */
	beyond = r.first + r.nr == f->nr && one_in(4) ? 1 + below(2 * BLOCK_PAGES) : 0;
	log_op("punch file %ld, pages %lu+%lu", f - files, r.first, r.nr + beyond);
	expect("punch", CALL(fallocate(f->fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
				       r.first * PAGE_SIZE, (r.nr + beyond) * PAGE_SIZE)), 0);
	memset(f->tags + r.first, 0, r.nr * sizeof(*f->tags));
	check_bounds(f, r);
}

static void op_host_write(void)
{
	struct file *f = random_file(true);
	struct range r;
	u64 i;

	if (!f)
		return;
	r = few(random_range(f->nr));
	log_op("host writes file %ld, pages %lu+%lu", f - files, r.first, r.nr);
	for (i = r.first; i < r.first + r.nr; i++)
		host_fill(f, i);
	check_bounds(f, r);
}

static void op_host_read(void)
{
	struct file *f = random_file(true);
	struct range r;
	u64 i;

	if (!f)
		return;
	r = few(random_range(f->nr));
	log_op("host reads file %ld, pages %lu+%lu", f - files, r.first, r.nr);
	for (i = r.first; i < r.first + r.nr; i++)
		host_check(f, i);
}

static void op_madvise(void)
{
	static const struct {
		int advice;
		bool optional;
	} advices[] = {
		{ MADV_DONTNEED }, { MADV_POPULATE_READ }, { MADV_POPULATE_WRITE },
		{ MADV_HUGEPAGE, true }, { MADV_NOHUGEPAGE, true }, { MADV_COLLAPSE, true },
	};
	int which = below(ARRAY_SIZE(advices));
	struct file *f = random_file(true);
	struct range r;
	long ret;

	if (!f)
		return;
	r = random_range(f->nr);
	log_op("madvise(%d) file %ld, pages %lu+%lu", advices[which].advice, f - files, r.first,
	       r.nr);
	ret = CALL(madvise(f->mem + r.first * PAGE_SIZE, r.nr * PAGE_SIZE, advices[which].advice));
	if (!advices[which].optional)
		expect("madvise", ret, 0);
	check_bounds(f, r);
}

static void op_mbind(void)
{
	static const struct {
		int mode;
		unsigned long nodes;
	} policies[] = {
		{ MPOL_DEFAULT, 0 }, { MPOL_BIND, 1 }, { MPOL_BIND, 2 }, { MPOL_INTERLEAVE, 3 },
	};
	int which = below(two_nodes ? ARRAY_SIZE(policies) : 2);
	unsigned long nodes = policies[which].nodes;
	struct file *f = random_file(true);
	struct range r;

	if (!f)
		return;
	/* Now and then all, lest every 2M has more than one policy for the rest of its life. */
	r = one_in(4) ? (struct range) { .nr = f->nr } : random_range(f->nr);
	log_op("mbind(%d) file %ld, pages %lu+%lu", which, f - files, r.first, r.nr);
	expect("mbind", CALL(mbind(f->mem + r.first * PAGE_SIZE, r.nr * PAGE_SIZE,
				   policies[which].mode, nodes ? &nodes : NULL,
				   nodes ? BITS_PER_TYPE(nodes) : 0, 0)), 0);
}

/* A child has all files and mappings, sees the same, and is gone. */
static void op_fork(void)
{
	struct file *f = random_file(true);
	int status;
	pid_t pid;
	u64 i;

	if (!f)
		return;
	log_op("fork, and read file %ld", f - files);
	/* Not what is in a buffer of stdio twice */
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (!pid) {
		for (i = 0; i < MAX_TOUCHED; i++)
			host_check(f, below(f->nr));
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		_exit(1);
}

static void op_fdinfo(void)
{
	struct file *f = random_file(false);

	if (!f)
		return;
	log_op("look at file %ld", f - files);
	check_fdinfo(f);
}

/* Memslots */

static long set_region(int slot, u64 gpa, u64 size, void *hva, int fd, u64 offset)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = SLOT_FIRST + slot,
		.flags = size ? KVM_MEM_GUEST_MEMFD : 0,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (u64)hva,
		.guest_memfd = fd,
		.guest_memfd_offset = offset,
	};

	return CALL(ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION2, &region));
}

static bool unbind(struct slot *s)
{
	log_op("delete slot %ld", s - slots);
	if (!expect("deleting a memslot", set_region(s - slots, 0, 0, NULL, -1, 0), 0))
		return false;
	s->used = false;
	s->file = NULL;
	publish_slots();
	return true;
}

static void op_unbind(void)
{
	struct slot *s = random_slot();

	if (s)
		unbind(s);
}

static bool is_bound(struct file *f, struct range r)
{
	struct slot *s;

	for (s = slots; s < slots + MAX_SLOTS; s++)
		if (s->used && s->file == f && s->r.first < r.first + r.nr &&
		    r.first < s->r.first + s->r.nr)
			return true;
	return false;
}

static void op_bind(void)
{
	struct slot *s = &slots[below(MAX_SLOTS)];
	struct file *f = random_file(false);
	struct range r;
	u64 off, gpa;
	long want;

	if (!f || (s->used && s->file))
		return;
	/* One whose file is closed is of no use. */
	if (s->used && !unbind(s))
		return;
	r = one_in(2) ? (struct range) { .nr = f->nr } : random_range(f->nr);
	off = one_in(3) ? below(BLOCK_PAGES) : r.first % BLOCK_PAGES;
	gpa = WINDOW_GPA + (s - slots) * SLOT_STRIDE + off * PAGE_SIZE;
	log_op("bind slot %ld to file %ld, pages %lu+%lu at 0x%lx", s - slots, f - files, r.first,
	       r.nr, gpa);
	want = f->vm != vm_nr ? -EINVAL : is_bound(f, r) ? -EEXIST : 0;
	madvise(s->hva, MAX_PAGES * PAGE_SIZE, MADV_DONTNEED);
	if (!expect("setting a memslot", set_region(s - slots, gpa, r.nr * PAGE_SIZE, s->hva, f->fd,
						    r.first * PAGE_SIZE), want) || want)
		return;
	memset(s->tags, 0, sizeof(s->tags));
	s->used = true;
	s->file = f;
	s->r = r;
	s->gpa = gpa;
	publish_slots();
	check_bounds(f, r);
}

static void op_guest_write(void)
{
	struct slot *s = random_slot();
	struct range r;
	u64 i;

	if (!s)
		return;
	r = few(random_range(s->r.nr));
	log_op("guest writes slot %ld, pages %lu+%lu", s - slots, r.first, r.nr);
	for (i = r.first; i < r.first + r.nr; i++)
		queue_cmd(GUEST_FILL, s, i);
	run_guest();
	if (s->file)
		check_bounds(s->file, (struct range) { s->r.first + r.first, r.nr });
}

static void op_guest_read(void)
{
	struct slot *s = random_slot();
	struct range r;
	u64 i;

	if (!s)
		return;
	r = few(random_range(s->r.nr));
	log_op("guest reads slot %ld, pages %lu+%lu", s - slots, r.first, r.nr);
	for (i = r.first; i < r.first + r.nr; i++)
		queue_cmd(GUEST_CHECK, s, i);
	run_guest();
}

/* Any guest frames, whether there is a slot or not, but more often those of one */
static void op_convert(void)
{
	bool to_private = one_in(2);
	struct slot *s = random_slot();
	struct range r;
	u64 gpa;

	if (!vm_private)
		return;
	r = random_range(s ? s->r.nr : WINDOW_PAGES);
	gpa = (s ? s->gpa : WINDOW_GPA) + r.first * PAGE_SIZE;
	log_op("convert 0x%lx, %lu pages, to %s", gpa, r.nr, to_private ? "private" : "shared");
	if (expect("KVM_SET_MEMORY_ATTRIBUTES", set_private(gpa, r.nr, to_private), 0))
		memset(gpa_private(gpa), to_private, r.nr);
	if (!s)
		return;
	queue_cmd(GUEST_CHECK, s, r.first);
	queue_cmd(GUEST_CHECK, s, r.first + r.nr - 1);
	if (r.first + r.nr < s->r.nr)
		queue_cmd(GUEST_CHECK, s, r.first + r.nr);
	run_guest();
}

static void op_prefault(void)
{
	struct kvm_pre_fault_memory range = {};
	struct slot *s = random_slot();
	struct range r;
	long ret;

	if (!s || !s->file)
		return;
	r = random_range(s->r.nr);
	range.gpa = slot_gpa(s, r.first);
	range.size = r.nr * PAGE_SIZE;
	log_op("prefault slot %ld, pages %lu+%lu", s - slots, r.first, r.nr);
	do {
		ret = CALL(ioctl(vcpu->fd, KVM_PRE_FAULT_MEMORY, &range));
	} while ((!ret && range.size) || ret == -EAGAIN || ret == -EINTR);
	expect("KVM_PRE_FAULT_MEMORY", ret, 0);
	check_bounds(s->file, (struct range) { s->r.first + r.first, r.nr });
}

/* Calls that are wrong, and change nothing */

static void bad_create(void)
{
	struct kvm_create_guest_memfd args = { .size = SZ_2M };
	long want = -EINVAL;

	switch (below(5)) {
	case 0:
		args.size = 0;
		break;
	case 1:
		args.size = SZ_2M + 1 + below(PAGE_SIZE - 1);
		break;
	case 2:
		args.flags = BIT_ULL(32 + below(32));
		break;
	case 3:
		args.size = -PAGE_SIZE;
		break;
	case 4:
		gmem_ask_policy(&args, "there.is.none");
		want = -ENOENT;
		break;
	}
	expect("a wrong KVM_CREATE_GUEST_MEMFD",
	       CALL(ioctl(vm->fd, KVM_CREATE_GUEST_MEMFD, &args)), want);
}

static void bad_fallocate(struct file *f)
{
	struct range r = random_range(f->nr);
	off_t at = r.first * PAGE_SIZE, len = r.nr * PAGE_SIZE;
	int flags = FALLOC_FL_KEEP_SIZE | (one_in(2) ? FALLOC_FL_PUNCH_HOLE : 0);
	long want = -EINVAL;

	switch (below(5)) {
	case 0:
		at += 1 + below(PAGE_SIZE - 1);
		break;
	case 1:
		len += 1 + below(PAGE_SIZE - 1);
		break;
	case 2:
		len = 0;
		break;
	case 3:
		flags = 0;
		want = -EOPNOTSUPP;
		break;
	case 4:
		flags = FALLOC_FL_KEEP_SIZE;
		len = (f->nr - r.first + 1 + below(f->nr)) * PAGE_SIZE;
		break;
	}
	expect("a wrong fallocate", CALL(fallocate(f->fd, flags, at, len)), want);
	check_bounds(f, r);
}

static void bad_bind(struct file *f)
{
	struct slot *s = &slots[below(MAX_SLOTS)];
	u64 gpa = WINDOW_GPA + (s - slots) * SLOT_STRIDE, size = f->nr * PAGE_SIZE, offset = 0;
	int fd = f->fd;
	long want = -EINVAL;

	if (s->used)
		return;
	switch (below(5)) {
	case 0:
		offset = PAGE_SIZE;
		break;
	case 1:
		offset = 1 + below(PAGE_SIZE - 1);
		break;
	case 2:
		offset = -PAGE_SIZE;
		break;
	case 3:
		fd = vcpu->fd;
		break;
	case 4:
		fd = -1;
		want = -EBADF;
		break;
	}
	expect("a wrong memslot", set_region(s - slots, gpa, size, s->hva, fd, offset), want);
}

static void bad_convert(void)
{
	struct kvm_memory_attributes attr = {
		.address = WINDOW_GPA,
		.size = PAGE_SIZE,
		.attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE,
	};

	switch (below(4)) {
	case 0:
		attr.address += 1 + below(PAGE_SIZE - 1);
		break;
	case 1:
		attr.size = 0;
		break;
	case 2:
		attr.attributes = 1;
		break;
	case 3:
		attr.size = -PAGE_SIZE;
		break;
	}
	expect("a wrong KVM_SET_MEMORY_ATTRIBUTES",
	       CALL(ioctl(vm->fd, KVM_SET_MEMORY_ATTRIBUTES, &attr)), -EINVAL);
}

static void op_bad(void)
{
	struct file *f = random_file(false);
	int which = below(4);

	log_op("a wrong call of kind %d", which);
	if (which == 0)
		bad_create();
	else if (which == 1 && f)
		bad_fallocate(f);
	else if (which == 2 && f)
		bad_bind(f);
	else if (which == 3 && vm_private)
		bad_convert();
}

/* VMs and processes */

static void *reader_main(void *arg)
{
	struct kvm_run *run = reader_vcpu->run;
	struct kvm_regs entry;
	struct ucall uc;

	vcpu_regs_get(reader_vcpu, &entry);
	while (!READ_ONCE(reader_stop)) {
		if (__vcpu_run(reader_vcpu)) {
			/* It is about memory that was taken away. */
			vcpu_regs_set(reader_vcpu, &entry);
			continue;
		}
		if (run->exit_reason == KVM_EXIT_MMIO) {
			memset(run->mmio.data, 0, sizeof(run->mmio.data));
			continue;
		}
		if (run->exit_reason != KVM_EXIT_IO || get_ucall(reader_vcpu, &uc) != UCALL_SYNC)
			fail("the reading vCPU exited: %s", exit_reason_str(run->exit_reason));
		if (reader->bad_gpa)
			mismatch("the reading vCPU", reader->bad_gpa, 0, 0, reader->bad_value);
		usleep(2000);
	}
	return NULL;
}

static void start_reader(void)
{
	if (!opt.reader)
		return;
	reader_stop = false;
	TEST_ASSERT(!pthread_create(&reader_thread, NULL, reader_main, NULL), "pthread_create()");
}

static void stop_reader(void)
{
	if (!opt.reader)
		return;
	WRITE_ONCE(reader_stop, true);
	pthread_join(reader_thread, NULL);
	me->reads += reader->reads;
}

static void create_vm(void)
{
	struct vm_shape shape = { .mode = VM_MODE_DEFAULT };

	vm_private = one_in(2);
	shape.type = vm_private ? KVM_X86_SW_PROTECTED_VM : VM_TYPE_DEFAULT;
	vm = __vm_create(shape, 2, (WINDOW_SIZE + SZ_2M) / PAGE_SIZE);
	vm_nr++;
	vm_set_user_memory_region2(vm, SLOT_CONTROL, 0, CONTROL_GPA, SZ_2M, control, -1, 0);
	gmem_map_identity(vm, CONTROL_GPA, CONTROL_GPA + SZ_2M);
	gmem_map_identity(vm, WINDOW_GPA, WINDOW_GPA + WINDOW_SIZE);
	memset(is_private, 0, sizeof(is_private));

	queue = control;
	*queue = (struct guest_queue) {};
	vcpu = vm_vcpu_add(vm, 0, guest_main);
	vcpu_args_set(vcpu, 1, CONTROL_GPA);

	reader = control + SZ_1M;
	*reader = (struct guest_reader) { .random = gmem_random(&rng), .owner = owner };
	reader_vcpu = vm_vcpu_add(vm, 1, guest_reader_main);
	vcpu_args_set(reader_vcpu, 1, CONTROL_GPA + SZ_1M);
	start_reader();
}

/* The files stay, though nobody can bind them any more. */
static void free_vm(void)
{
	int i;

	stop_reader();
	for (i = 0; i < MAX_SLOTS; i++) {
		slots[i].used = false;
		slots[i].file = NULL;
	}
	kvm_vm_free(vm);
}

static void op_vm(void)
{
	log_op("a new VM");
	free_vm();
	create_vm();
}

static void op_cgroup(void)
{
	char path[256], pid[32];
	u64 which;
	int fd, n;

	if (!opt.nr_cgroups)
		return;
	which = below(opt.nr_cgroups);
	log_op("move to %s", opt.cgroups[which]);
	snprintf(path, sizeof(path), "%s/cgroup.procs", opt.cgroups[which]);
	n = snprintf(pid, sizeof(pid), "%d", getpid());
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, pid, n) != n)
		fail("%s: %s", path, strerror(errno));
	close(fd);
}

/* The next call of this thread has an allocation fail, if it makes so many. */
static void op_failing(void)
{
	if (!opt.failing)
		return;
	nth = 1 + below(one_in(4) ? 32 : 4);
	log_op("from here");
}

/* Go on for a moment, until a signal ends it. */
static void op_die(void)
{
	struct itimerval when = { .it_value.tv_usec = 1 + below(30000) };
	bool now = one_in(4);

	if (doomed || !one_in(8))
		return;
	log_op("die %s", now ? "now" : "soon");
	WRITE_ONCE(me->dying, true);
	if (now)
		raise(SIGKILL);
	doomed = true;
	setitimer(ITIMER_REAL, &when, NULL);
}

static const struct op {
	const char *name;
	void (*fn)(void);
	u32 weight;
} ops[] = {
	{ "create", op_create, 30 },
	{ "close", op_close, 15 },
	{ "map", op_map, 20 },
	{ "fallocate", op_fallocate, 60 },
	{ "punch", op_punch, 100 },
	{ "host_write", op_host_write, 120 },
	{ "host_read", op_host_read, 60 },
	{ "madvise", op_madvise, 40 },
	{ "mbind", op_mbind, 15 },
	{ "fork", op_fork, 3 },
	{ "fdinfo", op_fdinfo, 15 },
	{ "bind", op_bind, 90 },
	{ "unbind", op_unbind, 20 },
	{ "guest_write", op_guest_write, 150 },
	{ "guest_read", op_guest_read, 80 },
	{ "convert", op_convert, 150 },
	{ "prefault", op_prefault, 50 },
	{ "bad", op_bad, 30 },
	{ "failing", op_failing, 60 },
	{ "cgroup", op_cgroup, 3 },
	{ "vm", op_vm, 2 },
	{ "die", op_die, 20 },
};

static void turn(void)
{
	u64 sum = 0, pick;
	int i;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		sum += ops[i].weight;
	pick = below(sum);
	for (i = 0; pick >= ops[i].weight; i++)
		pick -= ops[i].weight;
	ops[i].fn();
	me->counts[i]++;
	check_some();
	if (!doomed)
		WRITE_ONCE(me->ops, me->ops + 1);
}

/* On purpose, change something that the model does not know of. */
static void break_something(void)
{
	static struct range all = { .nr = 64 };
	struct file *f = &files[0];
	u64 *mem;

	free_vm();
	do {
		create_vm();
		if (vm_private)
			free_vm();
	} while (vm_private);
	if (f->fd >= 0)
		close_file(f);
	nth = 0;
	do {
		op_create();
	} while (f->fd < 0 || f->nr < all.nr);
	if (!f->mem)
		map_file(f);
	host_fill(f, 7);
	mem = f->mem + 7 * PAGE_SIZE;
	log_op("break it: %s", breakage_names[opt.breakage]);
	if (opt.breakage == BREAK_LOST)
		fallocate(f->fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 7 * PAGE_SIZE,
			  PAGE_SIZE);
	else if (opt.breakage == BREAK_STALE)
		gmem_fill_page(mem, f->tags[7] - 1);
	else
		gmem_fill_page(mem, f->tags[7] ^ 3ULL << (OWNER_SHIFT + 16));
	check_bounds(f, (struct range) { .first = 7, .nr = 1 });
}

static void __noreturn proc_main(u32 index)
{
	u64 share = opt.ops / opt.procs;
	int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	me = &shared->procs[index];
	rng = gmem_mix(gmem_mix(opt.seed) ^ (u64)index << 32 ^ me->generation);
	owner = (index + 1) << 16 | (me->generation & 0xffff);
	nth_fd = opt.failing ? open("/proc/thread-self/fail-nth", O_RDWR) : -1;
	if (opt.failing && nth_fd < 0)
		fail("fail-nth: %s", strerror(errno));
	control = gmem_mmap_anon(SZ_2M);
	TEST_ASSERT(control, "mmap(): %s", strerror(errno));
	for (i = 0; i < MAX_SLOTS; i++) {
		slots[i].hva = gmem_mmap_anon(MAX_PAGES * PAGE_SIZE);
		TEST_ASSERT(slots[i].hva, "mmap(): %s", strerror(errno));
	}
	for (i = 0; i < MAX_FILES; i++)
		files[i].fd = -1;
	create_vm();
	while ((opt.seconds || me->ops < share) && !READ_ONCE(shared->stop))
		turn();
	while (doomed)
		turn();
	if (opt.breakage && !index)
		break_something();
	free_vm();
	fflush(stdout);
	/* Files are closed as they are when it is killed. */
	_exit(0);
}

/* The process that watches */

static void start_proc(u32 i)
{
	struct proc *p = &shared->procs[i];
	pid_t pid;

	fflush(stdout);
	p->dying = false;
	pid = fork();
	TEST_ASSERT(pid >= 0, "fork(): %s", strerror(errno));
	if (!pid)
		proc_main(i);
	p->pid = pid;
}

static void print_command(void)
{
	u32 i;

	printf("gmem_fuzz --seed %lu --procs %u", opt.seed, opt.procs);
	if (opt.seconds)
		printf(" --seconds %lu", opt.seconds);
	else
		printf(" --ops %lu", opt.ops);
	if (opt.policy)
		printf(" --policy %s", opt.policy);
	for (i = 0; i < opt.nr_cgroups; i++)
		printf(" --cgroup %s", opt.cgroups[i]);
	if (!opt.reader)
		printf(" --no-reader");
	if (!opt.failing)
		printf(" --no-failing");
	if (opt.breakage)
		printf(" --break %s", breakage_names[opt.breakage]);
	putchar('\n');
}

static void print_logs(void)
{
	const struct record *r;
	const struct proc *p;
	u64 i;

	puts("The last operations:");
	for (p = shared->procs; p < shared->procs + opt.procs; p++) {
		for (i = 0; i < LOG; i++) {
			r = &p->log[(p->logged + i) % LOG];
			if (r->text[0])
				printf("  process %ld.%u, operation %lu: %s\n", p - shared->procs,
				       p->generation, r->nr, r->text);
		}
	}
	printf("To run it again%s:\n  ",
	       opt.procs > 1 || opt.reader ? " (in which order what runs is up to the kernel)" : "");
	print_command();
}

static void kill_all(void)
{
	u32 i;

	for (i = 0; i < opt.procs; i++)
		if (shared->procs[i].pid)
			kill(shared->procs[i].pid, SIGKILL);
}

/* A process ended. Return whether that was right. */
static bool reap(pid_t pid, int status)
{
	u32 i;

	for (i = 0; i < opt.procs && shared->procs[i].pid != pid; i++)
		;
	TEST_ASSERT(i < opt.procs, "a process that nobody knows");
	shared->procs[i].pid = 0;
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return true;
	if (WIFSIGNALED(status) && shared->procs[i].dying &&
	    (WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGKILL)) {
		shared->procs[i].generation++;
		start_proc(i);
		return true;
	}
	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		printf("FAIL: seed %lu, process %u: %s\n", opt.seed, i,
		       strsignal(WTERMSIG(status)));
	return false;
}

static bool watch(void)
{
	u64 end = gmem_now_ns() + opt.seconds * 1000000000ULL;
	bool ok = true;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) >= 0) {
		if (pid && !reap(pid, status) && ok) {
			ok = false;
			kill_all();
			print_logs();
		}
		if (!pid)
			usleep(20000);
		if (opt.seconds && gmem_now_ns() > end)
			WRITE_ONCE(shared->stop, true);
	}
	return ok;
}

static void print_totals(u64 start)
{
	u64 total = 0, compared = 0, reads = 0, failed = 0, killed = 0, n;
	int op, i;

	for (i = 0; i < opt.procs; i++) {
		total += shared->procs[i].ops;
		compared += shared->procs[i].compared;
		reads += shared->procs[i].reads;
		failed += shared->procs[i].failed;
		killed += shared->procs[i].generation;
	}
	for (op = 0; op < ARRAY_SIZE(ops); op++) {
		for (n = 0, i = 0; i < opt.procs; i++)
			n += shared->procs[i].counts[op];
		printf("%s%s %lu", op ? ", " : "", ops[op].name, n);
	}
	printf("\n%lu operations, %lu pages compared, %lu read beside, %lu allocations failed, %lu processes killed, %lu ms\n",
	       total, compared, reads, failed, killed, (gmem_now_ns() - start) / 1000000);
}

static void print_help(void)
{
	puts("usage: gmem_fuzz [OPTION]...\n"
	     "Random operations on guest memory by several processes that are killed now and then.\n"
	     "\n"
	     "      --seed N           of what is random; else a new one, which is printed\n"
	     "      --ops N            operations, of all processes together (10000)\n"
	     "      --seconds N        so long instead\n"
	     "      --procs N          processes at a time (4)\n"
	     "      --cgroup DIR       one that processes move to now and then; can be repeated\n"
	     "      --policy NAME      one that files ask for now and then; it need not be there\n"
	     "      --no-reader        no second vCPU that reads all the time\n"
	     "      --no-failing       no allocations that fail\n"
	     "      --leak-bound SIZE  memory that may be missing at the end (16M)\n"
	     "      --break WHAT       in the end, on purpose, 'lost': punch out a page, 'stale':\n"
	     "                         bring back what was there before, 'foreign': what another\n"
	     "                         process wrote: the run must fail\n"
	     "  -v, --verbose          print each operation\n"
	     "  -h, --help\n"
	     "\n"
	     "A run with one process, no reader and no policies that change is repeated by its\n"
	     "seed; the command to do so is printed first, and again when it fails.\n"
	     "\n"
	     "Exit status: 0; 1 somebody read what it must not, a call had the wrong result, or\n"
	     "memory leaked; 2 bad usage; 4 this machine cannot run it.");
}

static void parse_options(int argc, char **argv)
{
	enum {
		SEED = 256, OPS, SECONDS, PROCS, CGROUP, POLICY, NO_READER, NO_FAILING, LEAK, BREAK,
	};
	static const struct option options[] = {
		{ "seed", required_argument, NULL, SEED },
		{ "ops", required_argument, NULL, OPS },
		{ "seconds", required_argument, NULL, SECONDS },
		{ "procs", required_argument, NULL, PROCS },
		{ "cgroup", required_argument, NULL, CGROUP },
		{ "policy", required_argument, NULL, POLICY },
		{ "no-reader", no_argument, NULL, NO_READER },
		{ "no-failing", no_argument, NULL, NO_FAILING },
		{ "leak-bound", required_argument, NULL, LEAK },
		{ "break", required_argument, NULL, BREAK },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	int c;

	while ((c = getopt_long(argc, argv, "vh", options, NULL)) != -1) {
		switch (c) {
		case SEED:
			opt.seed = gmem_number("--seed", optarg, 0, UINT64_MAX);
			break;
		case OPS:
			opt.ops = gmem_number("--ops", optarg, 1, 1000000000);
			break;
		case SECONDS:
			opt.seconds = gmem_number("--seconds", optarg, 1, 1000000);
			break;
		case PROCS:
			opt.procs = gmem_number("--procs", optarg, 1, MAX_PROCS);
			break;
		case CGROUP:
			if (opt.nr_cgroups == MAX_CGROUPS)
				gmem_usage_error("--cgroup: more than %d", MAX_CGROUPS);
			opt.cgroups[opt.nr_cgroups++] = optarg;
			break;
		case POLICY:
			opt.policy = optarg;
			break;
		case NO_READER:
			opt.reader = false;
			break;
		case NO_FAILING:
			opt.failing = false;
			break;
		case LEAK:
			opt.leak_bound = gmem_number("--leak-bound", optarg, 0, UINT64_MAX);
			break;
		case BREAK:
			opt.breakage = gmem_choice("--break", optarg, breakage_names,
						   ARRAY_SIZE(breakage_names));
			break;
		case 'v':
			opt.verbose = true;
			break;
		case 'h':
			print_help();
			exit(0);
		default:
			fputs("gmem_fuzz: see --help\n", stderr);
			exit(2);
		}
	}
	if (optind < argc)
		gmem_usage_error("unexpected '%s'", argv[optind]);
}

static void require_kernel(void)
{
	if (!(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM)) ||
	    !(kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS) & GUEST_MEMFD_FLAG_POLICY)) {
		puts("SKIP: this kernel has no KVM_X86_SW_PROTECTED_VM, or no policies");
		exit(KSFT_SKIP);
	}
	if (opt.failing && !gmem_prepare_failing()) {
		puts("no allocations fail: no CONFIG_FAULT_INJECTION, or not root");
		opt.failing = false;
	}
}

int main(int argc, char *argv[])
{
	struct gmem_memory before;
	bool ok;
	u64 start;
	u32 i;

	gmem_start_main();
	opt.seed = gmem_mix(gmem_now_ns()) >> 40;
	parse_options(argc, argv);
	require_kernel();
	two_nodes = !access("/sys/devices/system/node/node1", F_OK);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	TEST_ASSERT(shared != MAP_FAILED, "mmap(): %s", strerror(errno));
	print_command();
	before = gmem_look_at_memory();
	start = gmem_now_ns();
	for (i = 0; i < opt.procs; i++)
		start_proc(i);
	ok = watch();
	print_totals(start);
	if (!ok)
		return 1;
	if (!gmem_memory_is_back(&before, opt.leak_bound)) {
		puts("FAIL: memory leaked");
		return 1;
	}
	puts("ok");
	return 0;
}
