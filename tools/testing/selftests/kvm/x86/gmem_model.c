// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random operations on one guest_memfd, against a model of every byte of it.
 *
 * The model knows for each page of the file what it must contain: a pattern that
 * belongs to one write of one page, so that a page that is lost, stale, or
 * another one differs in every word, and a few bytes written at random offsets
 * since. What was never written, or was punched out, is zeroes.
 *
 * - In mode "private" the VM is a software-protected one. A guest frame shows
 *   either the page of the file or, when it is converted to shared, anonymous
 *   memory of its memslot; the model has both.
 * - In mode "shared" the VM is a default one, and guest and host have the same
 *   file mapped.
 *
 * Each vCPU is a thread that owns pages of its own, takes them through random
 * operations, and checks them, neighbours of what it changed first. With more
 * than one, their pages are interleaved in each 2M: they read and write beside
 * holes that others punch, and beside ranges that others convert.
 *
 * The guest executes a queue of commands, each about one page, for each exit.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include <linux/falloc.h>
#include <linux/sizes.h>

#include "gmem_guest.h"
#include "gmem_memory.h"
#include "gmem_options.h"
#include "gmem_random.h"
#include "numaif.h"
#include "test_util.h"

#define MAX_VCPUS	16
#define MAX_SLOTS	4
#define MAX_POKES	3	/* bytes written into a page since its pattern was */
#define MAX_ORDER	31
#define MAX_POISONED	8	/* each costs the machine a page for good */
#define BURST		8	/* most operations of the guest in one exit */
#define WRITE_PAGES	16	/* most pages that one operation reads or writes */
#define SUBSET		16	/* pages that are compared every --verify-every operations */
#define RUN_PAGES	32	/* most pages of a vCPU in a row, as a rule */
#define LOG		16	/* last operations, to be printed */
#define SAMPLE		500	/* operations between two looks at fdinfo */

#define HUGE_PAGES	((u64)(SZ_2M / PAGE_SIZE))
#define QUEUE_CMDS	1024

#define SLOT_CONTROL	1
#define SLOT_FIRST	2
#define CONTROL_GPA	(4ULL * SZ_1G)
#define WINDOW_GPA	(8ULL * SZ_1G)

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif

enum mode {
	MODE_PRIVATE,
	MODE_SHARED,
	MODES,
};

static const char * const mode_names[] = { "private", "shared" };

enum breakage {
	BREAK_NONE,
	BREAK_LOST,
	BREAK_STALE,
};

static const char * const breakage_names[] = { "none", "lost", "stale" };

static struct {
	enum mode mode;
	u64 seed;
	u64 ops;
	u32 vcpus;
	u64 size;
	u64 verify_every;
	u64 leak_bound;
	int expect_order;
	enum breakage breakage;
	bool verbose;
} opt = {
	.ops = 10000,
	.vcpus = 1,
	.size = SZ_64M,
	.verify_every = 16,
	.leak_bound = SZ_8M,
	.expect_order = -1,
};

/**
 * struct content - what a page must contain
 * @tag: its pattern, gmem_pattern(); 0 is zeroes
 * @at: offsets of bytes that were written later, each once
 * @byte: these bytes
 * @nr: how many they are
 */
struct content {
	u64 tag;
	u16 at[MAX_POKES];
	u8 byte[MAX_POKES];
	u8 nr;
};

/* The first word that is not what it should be. */
struct difference {
	u64 word;
	u64 want;
	u64 got;
};

/**
 * struct page - the model of a page of the file
 * @file: content of the file
 * @anon: mode "private": content of the shared memory of the slot that it is bound to
 * @generation: how many patterns were written to either
 * @poisoned: the file's page was reported as bad, and must not be readable
 */
struct page {
	struct content file;
	struct content anon;
	u32 generation;
	bool poisoned;
};

struct range {
	u64 first;
	u64 nr;
};

/**
 * struct slot - a memslot that some of the file is bound to
 * @part: pages of the file that this slot may bind
 * @bound: those it does; none if there is no memslot
 * @gpa: where they are
 * @hva: mode "private": their shared memory
 * @mapping: the address of the whole mapping that @hva is in
 * @mapped: its size
 */
struct slot {
	struct range part;
	struct range bound;
	u64 gpa;
	void *hva;
	void *mapping;
	u64 mapped;
};

enum guest_op {
	GUEST_FILL,		/* write all of content */
	GUEST_POKE,		/* write the last byte of content */
	GUEST_CHECK,
};

struct guest_cmd {
	u64 op;
	u64 gpa;
	u64 page;
	struct content content;
};

/* In memory that is shared with the guest. The guest stops at a page that differs. */
struct guest_queue {
	u64 nr;
	u64 done;
	bool differs;
	struct difference difference;
	struct guest_cmd cmds[QUEUE_CMDS];
};

/* An operation, as it is printed. */
struct record {
	u64 nr;
	const char *what;
	const char *how;
	struct range range;
	bool pressure;
};

struct actor {
	u32 index;
	pthread_t thread;
	struct kvm_vcpu *vcpu;
	struct kvm_regs entry;
	struct guest_queue *queue;
	struct range *runs;		/* the pages that it owns */
	u64 nr_runs;
	u64 random;
	u64 ops;
	u64 next_verify;
	bool pressure;
	bool pinned;			/* a page of the file is in the pipe */
	int pipe[2];
	struct record log[LOG];
	/* to be summed up */
	u64 compared;
};

static struct kvm_vm *vm;
static int gmem_fd;
static u64 nr_pages;
static struct page *pages;
static struct slot slots[MAX_SLOTS];
static u64 slot_stride;			/* bytes of guest physical memory that a slot may be in */
static bool *private;			/* the attribute of each page of all of that */
static void *host_mem;			/* mode "shared": the file's mapping, */
static void *host_mapping;		/* in a mapping that is larger, */
static u64 host_mapped;			/* by this size */
static bool two_nodes;
static bool can_press;
static u32 nr_poisoned, nr_unpoisoned;
static u64 orders_seen;

static struct actor actors[MAX_VCPUS];
/* Held for writing by whoever changes memslots or the host's mapping. */
static pthread_rwlock_t layout_lock;
static pthread_mutex_t print_lock = PTHREAD_MUTEX_INITIALIZER;

/* Content, for guest and host */

static inline u64 content_word(const struct content *c, u64 word)
{
	u64 v = gmem_pattern(c->tag, word);
	int i, shift;

	for (i = 0; i < c->nr; i++) {
		if (c->at[i] / sizeof(u64) != word)
			continue;
		shift = c->at[i] % sizeof(u64) * 8;
		v &= ~(0xffULL << shift);
		v |= (u64)c->byte[i] << shift;
	}
	return v;
}

static inline void write_content(u64 *page, const struct content *c)
{
	int i;

	gmem_fill_page(page, c->tag);
	for (i = 0; i < c->nr; i++)
		WRITE_ONCE(((u8 *)page)[c->at[i]], c->byte[i]);
}

static inline bool word_differs(const u64 *page, const struct content *c, u64 word,
				struct difference *d)
{
	d->word = word;
	d->want = content_word(c, word);
	d->got = READ_ONCE(page[word]);
	return d->want != d->got;
}

static inline bool content_differs(const u64 *page, const struct content *c, struct difference *d)
{
	u64 i;

	for (i = 0; i < GMEM_PAGE_WORDS; i++)
		if (READ_ONCE(page[i]) != gmem_pattern(c->tag, i) && word_differs(page, c, i, d))
			return true;
	/* A word without the byte that was written to it looks right to that. */
	for (i = 0; i < c->nr; i++)
		if (word_differs(page, c, c->at[i] / sizeof(u64), d))
			return true;
	return false;
}

/* The guest */

static void guest_execute(struct guest_queue *q, const struct guest_cmd *cmd)
{
	const struct content *c = &cmd->content;
	u64 *page = (u64 *)cmd->gpa;

	switch (cmd->op) {
	case GUEST_FILL:
		write_content(page, c);
		break;
	case GUEST_POKE:
		WRITE_ONCE(((u8 *)page)[c->at[c->nr - 1]], c->byte[c->nr - 1]);
		break;
	case GUEST_CHECK:
		q->differs = content_differs(page, c, &q->difference);
		break;
	default:
		GUEST_FAIL("unknown command %lu", cmd->op);
	}
}

static void guest_main(struct guest_queue *q)
{
	for (;;) {
		for (; READ_ONCE(q->done) < q->nr; WRITE_ONCE(q->done, q->done + 1)) {
			guest_execute(q, &q->cmds[q->done]);
			if (q->differs)
				break;
		}
		GUEST_SYNC(0);
	}
}

/* Chance */

static u64 next_random(struct actor *a)
{
	return gmem_random(&a->random);
}

/* 0 to n - 1 */
static u64 below(struct actor *a, u64 n)
{
	return gmem_below(&a->random, n);
}

static bool one_in(struct actor *a, u64 n)
{
	return !below(a, n);
}

static u64 make_tag(u64 page, u32 generation)
{
	return gmem_mix(gmem_mix(opt.seed) ^ page << 32 ^ generation) | 1;
}

/* Mostly few pages, sometimes any number. */
static u64 random_len(struct actor *a, u64 most)
{
	u64 kind = below(a, 1000), len;

	if (kind < 600)
		len = 8;
	else if (kind < 900)
		len = 64;
	else if (kind < 980)
		len = HUGE_PAGES;
	else if (kind < 997)
		len = 4 * HUGE_PAGES;
	else
		len = most;
	return 1 + below(a, min(len, most));
}

/* Pages that the actor owns; often the bounds are those of 2M, or one page beside. */
static struct range random_range(struct actor *a, u64 most)
{
	const struct range *run = &a->runs[below(a, a->nr_runs)];
	u64 run_end = run->first + run->nr;
	u64 first = run->first + below(a, run->nr);
	u64 end = first + random_len(a, run->nr);

	if (one_in(a, 4))
		first = first / HUGE_PAGES * HUGE_PAGES + (one_in(a, 4) ? 1 : 0);
	if (one_in(a, 4))
		end = align_up(end, HUGE_PAGES) - (one_in(a, 4) ? 1 : 0);
	first = min(max(first, run->first), run_end - 1);
	end = min(end, run_end);
	if (end <= first)
		end = first + 1;
	return (struct range) { .first = first, .nr = min(end - first, most) };
}

static struct range overlap(struct range a, struct range b)
{
	u64 first = max(a.first, b.first);
	u64 end = min(a.first + a.nr, b.first + b.nr);

	return (struct range) { .first = first, .nr = end > first ? end - first : 0 };
}

/* What went wrong */

static void print_op(const struct actor *a, const struct record *r)
{
	printf("  vCPU %u, operation %lu: %s pages %lu to %lu%s%s%s\n", a->index, r->nr, r->what,
	       r->range.first, r->range.first + r->range.nr - 1, r->how ? ", " : "", r->how ?: "",
	       r->pressure ? ", under pressure" : "");
}

static void print_log(const struct actor *a)
{
	const struct record *r;
	u64 i;

	for (i = 0; i < LOG; i++) {
		r = &a->log[(a->ops + i) % LOG];
		if (r->what)
			print_op(a, r);
	}
}

static void print_command(void)
{
	printf("gmem_model --mode %s --seed %lu --ops %lu --vcpus %u --size %luK",
	       mode_names[opt.mode], opt.seed, opt.ops, opt.vcpus, opt.size / 1024);
	printf(" --verify-every %lu", opt.verify_every);
	if (opt.expect_order >= 0)
		printf(" --expect-order %d", opt.expect_order);
	if (opt.breakage)
		printf(" --break %s", breakage_names[opt.breakage]);
	putchar('\n');
}

static void __printf(2, 3) __noreturn fail(struct actor *a, const char *fmt, ...)
{
	va_list ap;
	u32 i;

	pthread_mutex_lock(&print_lock);
	printf("FAIL: seed %lu, vCPU %u, operation %lu: ", opt.seed, a->index, a->ops);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\nThe last operations:\n");
	for (i = 0; i < opt.vcpus; i++)
		print_log(&actors[i]);
	printf("To run it again%s:\n  ",
	       opt.vcpus > 1 ? " (the order in which vCPUs run is up to the kernel)" : "");
	print_command();
	fflush(stdout);
	/* With other threads in the middle of something. */
	_exit(1);
}

/* Whose word is it? */
static void explain_word(char *text, size_t size, const struct difference *d)
{
	u64 tag = d->got - gmem_pattern(1, d->word) + 1, page;
	u32 generation;

	if (!d->got) {
		snprintf(text, size, "zeroes");
		return;
	}
	for (page = 0; page < nr_pages; page++) {
		for (generation = 1; generation <= pages[page].generation; generation++) {
			if (make_tag(page, generation) != tag)
				continue;
			snprintf(text, size, "page %lu as of write %u (of %u)", page, generation,
				 pages[page].generation);
			return;
		}
	}
	snprintf(text, size, "no word of any page's pattern");
}

static void __noreturn mismatch(struct actor *a, u64 page, const char *who,
				const struct difference *d)
{
	char what[128];
	int byte;

	for (byte = 0; !((d->want ^ d->got) >> byte * 8 & 0xff); byte++)
		;
	explain_word(what, sizeof(what), d);
	fail(a, "page %lu, byte %lu: %s should read 0x%02x, and reads 0x%02x\n"
	     "  (the word at %lu: wanted 0x%016lx, got 0x%016lx, which is %s;\n"
	     "  the page was written %u times)",
	     page, d->word * sizeof(u64) + byte, who, (u8)(d->want >> byte * 8),
	     (u8)(d->got >> byte * 8), d->word * sizeof(u64), d->want, d->got, what,
	     pages[page].generation);
}

static void log_op(struct actor *a, const char *what, struct range range, const char *how)
{
	struct record *r = &a->log[a->ops % LOG];

	*r = (struct record) {
		.nr = a->ops++, .what = what, .how = how, .range = range, .pressure = a->pressure,
	};
	if (opt.verbose) {
		pthread_mutex_lock(&print_lock);
		print_op(a, r);
		fflush(stdout);
		pthread_mutex_unlock(&print_lock);
	}
}

/* Where pages are */

static struct slot *page_slot(u64 page)
{
	struct slot *s;

	for (s = slots; s < slots + MAX_SLOTS; s++)
		if (page >= s->bound.first && page - s->bound.first < s->bound.nr)
			return s;
	return NULL;
}

static u64 page_gpa(const struct slot *s, u64 page)
{
	return s->gpa + (page - s->bound.first) * PAGE_SIZE;
}

static bool *gpa_private(u64 gpa)
{
	return &private[(gpa - WINDOW_GPA) / PAGE_SIZE];
}

/* What the guest sees of a page, and where; NULL if it is not bound, or bad. */
static struct content *guest_view(u64 page, u64 *gpa)
{
	struct slot *s = page_slot(page);

	if (!s)
		return NULL;
	*gpa = page_gpa(s, page);
	if (opt.mode == MODE_PRIVATE && !*gpa_private(*gpa))
		return &pages[page].anon;
	return pages[page].poisoned ? NULL : &pages[page].file;
}

/* What the host sees, and where: the file's page, or the shared memory of its slot. */
static struct content *host_view(u64 page, void **mem)
{
	struct slot *s;

	if (opt.mode == MODE_SHARED) {
		*mem = host_mem + page * PAGE_SIZE;
		return pages[page].poisoned ? NULL : &pages[page].file;
	}
	s = page_slot(page);
	if (!s)
		return NULL;
	*mem = s->hva + (page - s->bound.first) * PAGE_SIZE;
	return &pages[page].anon;
}

/* Accesses by the guest */

/* Have the guest execute its queue. Return 0 or a negative errno. */
static int run_guest(struct actor *a)
{
	struct guest_queue *q = a->queue;
	struct kvm_run *run = a->vcpu->run;
	struct ucall uc;
	int err = 0;

	q->done = 0;
	q->differs = false;
	if (_vcpu_run(a->vcpu)) {
		err = -errno;
		/* Not that access again. */
		vcpu_regs_set(a->vcpu, &a->entry);
	} else if (run->exit_reason != KVM_EXIT_IO || get_ucall(a->vcpu, &uc) != UCALL_SYNC) {
		fail(a, "page %lu at 0x%lx: the guest exited: %s", q->cmds[q->done].page,
		     q->cmds[q->done].gpa, exit_reason_str(run->exit_reason));
	} else if (q->differs) {
		mismatch(a, q->cmds[q->done].page, "the guest", &q->difference);
	}
	q->nr = 0;
	return err;
}

static void flush(struct actor *a)
{
	struct guest_queue *q = a->queue;
	int err;

	if (!q->nr)
		return;
	err = run_guest(a);
	if (err)
		fail(a, "page %lu at 0x%lx: KVM_RUN: %s", q->cmds[q->done].page,
		     q->cmds[q->done].gpa, strerror(-err));
}

static void queue(struct actor *a, enum guest_op op, u64 page, u64 gpa, const struct content *c)
{
	struct guest_queue *q = a->queue;

	if (q->nr == QUEUE_CMDS)
		flush(a);
	q->cmds[q->nr++] = (struct guest_cmd) {
		.op = op, .gpa = gpa, .page = page, .content = *c,
	};
}

static void queue_check(struct actor *a, u64 page)
{
	struct content *c;
	u64 gpa;

	c = guest_view(page, &gpa);
	if (!c)
		return;
	queue(a, GUEST_CHECK, page, gpa, c);
	a->compared++;
}

/* Accesses by the host */

static __thread sigjmp_buf sigbus_env;
static __thread bool sigbus_armed;
static __thread bool sigbus_ignored;
static __thread int sigbus_code;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	WRITE_ONCE(sigbus_code, info->si_code);
	if (READ_ONCE(sigbus_armed))
		siglongjmp(sigbus_env, 1);
	/* madvise(MADV_HWPOISON) tells whoever has the page mapped. */
	if (!READ_ONCE(sigbus_ignored))
		signal(SIGBUS, SIG_DFL);
}

/* Return 0 if the page was accessed, else the code of the SIGBUS. */
static int host_access(u64 *mem, const struct content *c, bool write, bool *differs,
		       struct difference *d)
{
	*differs = false;
	/* The signal is not blocked in the handler: there is no mask to restore. */
	if (sigsetjmp(sigbus_env, 0)) {
		WRITE_ONCE(sigbus_armed, false);
		return READ_ONCE(sigbus_code);
	}
	WRITE_ONCE(sigbus_armed, true);
	if (write)
		write_content(mem, c);
	else
		*differs = content_differs(mem, c, d);
	WRITE_ONCE(sigbus_armed, false);
	return 0;
}

static void host_do(struct actor *a, u64 page, bool write)
{
	struct difference d;
	struct content *c;
	bool differs;
	void *mem;
	int code;

	c = host_view(page, &mem);
	if (!c)
		return;
	code = host_access(mem, c, write, &differs, &d);
	if (code)
		fail(a, "page %lu: SIGBUS for the host, code %d", page, code);
	if (differs)
		mismatch(a, page, "the host", &d);
	if (!write)
		a->compared++;
}

/* A bad page must be readable by nobody, nor may it end the VM. */
static void check_poisoned(struct actor *a, u64 page)
{
	struct slot *s = page_slot(page);
	struct difference d;
	bool differs;
	int ret;

	flush(a);
	if (s) {
		queue(a, GUEST_CHECK, page, page_gpa(s, page), &pages[page].file);
		ret = run_guest(a);
		if (ret != -EHWPOISON)
			fail(a, "page %lu is bad: KVM_RUN should say EHWPOISON, and says %s", page,
			     strerror(-ret));
	}
	ret = host_access(host_mem + page * PAGE_SIZE, &pages[page].file, false, &differs, &d);
	if (ret != BUS_MCEERR_AR)
		fail(a, "page %lu is bad: the host should get SIGBUS with code %d, and gets %d",
		     page, BUS_MCEERR_AR, ret);
}

/* Operations. Each is logged as it begins; the guest's queue is empty before those of the host. */

static void new_pattern(u64 page, struct content *c)
{
	*c = (struct content) { .tag = make_tag(page, ++pages[page].generation) };
}

/* Another byte; the last one of content is the one to write. */
static void new_poke(struct actor *a, struct content *c)
{
	u16 at = below(a, PAGE_SIZE);
	int i;

	for (i = 0; i < c->nr && c->at[i] != at; i++)
		;
	if (i < c->nr) {
		c->nr--;
		c->at[i] = c->at[c->nr];
		c->byte[i] = c->byte[c->nr];
	}
	c->at[c->nr] = at;
	c->byte[c->nr++] = next_random(a);
}

/* Make new content for a page; return whether it is only a byte. */
static bool new_content(struct actor *a, u64 page, struct content *c)
{
	bool poke = c->nr < MAX_POKES && one_in(a, 2);

	if (poke)
		new_poke(a, c);
	else
		new_pattern(page, c);
	return poke;
}

static void op_guest_write(struct actor *a, struct range r)
{
	struct content *c;
	u64 i, gpa;
	bool poke;

	log_op(a, "guest write", r, NULL);
	for (i = r.first; i < r.first + r.nr; i++) {
		c = guest_view(i, &gpa);
		if (!c)
			continue;
		poke = new_content(a, i, c);
		queue(a, poke ? GUEST_POKE : GUEST_FILL, i, gpa, c);
	}
}

static void op_guest_read(struct actor *a, struct range r)
{
	u64 i;

	log_op(a, "guest read", r, NULL);
	for (i = r.first; i < r.first + r.nr; i++)
		queue_check(a, i);
}

static void op_host_write(struct actor *a, struct range r)
{
	struct content *c;
	void *mem;
	u64 i;

	log_op(a, "host write", r, NULL);
	for (i = r.first; i < r.first + r.nr; i++) {
		c = host_view(i, &mem);
		if (!c)
			continue;
		if (one_in(a, 2)) {
			new_pattern(i, c);
			host_do(a, i, true);
		} else if (c->nr < MAX_POKES) {
			/* It is there before it is written to. */
			host_do(a, i, false);
			new_poke(a, c);
			WRITE_ONCE(((u8 *)mem)[c->at[c->nr - 1]], c->byte[c->nr - 1]);
		}
	}
}

static void op_host_read(struct actor *a, struct range r)
{
	u64 i;

	log_op(a, "host read", r, NULL);
	for (i = r.first; i < r.first + r.nr; i++)
		host_do(a, i, false);
}

/* The run that the range is in */
static struct range own_run(struct actor *a, struct range r)
{
	const struct range *run = a->runs;

	while (r.first < run->first || r.first >= run->first + run->nr)
		run++;
	return *run;
}

/* The pages on both sides of the range's bounds, which is where mistakes are made. */
static void check_bounds(struct actor *a, struct range r)
{
	struct range run = own_run(a, r);
	u64 end = r.first + r.nr;

	if (r.first > run.first)
		queue_check(a, r.first - 1);
	if (one_in(a, 2)) {
		queue_check(a, r.first);
		queue_check(a, end - 1);
	}
	if (end < run.first + run.nr)
		queue_check(a, end);
	queue_check(a, run.first + below(a, run.nr));
}

static void do_fallocate(struct actor *a, struct range r, int flags, const char *what)
{
	if (fallocate(gmem_fd, FALLOC_FL_KEEP_SIZE | flags, r.first * PAGE_SIZE, r.nr * PAGE_SIZE))
		fail(a, "%s: %s", what, strerror(errno));
}

static void op_fallocate(struct actor *a, struct range r)
{
	log_op(a, "fallocate", r, NULL);
	do_fallocate(a, r, 0, "fallocate");
	check_bounds(a, r);
}

static bool has_poisoned(struct range r)
{
	u64 i;

	for (i = r.first; i < r.first + r.nr; i++)
		if (pages[i].poisoned)
			return true;
	return false;
}

static void op_punch(struct actor *a, struct range r)
{
	u64 i;

	log_op(a, "punch", r, NULL);
	do_fallocate(a, r, FALLOC_FL_PUNCH_HOLE, "punch");
	/* That a page was bad stays in the page tables until it is unmapped by those who map it. */
	if (has_poisoned(r) && madvise(host_mem + r.first * PAGE_SIZE, r.nr * PAGE_SIZE,
				       MADV_DONTNEED))
		fail(a, "madvise(dontneed): %s", strerror(errno));
	for (i = r.first; i < r.first + r.nr; i++) {
		pages[i].file = (struct content) {};
		pages[i].poisoned = false;
	}
	check_bounds(a, r);
}

static void convert(struct actor *a, u64 gpa, u64 size, bool to_private)
{
	struct kvm_memory_attributes attr = {
		.attributes = to_private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
		.address = gpa,
		.size = size,
	};

	if (__vm_ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, &attr))
		fail(a, "KVM_SET_MEMORY_ATTRIBUTES 0x%lx, 0x%lx bytes: %s", gpa, size,
		     strerror(errno));
	memset(gpa_private(gpa), to_private, size / PAGE_SIZE);
}

static const char *direction(bool to_private)
{
	return to_private ? "to private" : "to shared";
}

/* The guest frames where the pages are bound now */
static void op_convert(struct actor *a, struct range r)
{
	bool to_private = one_in(a, 2);
	struct range part;
	int i;

	log_op(a, "convert", r, direction(to_private));
	for (i = 0; i < MAX_SLOTS; i++) {
		part = overlap(r, slots[i].bound);
		if (part.nr)
			convert(a, page_gpa(&slots[i], part.first), part.nr * PAGE_SIZE,
				to_private);
	}
	check_bounds(a, r);
}

/* Any guest frames, whether there is a memslot or not: those of all vCPUs. */
static void op_convert_frames(struct actor *a, struct range r)
{
	u64 frames = MAX_SLOTS * slot_stride / PAGE_SIZE;
	u64 first = below(a, frames);
	u64 nr = random_len(a, frames - first);
	bool to_private = one_in(a, 2);

	log_op(a, "convert guest frames, not", (struct range) { .first = first, .nr = nr },
	       direction(to_private));
	convert(a, WINDOW_GPA + first * PAGE_SIZE, nr * PAGE_SIZE, to_private);
	check_bounds(a, r);
}

static void prefault(struct actor *a, struct slot *s, struct range part)
{
	struct kvm_pre_fault_memory range = {
		.gpa = page_gpa(s, part.first),
		.size = part.nr * PAGE_SIZE,
	};

	while (range.size && __vcpu_ioctl(a->vcpu, KVM_PRE_FAULT_MEMORY, &range)) {
		if (errno == EINTR || errno == EAGAIN)
			continue;
		if (errno == EHWPOISON && has_poisoned(part))
			return;
		fail(a, "KVM_PRE_FAULT_MEMORY at 0x%llx, 0x%llx bytes left: %s", range.gpa,
		     range.size, strerror(errno));
	}
}

static void op_prefault(struct actor *a, struct range r)
{
	struct range part;
	int i;

	log_op(a, "prefault", r, NULL);
	for (i = 0; i < MAX_SLOTS; i++) {
		part = overlap(r, slots[i].bound);
		if (part.nr)
			prefault(a, &slots[i], part);
	}
	check_bounds(a, r);
}

/**
 * struct advice - what madvise() is asked
 * @name: for the log
 * @advice: MADV_*
 * @optional: the kernel may refuse it
 */
struct advice {
	const char *name;
	int advice;
	bool optional;
};

/* Advice to the shared memory of slots; without it, it reads as zeroes. */
static void advise_anon(struct actor *a, struct range r)
{
	static const struct advice advices[] = {
		{ "dontneed", MADV_DONTNEED },
		{ "dontneed", MADV_DONTNEED },
		{ "hugepage", MADV_HUGEPAGE, true },
		{ "nohugepage", MADV_NOHUGEPAGE, true },
		{ "collapse", MADV_COLLAPSE, true },
	};
	const struct advice *advice = &advices[below(a, ARRAY_SIZE(advices))];
	struct range part;
	void *mem;
	u64 i;

	log_op(a, "madvise shared memory of", r, advice->name);
	for (i = 0; i < MAX_SLOTS; i++) {
		part = overlap(r, slots[i].bound);
		if (!part.nr)
			continue;
		mem = slots[i].hva + (part.first - slots[i].bound.first) * PAGE_SIZE;
		if (madvise(mem, part.nr * PAGE_SIZE, advice->advice) && !advice->optional)
			fail(a, "madvise(%s): %s", advice->name, strerror(errno));
	}
	for (i = r.first; advice->advice == MADV_DONTNEED && i < r.first + r.nr; i++)
		pages[i].anon = (struct content) {};
}

/* Advice to the mapping of the file. None of it changes what the file contains. */
static void advise_file(struct actor *a, struct range r)
{
	static const struct advice advices[] = {
		{ "dontneed", MADV_DONTNEED },
		{ "populate_read", MADV_POPULATE_READ },
		{ "populate_write", MADV_POPULATE_WRITE },
		{ "hugepage", MADV_HUGEPAGE, true },
		{ "nohugepage", MADV_NOHUGEPAGE, true },
		{ "collapse", MADV_COLLAPSE, true },
	};
	const struct advice *advice = &advices[below(a, ARRAY_SIZE(advices))];
	void *mem = host_mem + r.first * PAGE_SIZE;

	log_op(a, "madvise", r, advice->name);
	if (madvise(mem, r.nr * PAGE_SIZE, advice->advice) && !advice->optional &&
	    !has_poisoned(r))
		fail(a, "madvise(%s): %s", advice->name, strerror(errno));
}

static void op_madvise(struct actor *a, struct range r)
{
	if (opt.mode == MODE_PRIVATE)
		advise_anon(a, r);
	else
		advise_file(a, r);
	check_bounds(a, r);
}

static void op_mbind(struct actor *a, struct range r)
{
	static const struct {
		const char *name;
		int mode;
		unsigned long nodes;
	} policies[] = {
		{ "default", MPOL_DEFAULT, 0 },
		{ "node 0", MPOL_BIND, 1 },
		{ "node 1", MPOL_BIND, 2 },
		{ "interleave", MPOL_INTERLEAVE, 3 },
	};
	int i = below(a, two_nodes ? ARRAY_SIZE(policies) : 2);
	unsigned long nodes = policies[i].nodes;

	/* Now and then all, lest every 2M has more than one policy for the rest of the run. */
	if (one_in(a, 4))
		r = (struct range) { .nr = nr_pages };
	log_op(a, "mbind", r, policies[i].name);
	if (mbind(host_mem + r.first * PAGE_SIZE, r.nr * PAGE_SIZE, policies[i].mode,
		  nodes ? &nodes : NULL, nodes ? BITS_PER_TYPE(nodes) : 0, 0))
		fail(a, "mbind(%s): %s", policies[i].name, strerror(errno));
}

static void unpin(struct actor *a)
{
	close(a->pipe[0]);
	close(a->pipe[1]);
	a->pinned = false;
}

/* Report one page as bad: that page is lost, and no other. */
static void op_poison(struct actor *a, struct range r)
{
	void *mem = host_mem + r.first * PAGE_SIZE;
	struct range block;
	int ret;
	u64 i;

	if (pages[r.first].poisoned ||
	    __atomic_fetch_add(&nr_poisoned, 1, __ATOMIC_RELAXED) >= MAX_POISONED)
		return;
	log_op(a, "poison", r, NULL);
	/* Else the folio may be lost as a whole. */
	for (i = 0; i < opt.vcpus; i++)
		if (actors[i].pinned)
			unpin(&actors[i]);
	host_do(a, r.first, false);
	WRITE_ONCE(sigbus_ignored, true);
	ret = madvise(mem, PAGE_SIZE, MADV_HWPOISON);
	WRITE_ONCE(sigbus_ignored, false);
	/* EBUSY: guest_memfd keeps the page, and the kernel calls it "still referenced". */
	if (ret && errno != EBUSY)
		fail(a, "madvise(MADV_HWPOISON) of page %lu: %s", r.first, strerror(errno));
	pages[r.first].poisoned = true;
	check_poisoned(a, r.first);
	/* What may have been one folio with it */
	block = overlap(own_run(a, r), (struct range) {
		.first = r.first / HUGE_PAGES * HUGE_PAGES, .nr = HUGE_PAGES,
	});
	for (i = block.first; i < block.first + block.nr; i++) {
		queue_check(a, i);
		host_do(a, i, false);
	}
}

/*
 * Have a pipe refer to a page of the file, or give up the one that it refers to: a
 * folio that something refers to cannot be split or moved.
 */
static void op_pin(struct actor *a, struct range r)
{
	struct iovec page = {
		.iov_base = host_mem + r.first * PAGE_SIZE,
		.iov_len = PAGE_SIZE,
	};

	log_op(a, "pin", r, a->pinned ? "no longer what was pinned" : NULL);
	if (a->pinned) {
		unpin(a);
		return;
	}
	if (pages[r.first].poisoned)
		return;
	if (pipe(a->pipe))
		fail(a, "pipe: %s", strerror(errno));
	a->pinned = true;
	if (vmsplice(a->pipe[1], &page, 1, 0) != PAGE_SIZE)
		fail(a, "vmsplice of page %lu: %s", r.first, strerror(errno));
}

static void set_pressure(struct actor *a, bool on)
{
	int fd = open("/proc/thread-self/make-it-fail", O_WRONLY);

	TEST_ASSERT(fd >= 0 && write(fd, on ? "1" : "0", 1) == 1, "make-it-fail: %s",
		    strerror(errno));
	close(fd);
	a->pressure = on;
}

/* From here on, large allocations of this thread fail half of the time, or no longer do. */
static void op_pressure(struct actor *a, struct range r)
{
	if (!can_press)
		return;
	log_op(a, "pressure from here on, not", r, a->pressure ? "off" : "on");
	set_pressure(a, !a->pressure);
}

/* The layout: memslots and mappings */

static void *map_aligned(u64 size, u64 misaligned, int fd, void **mapping, u64 *mapped)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
	void *mem;

	*mapped = size + 2 * SZ_2M;
	*mapping = mmap(NULL, *mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			0);
	TEST_ASSERT(*mapping != MAP_FAILED, "mmap() of %lu bytes: %s", *mapped, strerror(errno));
	mem = (void *)align_up((u64)*mapping, SZ_2M) + misaligned;
	mem = mmap(mem, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0);
	TEST_ASSERT(mem != MAP_FAILED, "mmap() of %lu bytes: %s", size, strerror(errno));
	return mem;
}

static void unbind_slot(struct actor *a, struct slot *s)
{
	if (!s->bound.nr)
		return;
	if (__vm_set_user_memory_region2(vm, SLOT_FIRST + (s - slots), 0, s->gpa, 0, NULL, -1, 0))
		fail(a, "deleting a memslot: %s", strerror(errno));
	if (s->mapping)
		munmap(s->mapping, s->mapped);
	*s = (struct slot) { .part = s->part };
}

/* Bind @bound, @gpa_off pages into the slot's place, its shared memory @hva_off pages off 2M. */
static void bind_slot(struct actor *a, struct slot *s, struct range bound, u64 gpa_off,
		      u64 hva_off)
{
	u64 size = bound.nr * PAGE_SIZE, i;

	s->bound = bound;
	s->gpa = WINDOW_GPA + (s - slots) * slot_stride + gpa_off * PAGE_SIZE;
	if (opt.mode == MODE_PRIVATE) {
		s->hva = map_aligned(size, hva_off * PAGE_SIZE, -1, &s->mapping, &s->mapped);
		for (i = bound.first; i < bound.first + bound.nr; i++)
			pages[i].anon = (struct content) {};
	} else {
		s->hva = host_mem + bound.first * PAGE_SIZE;
	}
	if (__vm_set_user_memory_region2(vm, SLOT_FIRST + (s - slots), KVM_MEM_GUEST_MEMFD, s->gpa,
					 size, s->hva, gmem_fd, bound.first * PAGE_SIZE))
		fail(a, "a memslot at 0x%lx for pages %lu to %lu: %s", s->gpa, bound.first,
		     bound.first + bound.nr - 1, strerror(errno));
}

/* Any part of what the slot may bind, with guest frames and addresses congruent to it, or not */
static void bind_randomly(struct actor *a, struct slot *s)
{
	struct range r = s->part;
	u64 gpa_off, hva_off, cut;

	if (one_in(a, 3) && r.nr > 1) {
		cut = below(a, min(r.nr, 2 * HUGE_PAGES));
		r.first += cut;
		r.nr -= cut;
	}
	if (one_in(a, 3) && r.nr > 1)
		r.nr -= below(a, min(r.nr, 2 * HUGE_PAGES));
	if (!r.nr)
		return;
	gpa_off = one_in(a, 3) ? below(a, HUGE_PAGES) : r.first % HUGE_PAGES;
	hva_off = one_in(a, 3) ? below(a, HUGE_PAGES) : gpa_off;
	bind_slot(a, s, r, gpa_off, hva_off);
}

static void unbind_all(struct actor *a)
{
	int i;

	for (i = 0; i < MAX_SLOTS; i++)
		unbind_slot(a, &slots[i]);
}

/* Divide the file among the slots anew, at any pages. */
static void bind_all_randomly(struct actor *a)
{
	u64 first = 0, nr;
	int i;

	unbind_all(a);
	for (i = 0; i < MAX_SLOTS; i++) {
		nr = nr_pages - first;
		if (i < MAX_SLOTS - 1)
			nr = below(a, min(nr, 2 * nr_pages / MAX_SLOTS) + 1);
		if (i < MAX_SLOTS - 1 && one_in(a, 2))
			nr = nr / HUGE_PAGES * HUGE_PAGES;
		slots[i].part = (struct range) { .first = first, .nr = nr };
		bind_randomly(a, &slots[i]);
		first += nr;
	}
}

static void op_slot(struct actor *a, struct range r)
{
	struct slot *s = &slots[below(a, MAX_SLOTS)];
	bool all = one_in(a, 4);

	log_op(a, "bind anew", all ? (struct range) { .nr = nr_pages } : s->part, NULL);
	if (all) {
		bind_all_randomly(a);
	} else {
		unbind_slot(a, s);
		bind_randomly(a, s);
	}
	check_bounds(a, r);
}

static void map_file(u64 misaligned)
{
	if (host_mapping)
		munmap(host_mapping, host_mapped);
	host_mem = map_aligned(opt.size, misaligned * PAGE_SIZE, gmem_fd, &host_mapping,
			       &host_mapped);
}

static void op_remap(struct actor *a, struct range r)
{
	u64 misaligned = one_in(a, 2) ? below(a, HUGE_PAGES) : 0;

	log_op(a, "map the file anew, all", (struct range) { .nr = nr_pages },
	       misaligned ? "not aligned to 2M" : "aligned to 2M");
	map_file(misaligned);
	op_host_read(a, r);
}

/**
 * struct op - a kind of operation
 * @fn: logs it, and does it to pages that the actor owns
 * @weight: how often, in each mode
 * @most: pages; 0: any number
 * @guest: by the guest, so that several go with one exit
 * @layout: nobody else may do anything meanwhile
 * @alone: only if there is one vCPU
 */
struct op {
	void (*fn)(struct actor *a, struct range r);
	u32 weight[MODES];
	u32 most;
	bool guest;
	bool layout;
	bool alone;
};

static const struct op ops[] = {
	{ op_guest_write, { 100, 100 }, WRITE_PAGES, .guest = true },
	{ op_guest_read, { 60, 60 }, WRITE_PAGES, .guest = true },
	{ op_host_write, { 60, 120 }, WRITE_PAGES },
	{ op_host_read, { 60, 80 }, WRITE_PAGES },
	{ op_fallocate, { 60, 60 } },
	{ op_punch, { 120, 120 } },
	{ op_convert, { 150, 0 } },
	{ op_convert_frames, { 20, 0 }, .alone = true },
	{ op_prefault, { 50, 50 } },
	{ op_madvise, { 20, 60 } },
	{ op_mbind, { 0, 20 } },
	{ op_pressure, { 10, 10 } },
	{ op_slot, { 5, 5 }, .layout = true },
	{ op_remap, { 0, 3 }, WRITE_PAGES, .layout = true },
	{ op_pin, { 0, 30 }, 1 },
	{ op_poison, { 0, 1 }, 1, .layout = true },
};

static const struct op *random_op(struct actor *a)
{
	u64 sum = 0, pick;
	int i;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		sum += ops[i].weight[opt.mode];
	pick = below(a, sum);
	for (i = 0; pick >= ops[i].weight[opt.mode]; i++)
		pick -= ops[i].weight[opt.mode];
	return &ops[i];
}

static void verify_subset(struct actor *a)
{
	const struct range *run;
	u64 i, page;

	for (i = 0; i < SUBSET; i++) {
		run = &a->runs[below(a, a->nr_runs)];
		page = run->first + below(a, run->nr);
		host_do(a, page, false);
		queue_check(a, page);
	}
}

/* Orders of the folios that are there; the bytes that are resident */
static u64 look_at_fdinfo(void)
{
	struct gmem_resident res;
	int err = gmem_read_resident(gmem_fd, &res);

	TEST_ASSERT(!err, "fdinfo: %s", strerror(-err));
	__atomic_fetch_or(&orders_seen, res.orders, __ATOMIC_RELAXED);
	return res.bytes;
}

/* Some operations, and all that they gave the guest to do */
static void turn(struct actor *a)
{
	const struct op *op = random_op(a);
	u64 n = op->guest ? 1 + below(a, BURST) : 1;

	if (op->alone && opt.vcpus > 1)
		return;
	if (op->layout)
		pthread_rwlock_wrlock(&layout_lock);
	else
		pthread_rwlock_rdlock(&layout_lock);
	for (; n; n--)
		op->fn(a, random_range(a, op->most ?: nr_pages));
	if (a->ops >= a->next_verify) {
		flush(a);
		verify_subset(a);
		a->next_verify = a->ops + opt.verify_every;
	}
	flush(a);
	pthread_rwlock_unlock(&layout_lock);
}

/* On purpose, change something that the model does not know of. */
static void break_something(struct actor *a)
{
	u64 page, gpa;

	for (page = 0; page < nr_pages; page++) {
		if (!guest_view(page, &gpa) || guest_view(page, &gpa) != &pages[page].file)
			continue;
		if (opt.breakage == BREAK_LOST && pages[page].file.tag) {
			do_fallocate(a, (struct range) { .first = page, .nr = 1 },
				     FALLOC_FL_PUNCH_HOLE, "punch");
			return;
		}
		if (opt.breakage == BREAK_STALE && !pages[page].file.nr) {
			struct content c = pages[page].file;

			new_poke(a, &c);
			c.byte[0] ^= content_word(&pages[page].file, c.at[0] / 8) == 0;
			queue(a, GUEST_POKE, page, gpa, &c);
			flush(a);
			return;
		}
	}
	fail(a, "there is nothing to break");
}

static void *actor_main(void *arg)
{
	struct actor *a = arg;
	u64 mine = opt.ops / opt.vcpus, next_sample = 0;

	while (a->ops < mine) {
		turn(a);
		if (a->index || a->ops < next_sample)
			continue;
		look_at_fdinfo();
		next_sample = a->ops + SAMPLE;
	}
	if (a->pinned)
		unpin(a);
	if (a->pressure)
		set_pressure(a, false);
	return NULL;
}

/* All of it. Nothing else runs. */

static void check_everything(struct actor *a)
{
	struct content *c;
	u64 i, gpa;

	for (i = 0; i < nr_pages; i++) {
		host_do(a, i, false);
		c = guest_view(i, &gpa);
		if (c)
			queue_check(a, i);
		else if (pages[i].poisoned)
			check_poisoned(a, i);
	}
	flush(a);
}

static void verify_all(struct actor *a)
{
	struct range all = { .nr = nr_pages };

	log_op(a, "compare all", all, "as it is bound");
	check_everything(a);
	unbind_all(a);
	slots[0].part = all;
	bind_slot(a, &slots[0], all, 0, 0);
	log_op(a, "compare all", all, "in one memslot");
	if (opt.mode == MODE_PRIVATE)
		convert(a, slots[0].gpa, opt.size, true);
	check_everything(a);
	if (opt.mode == MODE_PRIVATE) {
		convert(a, slots[0].gpa, opt.size, false);
		check_everything(a);
		convert(a, slots[0].gpa, opt.size, true);
	}
}

/* Nothing of it stays. */
static void empty_file(struct actor *a)
{
	struct range all = { .nr = nr_pages };
	u64 resident, page;

	for (page = 0; page < nr_pages; page++)
		nr_unpoisoned += pages[page].poisoned;
	op_punch(a, all);
	flush(a);
	do_fallocate(a, all, FALLOC_FL_PUNCH_HOLE, "punch");
	resident = look_at_fdinfo();
	if (resident)
		fail(a, "%lu bytes are in the file after all of it was punched out", resident);
}

/* Setting up */

static bool set_knob(const char *name, const char *value)
{
	char path[128];
	bool ok;
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/debug/fail_page_alloc/%s", name);
	fd = open(path, O_WRONLY);
	if (fd < 0) {
		printf("no failing of large allocations: %s: %s\n", path, strerror(errno));
		return false;
	}
	ok = write(fd, value, strlen(value)) == strlen(value);
	TEST_ASSERT(ok, "%s: %s", path, strerror(errno));
	close(fd);
	return true;
}

/*
 * Large allocations fail for threads that ask for it, set_pressure(). The knobs
 * are left so: nobody else asks, and another run may be going on.
 */
static void prepare_pressure(void)
{
	static const char * const knobs[][2] = {
		{ "task-filter", "Y" }, { "probability", "50" }, { "interval", "1" },
		{ "times", "-1" }, { "space", "0" }, { "verbose", "0" }, { "min-order", "1" },
		{ "ignore-gfp-wait", "N" }, { "ignore-gfp-highmem", "N" },
	};
	int i;

	can_press = !access("/proc/thread-self/make-it-fail", W_OK);
	if (!can_press)
		printf("no failing of large allocations: no /proc/thread-self/make-it-fail\n");
	for (i = 0; can_press && i < ARRAY_SIZE(knobs); i++)
		can_press = set_knob(knobs[i][0], knobs[i][1]);
}

/* Give each page an owner: runs of a few pages, now and then of more than 2M. */
static void share_pages(void)
{
	struct actor *a;
	u64 first, nr;
	u32 i = 0;

	for (first = 0; first < nr_pages; first += nr) {
		/* Everybody gets something. */
		a = &actors[i < opt.vcpus ? i : below(&actors[0], opt.vcpus)];
		nr = i++ >= opt.vcpus && one_in(&actors[0], 20) ? 2 * HUGE_PAGES : RUN_PAGES;
		nr = opt.vcpus == 1 ? nr_pages : 1 + below(&actors[0], nr);
		nr = min(nr, nr_pages - first);
		if (!(a->nr_runs & (a->nr_runs - 1))) {
			a->runs = realloc(a->runs, 2 * (a->nr_runs + 1) * sizeof(*a->runs));
			TEST_ASSERT(a->runs, "memory for the model");
		}
		a->runs[a->nr_runs++] = (struct range) { .first = first, .nr = nr };
	}
}

static void create_model(void)
{
	struct actor *a;

	nr_pages = opt.size / PAGE_SIZE;
	slot_stride = align_up(opt.size, SZ_2M) + SZ_2M;
	pages = calloc(nr_pages, sizeof(*pages));
	private = calloc(MAX_SLOTS * slot_stride / PAGE_SIZE, sizeof(*private));
	TEST_ASSERT(pages && private, "memory for the model");
	for (a = actors; a < actors + opt.vcpus; a++) {
		a->index = a - actors;
		a->random = gmem_mix(opt.seed * MAX_VCPUS + a->index);
	}
	share_pages();
}

static void create_vm(void)
{
	const struct vm_shape shape = {
		.mode = VM_MODE_DEFAULT,
		.type = opt.mode == MODE_PRIVATE ? KVM_X86_SW_PROTECTED_VM : VM_TYPE_DEFAULT,
	};
	u64 flags = opt.mode == MODE_PRIVATE ? 0 :
		    GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED;
	u64 each = align_up(sizeof(struct guest_queue), PAGE_SIZE);
	u64 control_size = align_up(opt.vcpus * each, SZ_2M);
	u64 window = MAX_SLOTS * slot_stride;
	struct actor *a;
	void *control;

	/* That is room for page tables of 4K mappings: plenty for these of 2M. */
	vm = __vm_create(shape, opt.vcpus, (window + control_size) / PAGE_SIZE);
	control = gmem_mmap_anon(control_size);
	TEST_ASSERT(control, "mmap(): %s", strerror(errno));
	vm_set_user_memory_region2(vm, SLOT_CONTROL, 0, CONTROL_GPA, control_size, control, -1, 0);
	gmem_map_identity(vm, CONTROL_GPA, CONTROL_GPA + control_size);
	gmem_map_identity(vm, WINDOW_GPA, WINDOW_GPA + window);
	gmem_fd = vm_create_guest_memfd(vm, opt.size, flags);
	if (opt.mode == MODE_SHARED)
		map_file(0);

	for (a = actors; a < actors + opt.vcpus; a++) {
		a->queue = control + a->index * each;
		a->vcpu = vm_vcpu_add(vm, a->index, guest_main);
		vcpu_args_set(a->vcpu, 1, CONTROL_GPA + a->index * each);
		vcpu_regs_get(a->vcpu, &a->entry);
	}
}

static void free_vm(void)
{
	unbind_all(&actors[0]);
	if (host_mapping)
		munmap(host_mapping, host_mapped);
	close(gmem_fd);
	kvm_vm_free(vm);
}

/* Half of the file is there to begin with. */
static void fill(struct actor *a)
{
	u64 first;

	bind_all_randomly(a);
	if (opt.mode == MODE_PRIVATE)
		convert(a, WINDOW_GPA, MAX_SLOTS * slot_stride, true);
	for (first = 0; first < nr_pages; first += HUGE_PAGES)
		if (one_in(a, 2))
			op_guest_write(a, (struct range) {
				.first = first, .nr = min(nr_pages - first, HUGE_PAGES),
			});
	flush(a);
}

static void run_actors(void)
{
	u32 i;

	if (opt.vcpus == 1) {
		actor_main(&actors[0]);
		return;
	}
	for (i = 0; i < opt.vcpus; i++)
		TEST_ASSERT(!pthread_create(&actors[i].thread, NULL, actor_main, &actors[i]),
			    "pthread_create()");
	for (i = 0; i < opt.vcpus; i++)
		pthread_join(actors[i].thread, NULL);
}

static void print_orders(void)
{
	int order;

	printf("orders of folios that were seen:");
	for (order = 0; order <= MAX_ORDER; order++)
		if (orders_seen >> order & 1)
			printf(" %d", order);
	putchar('\n');
}

static void run(void)
{
	u64 start, total = 0, compared = 0;
	struct gmem_memory before;
	u32 i;

	print_command();
	prepare_pressure();
	create_model();
	before = gmem_look_at_memory();
	create_vm();

	start = gmem_now_ns();
	fill(&actors[0]);
	run_actors();
	for (i = 0; i < opt.vcpus; i++)
		total += actors[i].ops;
	printf("%lu operations, %lu ms\n", total, (gmem_now_ns() - start) / 1000000);
	if (opt.breakage)
		break_something(&actors[0]);
	verify_all(&actors[0]);
	empty_file(&actors[0]);
	free_vm();

	for (i = 0; i < opt.vcpus; i++)
		compared += actors[i].compared;
	printf("%lu pages compared, %u made bad (%u of them until the end), %lu ms\n", compared,
	       min_t(u32, nr_poisoned, MAX_POISONED), nr_unpoisoned,
	       (gmem_now_ns() - start) / 1000000);
	print_orders();
	if (!gmem_memory_is_back(&before, opt.leak_bound))
		fail(&actors[0], "memory leaked");
	if (opt.expect_order >= 0 && !(orders_seen >> opt.expect_order & 1))
		fail(&actors[0], "no folio of order %d was seen in fdinfo", opt.expect_order);
	puts("ok");
}

static void print_help(void)
{
	puts("usage: gmem_model [OPTION]...\n"
	     "Random operations on one guest_memfd, against a model of every byte of it.\n"
	     "\n"
	     "      --mode NAME         private  a software-protected VM: memory is converted\n"
	     "                                   between private and shared (the default)\n"
	     "                          shared   a default VM, and the host maps the file too\n"
	     "      --seed N            of what is random; else a new one, which is printed\n"
	     "      --ops N             operations (10000)\n"
	     "      --vcpus N           threads with a vCPU and pages of their own, interleaved\n"
	     "                          in each 2M (1)\n"
	     "      --size SIZE         of the file, a multiple of 4K (64M)\n"
	     "      --verify-every N    compare a random subset every N operations (16); all is\n"
	     "                          compared in the end\n"
	     "      --leak-bound SIZE   memory that may be missing at the end (8M): slabs that are\n"
	     "                          not empty, and what other programs got meanwhile\n"
	     "      --expect-order N    fail if fdinfo shows no folio of order N during the run\n"
	     "      --break WHAT        in the end, on purpose, 'lost': punch out a page, or\n"
	     "                          'stale': write a byte: the run must fail\n"
	     "  -v, --verbose           print each operation\n"
	     "  -h, --help\n"
	     "\n"
	     "In mode shared up to 8 pages of the machine's memory are reported as bad, and are\n"
	     "not used again until it is rebooted.\n"
	     "\n"
	     "With one vCPU a run is repeated by its seed; the command to do so is printed first,\n"
	     "and again when a byte differs.\n"
	     "\n"
	     "Exit status: 0; 1 a byte differs, memory leaked, or an operation failed that must\n"
	     "not; 2 bad usage; 4 this machine cannot run it.\n"
	     "\n"
	     "Examples:\n"
	     "  gmem_model --ops 100000 --seed 7\n"
	     "  gmem_model --mode shared --vcpus 4 --size 66052K\n"
	     "  gmem_model --size 4M --ops 200 -v");
}

static void parse_options(int argc, char **argv)
{
	enum { MODE = 256, SEED, OPS, VCPUS, SIZE, VERIFY, LEAK, EXPECT, BREAK };
	static const struct option options[] = {
		{ "mode", required_argument, NULL, MODE },
		{ "seed", required_argument, NULL, SEED },
		{ "ops", required_argument, NULL, OPS },
		{ "vcpus", required_argument, NULL, VCPUS },
		{ "size", required_argument, NULL, SIZE },
		{ "verify-every", required_argument, NULL, VERIFY },
		{ "leak-bound", required_argument, NULL, LEAK },
		{ "expect-order", required_argument, NULL, EXPECT },
		{ "break", required_argument, NULL, BREAK },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	u64 least;
	int c;

	while ((c = getopt_long(argc, argv, "vh", options, NULL)) != -1) {
		switch (c) {
		case MODE:
			opt.mode = gmem_choice("--mode", optarg, mode_names, MODES);
			break;
		case SEED:
			opt.seed = gmem_number("--seed", optarg, 0, UINT64_MAX);
			break;
		case OPS:
			opt.ops = gmem_number("--ops", optarg, 1, 1000000000);
			break;
		case VCPUS:
			opt.vcpus = gmem_number("--vcpus", optarg, 1, MAX_VCPUS);
			break;
		case SIZE:
			opt.size = gmem_number("--size", optarg, PAGE_SIZE, SZ_1G);
			if (opt.size % PAGE_SIZE)
				gmem_usage_error("--size: %s is not a multiple of 4K", optarg);
			break;
		case VERIFY:
			opt.verify_every = gmem_number("--verify-every", optarg, 1, UINT32_MAX);
			break;
		case LEAK:
			opt.leak_bound = gmem_number("--leak-bound", optarg, 0, UINT64_MAX);
			break;
		case EXPECT:
			opt.expect_order = gmem_number("--expect-order", optarg, 0, MAX_ORDER);
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
			fputs("gmem_model: see --help\n", stderr);
			exit(2);
		}
	}
	if (optind < argc)
		gmem_usage_error("unexpected '%s'", argv[optind]);
	least = opt.vcpus > 1 ? opt.vcpus * RUN_PAGES * PAGE_SIZE : PAGE_SIZE;
	if (opt.size < least)
		gmem_usage_error("--size: %u vCPUs need at least %luK", opt.vcpus, least / 1024);
}

static void require_kernel(void)
{
	if (opt.mode == MODE_PRIVATE &&
	    !(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM))) {
		puts("SKIP: this kernel has no KVM_X86_SW_PROTECTED_VM");
		exit(KSFT_SKIP);
	}
	if (opt.mode == MODE_SHARED &&
	    !(kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS) & GUEST_MEMFD_FLAG_MMAP)) {
		puts("SKIP: this kernel has no guest_memfd that can be mapped");
		exit(KSFT_SKIP);
	}
}

int main(int argc, char *argv[])
{
	struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER };
	pthread_rwlockattr_t attr;
	struct timespec now;

	gmem_start_main();
	clock_gettime(CLOCK_REALTIME, &now);
	opt.seed = gmem_mix(now.tv_sec ^ (u64)now.tv_nsec << 32) >> 40;
	parse_options(argc, argv);
	require_kernel();
	two_nodes = !access("/sys/devices/system/node/node1", F_OK);
	sigaction(SIGBUS, &sa, NULL);
	/* Else readers, who are always there, keep writers waiting. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&layout_lock, &attr);
	run();
	return 0;
}
