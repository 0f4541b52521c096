// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest memory that is taken away and converted while vCPUs use what is beside it, in the same 2M.
 *
 * Each block of 2M of one private guest_memfd belongs to several threads, in runs of a few pages.
 * Racers are vCPUs that only verify their pages and write them anew, without an exit. One thread
 * punches parts of its runs, and has a vCPU of its own look at what is there then, and fill it. One
 * converts parts of its runs, there and back, and does the same. No page is of two of them, so each
 * knows what each of its pages must contain at any time.
 *
 * A folio is split once and small then. So there are many short rounds, before each of which the
 * whole file is punched out: under a policy that has large folios, each begins with whole blocks.
 */
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <linux/falloc.h>
#include <linux/sizes.h>

#include "gmem_guest.h"
#include "gmem_options.h"
#include "gmem_random.h"
#include "test_util.h"

#define MAX_RACERS	16
#define BLOCK_PAGES	512
#define RUN_PAGES	16
#define WORD_STEP	32	/* a page is there or not: some of its words tell */
#define ROUND_MS	30
/* On a machine that is slow, it is over when the two that disturb have each done so often. */
#define ROUND_STEPS	4

#define WINDOW_GPA	(4ULL * SZ_1G)
#define CONTROL_GPA	(3ULL * SZ_1G)
#define SLOT_CONTROL	1
#define SLOT_WINDOW	2

/**
 * struct job - what a vCPU does, in memory that is shared with it
 * @race: verify and write all pages of part @part of @parts until @stop, from version 0 on;
 *	  else verify pages and write them once
 * @part: see there
 * @parts: see there
 * @pages: of the file
 * @stop: see there
 * @passes: how often all of it was verified
 * @first: the first page
 * @nr: how many
 * @have: versions that are there
 * @next: version to be written
 * @bad: an address that had something else; 0: none
 * @want: what it should have had
 * @got: what it had
 */
struct job {
	u64 race;
	u64 part;
	u64 parts;
	u64 pages;
	u64 stop;
	u64 passes;
	u64 first;
	u64 nr;
	u64 have[RUN_PAGES];
	u64 next;
	u64 bad;
	u64 want;
	u64 got;
};

/**
 * struct actor - a thread with a vCPU
 * @index: its part
 * @vcpu: its vCPU
 * @job: of that
 * @random: state of its random numbers
 * @thread: it
 * @done: passes of a racer, steps of others
 */
struct actor {
	u32 index;
	struct kvm_vcpu *vcpu;
	struct job *job;
	u64 random;
	pthread_t thread;
	u64 done;
};

static struct {
	u64 seconds;
	u64 seed;
	u64 blocks;
	u32 racers;
} opt = { .seconds = 20, .blocks = 4, .racers = 3 };

static struct actor actors[MAX_RACERS + 2];
static u32 nr_actors;
static u64 nr_pages;
static u64 *versions;		/* of the pages of those who are no racers */
static u64 last_version;
static struct kvm_vm *vm;
static int gmem_fd;
static void *shared;		/* the shared memory of the window */
static pthread_barrier_t barrier;
static bool stop_round, stop_all;

/* What a page contains */

static u64 tag_of(u64 page, u64 version)
{
	return version ? gmem_mix(page << 40 ^ version) | 1 : 0;
}

static u32 part_of(u64 page, u64 parts)
{
	return (page / RUN_PAGES + page / BLOCK_PAGES) % parts;
}

static bool verify_page(struct job *job, u64 *mem, u64 page, u64 version)
{
	u64 tag = tag_of(page, version), got;
	u32 i;

	for (i = 0; i < GMEM_PAGE_WORDS; i += WORD_STEP) {
		got = READ_ONCE(mem[i]);
		if (got == gmem_pattern(tag, i))
			continue;
		job->want = gmem_pattern(tag, i);
		job->got = got;
		job->bad = page * PAGE_SIZE + i * sizeof(u64) + 1;
		return false;
	}
	return true;
}

static void write_page(u64 *mem, u64 page, u64 version)
{
	u64 tag = tag_of(page, version);
	u32 i;

	for (i = 0; i < GMEM_PAGE_WORDS; i += WORD_STEP)
		WRITE_ONCE(mem[i], gmem_pattern(tag, i));
}

/* The guest */

static bool guest_page(struct job *job, u64 page, u64 have, u64 next)
{
	u64 *mem = (u64 *)(WINDOW_GPA + page * PAGE_SIZE);

	if (!verify_page(job, mem, page, have))
		return false;
	write_page(mem, page, next);
	return true;
}

static void guest_race(struct job *job)
{
	u64 version = 0, page;

	do {
		for (page = 0; page < job->pages; page++) {
			if (part_of(page, job->parts) == job->part &&
			    !guest_page(job, page, version, version + 1))
				return;
		}
		version++;
		job->passes++;
	} while (!READ_ONCE(job->stop));
}

static void guest_main(struct job *job)
{
	u64 i;

	for (;;) {
		if (job->race)
			guest_race(job);
		for (i = 0; !job->race && i < job->nr; i++)
			if (!guest_page(job, job->first + i, job->have[i], job->next))
				break;
		GUEST_SYNC(0);
	}
}

/* The host */

static void __printf(2, 3) __noreturn fail(struct actor *a, const char *fmt, ...)
{
	va_list ap;

	printf("FAIL: seed %lu, thread %u: ", opt.seed, a->index);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	_exit(1);
}

static void check_job(struct actor *a, const char *what)
{
	struct job *job = a->job;
	u64 at = job->bad - 1;

	if (job->bad)
		fail(a, "%s: page %lu, byte %lu: got 0x%lx, want 0x%lx", what, at / PAGE_SIZE,
		     at % PAGE_SIZE, job->got, job->want);
}

static void run_job(struct actor *a, const char *what)
{
	struct ucall uc;

	if (_vcpu_run(a->vcpu))
		fail(a, "%s: KVM_RUN: %s, exit %u", what, strerror(errno),
		     a->vcpu->run->exit_reason);
	if (get_ucall(a->vcpu, &uc) != UCALL_SYNC)
		fail(a, "%s: the guest ended with exit %u: %s", what, a->vcpu->run->exit_reason,
		     uc.buffer);
	check_job(a, what);
}

static void do_fallocate(struct actor *a, int mode, u64 first, u64 nr)
{
	if (fallocate(gmem_fd, mode | FALLOC_FL_KEEP_SIZE, first * PAGE_SIZE, nr * PAGE_SIZE))
		fail(a, "fallocate(0x%x): %s", mode, strerror(errno));
}

static void convert(struct actor *a, u64 first, u64 nr, bool private)
{
	struct kvm_memory_attributes attr = {
		.attributes = private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
		.address = WINDOW_GPA + first * PAGE_SIZE,
		.size = nr * PAGE_SIZE,
	};

	if (__vm_ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, &attr))
		fail(a, "KVM_SET_MEMORY_ATTRIBUTES: %s", strerror(errno));
}

static u64 new_version(void)
{
	return __atomic_add_fetch(&last_version, 1, __ATOMIC_RELAXED);
}

/* Have the vCPU verify private pages, and write them anew. */
static void renew(struct actor *a, u64 first, u64 nr, const char *what)
{
	u64 i;

	a->job->first = first;
	a->job->nr = nr;
	a->job->next = new_version();
	for (i = 0; i < nr; i++) {
		a->job->have[i] = versions[first + i];
		versions[first + i] = a->job->next;
	}
	run_job(a, what);
}

static void punch(struct actor *a, u64 first, u64 nr)
{
	do_fallocate(a, FALLOC_FL_PUNCH_HOLE, first, nr);
	memset(&versions[first], 0, nr * sizeof(*versions));
	if (gmem_below(&a->random, 2))
		do_fallocate(a, 0, first, nr);
}

static void punch_step(struct actor *a, u64 run, u64 first, u64 nr)
{
	punch(a, first, nr);
	renew(a, run, RUN_PAGES, "after a hole was punched");
}

static void convert_step(struct actor *a, u64 run, u64 first, u64 nr)
{
	u64 i, version = new_version();

	convert(a, first, nr, false);
	if (gmem_below(&a->random, 2))
		punch(a, first, nr);
	a->job->first = first;
	a->job->nr = nr;
	a->job->next = new_version();
	for (i = 0; i < nr; i++) {
		write_page(shared + (first + i) * PAGE_SIZE, first + i, version);
		a->job->have[i] = version;
	}
	run_job(a, "shared memory, by the guest");
	for (i = 0; i < nr; i++)
		verify_page(a->job, shared + (first + i) * PAGE_SIZE, first + i, a->job->next);
	check_job(a, "shared memory, by the host");
	convert(a, first, nr, true);
	renew(a, run, RUN_PAGES, "after a conversion");
}

static void take_steps(struct actor *a,
		       void (*step)(struct actor *a, u64 run, u64 first, u64 nr))
{
	u64 run, first, nr;

	while (!READ_ONCE(stop_round)) {
		run = gmem_below(&a->random, nr_pages / RUN_PAGES) * RUN_PAGES;
		if (part_of(run, nr_actors) != a->index)
			continue;
		first = gmem_below(&a->random, RUN_PAGES);
		nr = 1 + gmem_below(&a->random, RUN_PAGES - first);
		step(a, run, run + first, nr);
		a->done++;
	}
}

static void *actor_main(void *arg)
{
	struct actor *a = arg;

	for (;;) {
		pthread_barrier_wait(&barrier);
		if (stop_all)
			return NULL;
		if (a->index < opt.racers) {
			run_job(a, "beside what others do");
			a->done = a->job->passes;
		} else {
			take_steps(a, a->index == opt.racers ? punch_step : convert_step);
		}
		pthread_barrier_wait(&barrier);
	}
}

static void sleep_ms(u64 ms)
{
	const struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

/* Have those that punch and convert both taken enough steps, beyond @before? */
static bool disturbed(const u64 *before)
{
	return READ_ONCE(actors[opt.racers].done) >= before[0] + ROUND_STEPS &&
	       READ_ONCE(actors[opt.racers + 1].done) >= before[1] + ROUND_STEPS;
}

static void play_round(void)
{
	const u64 before[] = { actors[opt.racers].done, actors[opt.racers + 1].done };
	u32 i;

	WRITE_ONCE(stop_round, false);
	for (i = 0; i < opt.racers; i++)
		actors[i].job->stop = 0;
	pthread_barrier_wait(&barrier);
	do {
		sleep_ms(ROUND_MS);
	} while (!disturbed(before));
	WRITE_ONCE(stop_round, true);
	for (i = 0; i < opt.racers; i++)
		WRITE_ONCE(actors[i].job->stop, 1);
	pthread_barrier_wait(&barrier);

	/* Everybody waits. */
	do_fallocate(&actors[0], FALLOC_FL_PUNCH_HOLE, 0, nr_pages);
	memset(versions, 0, nr_pages * sizeof(*versions));
}

static u64 read_splits(void)
{
	char path[64], line[256];
	u64 n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", gmem_fd);
	f = fopen(path, "r");
	TEST_ASSERT(f, "%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f) && sscanf(line, "gmem-splits: %lu", &n) != 1)
		;
	fclose(f);
	return n;
}

static void create_vm(void)
{
	const struct vm_shape shape = {
		.mode = VM_MODE_DEFAULT,
		.type = KVM_X86_SW_PROTECTED_VM,
	};
	u64 size = nr_pages * PAGE_SIZE;
	struct actor *a;
	void *control;

	vm = __vm_create(shape, nr_actors, (size + SZ_2M) / PAGE_SIZE);
	control = gmem_mmap_anon(SZ_2M);
	shared = gmem_mmap_anon(size);
	TEST_ASSERT(control && shared, "mmap(): %s", strerror(errno));
	gmem_fd = vm_create_guest_memfd(vm, size, 0);
	vm_set_user_memory_region2(vm, SLOT_CONTROL, 0, CONTROL_GPA, SZ_2M, control, -1, 0);
	vm_set_user_memory_region2(vm, SLOT_WINDOW, KVM_MEM_GUEST_MEMFD, WINDOW_GPA, size, shared,
				   gmem_fd, 0);
	gmem_map_identity(vm, CONTROL_GPA, CONTROL_GPA + SZ_2M);
	gmem_map_identity(vm, WINDOW_GPA, WINDOW_GPA + size);

	for (a = actors; a < actors + nr_actors; a++) {
		a->index = a - actors;
		a->random = gmem_mix(opt.seed * ARRAY_SIZE(actors) + a->index);
		a->job = control + a->index * PAGE_SIZE;
		a->job->race = a->index < opt.racers;
		a->job->part = a->index;
		a->job->parts = nr_actors;
		a->job->pages = nr_pages;
		a->vcpu = vm_vcpu_add(vm, a->index, guest_main);
		vcpu_args_set(a->vcpu, 1, CONTROL_GPA + a->index * PAGE_SIZE);
	}
	convert(&actors[0], 0, nr_pages, true);
}

static void run(void)
{
	u64 end, rounds = 0, passes = 0;
	u32 i;

	printf("gmem_races --seconds %lu --seed %lu --blocks %lu --racers %u\n", opt.seconds,
	       opt.seed, opt.blocks, opt.racers);
	fflush(stdout);
	nr_pages = opt.blocks * BLOCK_PAGES;
	nr_actors = opt.racers + 2;
	versions = calloc(nr_pages, sizeof(*versions));
	TEST_ASSERT(versions, "memory");
	create_vm();
	pthread_barrier_init(&barrier, NULL, nr_actors + 1);
	for (i = 0; i < nr_actors; i++)
		TEST_ASSERT(!pthread_create(&actors[i].thread, NULL, actor_main, &actors[i]),
			    "pthread_create()");

	for (end = gmem_now_ns() + opt.seconds * 1000000000; gmem_now_ns() < end; rounds++)
		play_round();

	stop_all = true;
	pthread_barrier_wait(&barrier);
	for (i = 0; i < nr_actors; i++)
		pthread_join(actors[i].thread, NULL);
	for (i = 0; i < opt.racers; i++)
		passes += actors[i].done;
	printf("rounds=%lu passes=%lu punches=%lu conversions=%lu splits=%lu\n", rounds, passes,
	       actors[opt.racers].done, actors[opt.racers + 1].done, read_splits());
	close(gmem_fd);
	kvm_vm_free(vm);
	puts("ok");
}

static void print_help(void)
{
	puts("usage: gmem_races [OPTION]...\n"
	     "vCPUs verify and write memory while what is beside it, in the same 2M, is punched\n"
	     "out and converted. What they find is compared with what must be there.\n"
	     "\n"
	     "      --seconds N   how long (20)\n"
	     "      --racers N    vCPUs that do nothing else (3)\n"
	     "      --blocks N    of 2M (4)\n"
	     "      --seed N      of what is random; else a new one, which is printed. In which\n"
	     "                    order threads run is up to the kernel\n"
	     "  -h, --help\n"
	     "\n"
	     "Exit status: 0; 1 something else was found, or an operation failed; 2 bad usage;\n"
	     "4 this machine cannot run it.\n"
	     "\n"
	     "Example:\n"
	     "  gmem_races --seconds 600 --racers 6");
}

static void parse_options(int argc, char **argv)
{
	enum { SECONDS = 256, RACERS, BLOCKS, SEED };
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, SECONDS },
		{ "racers", required_argument, NULL, RACERS },
		{ "blocks", required_argument, NULL, BLOCKS },
		{ "seed", required_argument, NULL, SEED },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case SECONDS:
			opt.seconds = gmem_number("--seconds", optarg, 1, 1000000);
			break;
		case RACERS:
			opt.racers = gmem_number("--racers", optarg, 1, MAX_RACERS);
			break;
		case BLOCKS:
			opt.blocks = gmem_number("--blocks", optarg, 1, 512);
			break;
		case SEED:
			opt.seed = gmem_number("--seed", optarg, 0, UINT64_MAX);
			break;
		case 'h':
			print_help();
			exit(0);
		default:
			fputs("gmem_races: see --help\n", stderr);
			exit(2);
		}
	}
	if (optind < argc)
		gmem_usage_error("unexpected '%s'", argv[optind]);
}

int main(int argc, char *argv[])
{
	gmem_start_main();
	opt.seed = gmem_mix(gmem_now_ns()) >> 40;
	parse_options(argc, argv);
	if (!(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM))) {
		puts("SKIP: this kernel has no KVM_X86_SW_PROTECTED_VM");
		exit(KSFT_SKIP);
	}
	run();
	return 0;
}
