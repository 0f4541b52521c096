// SPDX-License-Identifier: GPL-2.0-only
/*
 * What guest_memfd costs:
 *
 *	pages		per 4K page: first access by the guest, fallocate(), conversion in both
 *			directions, hole punching, and freeing at close
 *	conversions	of 4K, 64M and 1G that the guest has touched, to shared and back
 *	fill		of a VM from the creation of its memory until the guest has touched all of
 *			it, and of its end: what the VMM's own thread executes. Before that it does
 *			nothing for a while, in which pools are filled
 *	bounce		of bounce buffers, which a guest converts all the time, with all that
 *			follows from it: at most 64 at a time, of 4K to 256K, in 16M of a VM of
 *			256M that has touched all its memory
 *	bounce_fixed	the same, of 64 buffers that never move
 *
 * One KVM_X86_SW_PROTECTED_VM with one vCPU. It is meant for a machine whose clock counts
 * instructions (scripts/boot --icount: 1 ns is 1 instruction); elsewhere the numbers are
 * nanoseconds, with their noise.
 *
 * A round of pages makes a new file, binds it, goes through all steps once unmeasured, so that
 * stage-2 page tables, slabs and caches are there, and then through them again, measured. The first
 * round is not counted; the rest give the median, least and largest cost. Stage-2 faults are
 * counted by KVM's statistic pf_taken. Where the kernel has policies, the number of their decisions
 * in each step is read from the file's fdinfo.
 *
 * Rounds of the others have one file. A bounce buffer is made shared and punched out, as VMMs do;
 * later it is made private, and the guest writes to each page of it, faults and all. Buffers are
 * taken one behind the other, as gmem_workload does; those of bounce_fixed never move, and are
 * taken and given back at random.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>

#include <linux/falloc.h>
#include <linux/sizes.h>

#include "gmem_guest.h"
#include "test_util.h"

#define BENCH_SLOT	10
#define BENCH_GPA	(4ULL * SZ_1G)
#define ONE_BY_ONE	512	/* pages that are converted one by one: as many as a 2M page has */
#define MAX_PAGES	(SZ_1G / PAGE_SIZE)
#define MAX_ROUNDS	64
#define BOUNCE_VM	SZ_256M
#define BOUNCE_POOL	SZ_16M
#define BOUNCE_BUFFERS	64
#define BOUNCE_SLOT	(BOUNCE_POOL / BOUNCE_BUFFERS)

enum step {
	STEP_SET_PRIVATE,
	STEP_TOUCH,
	STEP_RETOUCH,
	STEP_PUNCH,
	STEP_FALLOCATE,
	STEP_TOUCH_ALLOCATED,
	STEP_SET_SHARED,
	STEP_PUNCH_SHARED,
	STEP_SET_PRIVATE_ONE,
	STEP_SET_SHARED_ONE,
	STEP_SET_PRIVATE_EACH,
	STEP_CREATE,
	STEP_CLOSE,
	STEP_CLEAR,
	STEP_CONVERT_4K,
	STEP_CONVERT_64M,
	STEP_CONVERT_1G,
	STEP_BOUNCE,
	STEP_BOUNCE_FIXED,
	STEP_FILL,
	STEP_FILL_TOUCH,
	STEP_FILL_RETOUCH,
	STEP_FILL_CLOSE,
	STEPS,
};

static const struct {
	const char *name;
	const char *what;
} steps[STEPS] = {
	[STEP_SET_PRIVATE] = {
		"set_private", "convert to private, nothing allocated",
	},
	[STEP_TOUCH] = {
		"touch", "first access by the guest: exit, allocate, zero, map",
	},
	[STEP_RETOUCH] = {
		"retouch", "second access: the guest's loop alone",
	},
	[STEP_PUNCH] = {
		"punch", "punch out what the guest has mapped",
	},
	[STEP_FALLOCATE] = {
		"fallocate", "allocate by fallocate()",
	},
	[STEP_TOUCH_ALLOCATED] = {
		"touch_allocated", "first access after fallocate(): exit, zero, map",
	},
	[STEP_SET_SHARED] = {
		"set_shared", "convert to shared what the guest has mapped",
	},
	[STEP_PUNCH_SHARED] = {
		"punch_shared", "punch it out then, as VMMs do",
	},
	[STEP_SET_PRIVATE_ONE] = {
		"set_private_one", "convert one page among shared ones to private",
	},
	[STEP_SET_SHARED_ONE] = {
		"set_shared_one", "and back",
	},
	[STEP_SET_PRIVATE_EACH] = {
		"set_private_each", "convert a range to private page by page",
	},
	[STEP_CREATE] = {
		"create", "KVM_CREATE_GUEST_MEMFD, per file",
	},
	[STEP_CLOSE] = {
		"close", "close the file: unmap and free",
	},
	[STEP_CLEAR] = {
		"clear", "write zeroes to a page that is in memory (rep stosq)",
	},
	[STEP_CONVERT_4K] = {
		"convert_4k", "convert a page that the guest has mapped to shared, and back",
	},
	[STEP_CONVERT_64M] = {
		"convert_64m", "64M that the guest has mapped, to shared and back",
	},
	[STEP_CONVERT_1G] = {
		"convert_1g", "1G that the guest has mapped, to shared and back",
	},
	[STEP_BOUNCE] = {
		"bounce", "convert a bounce buffer: also punch it, or have the guest write to it",
	},
	[STEP_BOUNCE_FIXED] = {
		"bounce_fixed", "the same, of buffers that never move",
	},
	[STEP_FILL] = {
		"fill", "all from the creation of the file until the guest has touched it all",
	},
	[STEP_FILL_TOUCH] = {
		"fill_touch", "of that, the guest's first access",
	},
	[STEP_FILL_RETOUCH] = {
		"fill_retouch", "access to what is mapped: the guest's own loop",
	},
	[STEP_FILL_CLOSE] = {
		"fill_close", "close the file",
	},
};

struct sample {
	u64 ns;
	u64 units;		/* pages, files, or conversions */
	u64 decisions;
	u64 faults;
};

static struct sample samples[MAX_ROUNDS][STEPS];

static u64 pages = 10000;
static u64 rounds = 5;

static struct kvm_vm *vm;
static struct kvm_vcpu *vcpu;
static u64 *guest_args;
static void *shared_mem;
static u64 mem_size;		/* of the file: a multiple of 2M */

static void guest_code(u64 *args)
{
	u64 gpa, end;

	for (;;) {
		gpa = READ_ONCE(args[0]);
		end = READ_ONCE(args[1]);
		for (; gpa < end; gpa += PAGE_SIZE)
			WRITE_ONCE(*(u64 *)gpa, gpa);
		GUEST_SYNC(gpa);
	}
}

/* Decisions that policies took on the file; 0 if the kernel does not know of policies. */
static u64 policy_decisions(int fd)
{
	char path[64], line[256];
	u64 n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "r");
	TEST_ASSERT(f, "%s", path);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "gmem-decisions: %lu", &n) == 1)
			break;
	fclose(f);
	return n;
}

static void set_attributes(u64 gpa, u64 size, bool private)
{
	vm_set_memory_attributes(vm, gpa, size, private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0);
}

static void touch(u64 gpa, u64 size)
{
	struct ucall uc;

	guest_args[0] = gpa;
	guest_args[1] = gpa + size;
	vcpu_run(vcpu);
	TEST_ASSERT(get_ucall(vcpu, &uc) == UCALL_SYNC, "the guest: exit %u (%s), ucall %lu",
		    vcpu->run->exit_reason, exit_reason_str(vcpu->run->exit_reason), uc.cmd);
	TEST_ASSERT(uc.args[1] == gpa + size, "the guest stopped at 0x%lx", uc.args[1]);
}

static void punch(int fd, u64 gpa, u64 size)
{
	kvm_fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, gpa - BENCH_GPA, size);
}

static void clear_page(void *page)
{
	u64 count = PAGE_SIZE / sizeof(u64);

	asm volatile("rep stosq" : "+D" (page), "+c" (count) : "a" (0) : "memory");
}

/* What a step does; nothing else is in the time that is measured, but reading the clock. */
static void do_step(enum step step, int fd, u64 size)
{
	u64 i;

	switch (step) {
	case STEP_SET_PRIVATE:
		set_attributes(BENCH_GPA, size, true);
		break;
	case STEP_SET_SHARED:
		set_attributes(BENCH_GPA, size, false);
		break;
	case STEP_SET_PRIVATE_EACH:
		for (i = 0; i < size; i += PAGE_SIZE)
			set_attributes(BENCH_GPA + i, PAGE_SIZE, true);
		break;
	case STEP_TOUCH:
	case STEP_RETOUCH:
	case STEP_TOUCH_ALLOCATED:
		touch(BENCH_GPA, size);
		break;
	case STEP_PUNCH:
	case STEP_PUNCH_SHARED:
		punch(fd, BENCH_GPA, size);
		break;
	case STEP_FALLOCATE:
		kvm_fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size);
		break;
	case STEP_CLEAR:
		for (i = 0; i < size; i += PAGE_SIZE)
			clear_page(shared_mem + i % SZ_2M);
		break;
	default:
		TEST_FAIL("no step %d", step);
	}
}

static void run_step(enum step step, int fd, struct sample *s)
{
	u64 n = step == STEP_SET_PRIVATE_EACH ? min_t(u64, pages, ONE_BY_ONE) : pages;
	u64 size = n * PAGE_SIZE, start, end, before, faults;

	before = s ? policy_decisions(fd) : 0;
	faults = s ? vcpu_get_stat(vcpu, pf_taken) : 0;
	start = gmem_now_ns();
	do_step(step, fd, size);
	end = gmem_now_ns();
	if (!s)
		return;
	s[step] = (struct sample) {
		.ns = end - start, .units = n, .decisions = policy_decisions(fd) - before,
		.faults = vcpu_get_stat(vcpu, pf_taken) - faults,
	};
}

/*
 * Conversions of one page, and back. Unlike the rest, each is timed by itself, and has the clock's
 * cost in it. They are all alike, so that the decisions on one of them, which is not timed, tell of
 * all.
 */
static void run_one_page(int fd, struct sample *s)
{
	u64 n = min_t(u64, pages, ONE_BY_ONE), to_private = 0, to_shared = 0;
	u64 taken[3], start, middle, i;

	taken[0] = policy_decisions(fd);
	set_attributes(BENCH_GPA, PAGE_SIZE, true);
	taken[1] = policy_decisions(fd);
	set_attributes(BENCH_GPA, PAGE_SIZE, false);
	taken[2] = policy_decisions(fd);

	for (i = 0; i < n; i++) {
		start = gmem_now_ns();
		set_attributes(BENCH_GPA + i * PAGE_SIZE, PAGE_SIZE, true);
		middle = gmem_now_ns();
		set_attributes(BENCH_GPA + i * PAGE_SIZE, PAGE_SIZE, false);
		to_shared += gmem_now_ns() - middle;
		to_private += middle - start;
	}
	s[STEP_SET_PRIVATE_ONE] = (struct sample) {
		.ns = to_private, .units = n, .decisions = (taken[1] - taken[0]) * n,
	};
	s[STEP_SET_SHARED_ONE] = (struct sample) {
		.ns = to_shared, .units = n, .decisions = (taken[2] - taken[1]) * n,
	};
}

static const enum step order[] = {
	STEP_SET_PRIVATE, STEP_TOUCH, STEP_RETOUCH, STEP_PUNCH, STEP_FALLOCATE,
	STEP_TOUCH_ALLOCATED, STEP_SET_SHARED, STEP_PUNCH_SHARED, STEP_SET_PRIVATE_EACH,
};

static void set_memslot(u64 size, int fd)
{
	vm_set_user_memory_region2(vm, BENCH_SLOT, KVM_MEM_GUEST_MEMFD, BENCH_GPA, size, shared_mem,
				   fd, 0);
}

static void run_pages(struct sample *s)
{
	u64 start;
	int fd, i;

	start = gmem_now_ns();
	fd = vm_create_guest_memfd(vm, mem_size, 0);
	s[STEP_CREATE] = (struct sample) { .ns = gmem_now_ns() - start, .units = 1 };

	set_memslot(mem_size, fd);
	for (i = 0; i < ARRAY_SIZE(order); i++)
		run_step(order[i], fd, NULL);
	run_step(STEP_SET_SHARED, fd, NULL);
	for (i = 0; i < ARRAY_SIZE(order); i++)
		run_step(order[i], fd, s);
	run_step(STEP_CLEAR, fd, s);
	run_step(STEP_SET_SHARED, fd, NULL);
	run_one_page(fd, s);

	run_step(STEP_SET_PRIVATE, fd, NULL);
	run_step(STEP_TOUCH, fd, NULL);
	start = gmem_now_ns();
	close(fd);
	s[STEP_CLOSE] = (struct sample) { .ns = gmem_now_ns() - start, .units = pages };

	run_step(STEP_SET_SHARED, -1, NULL);
	set_memslot(0, -1);
}

/* How long nothing is done, so that threads of the kernel can fill pools. */
#define FILL_PAUSE	3

static u64 thread_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/* What was executed since @start, which is moved on */
static struct sample since(u64 *start)
{
	struct sample s = { .units = pages };
	u64 now = thread_ns();

	s.ns = now - *start;
	*start = now;
	return s;
}

static void run_fill(struct sample *s)
{
	u64 faults, begin, start;
	int fd;

	sleep(FILL_PAUSE);
	faults = vcpu_get_stat(vcpu, pf_taken);
	begin = thread_ns();
	fd = vm_create_guest_memfd(vm, mem_size, 0);
	set_memslot(mem_size, fd);
	set_attributes(BENCH_GPA, mem_size, true);
	start = thread_ns();
	touch(BENCH_GPA, pages * PAGE_SIZE);
	s[STEP_FILL_TOUCH] = since(&start);
	s[STEP_FILL_TOUCH].faults = vcpu_get_stat(vcpu, pf_taken) - faults;
	s[STEP_FILL] = since(&begin);

	start = thread_ns();
	touch(BENCH_GPA, pages * PAGE_SIZE);
	s[STEP_FILL_RETOUCH] = since(&start);

	/* What is mapped goes with the memslot, before; here it is about the memory. */
	set_attributes(BENCH_GPA, mem_size, false);
	set_memslot(0, -1);
	start = thread_ns();
	close(fd);
	s[STEP_FILL_CLOSE] = since(&start);
}

/* A file that is there for all rounds, and all of which the guest has touched. */
static int touched_file(void)
{
	static int fd = -1;

	if (fd < 0) {
		fd = vm_create_guest_memfd(vm, mem_size, 0);
		set_memslot(mem_size, fd);
		set_attributes(BENCH_GPA, mem_size, true);
		touch(BENCH_GPA, mem_size);
	}
	return fd;
}

/* The memory stays where it is; to be mapped again, it has to be touched. */
static void convert_touched(enum step step, u64 size, struct sample *s)
{
	u64 start;

	touch(BENCH_GPA, size);
	start = gmem_now_ns();
	set_attributes(BENCH_GPA, size, false);
	set_attributes(BENCH_GPA, size, true);
	s[step] = (struct sample) { .ns = gmem_now_ns() - start, .units = 1 };
}

static void run_conversions(struct sample *s)
{
	touched_file();
	convert_touched(STEP_CONVERT_4K, PAGE_SIZE, s);
	convert_touched(STEP_CONVERT_64M, SZ_64M, s);
	convert_touched(STEP_CONVERT_1G, SZ_1G, s);
}

/* Bounce buffers that are shared now: as many as there are, the oldest first. */
static struct range {
	u64 gpa;
	u64 size;
} live[BOUNCE_BUFFERS];
static int nr_live;

static u64 random_below(u64 n)
{
	static u64 state = 12345;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 16) % n;
}

static void take_buffer(int fd, struct range buffer)
{
	set_attributes(buffer.gpa, buffer.size, false);
	punch(fd, buffer.gpa, buffer.size);
	live[nr_live++] = buffer;
}

static void give_buffer(void)
{
	struct range buffer = live[0];

	memmove(live, live + 1, --nr_live * sizeof(*live));
	set_attributes(buffer.gpa, buffer.size, true);
	touch(buffer.gpa, buffer.size);
}

/* One conversion of gmem_workload's bounce pattern. */
static void bounce_ring(int fd)
{
	static u64 cursor = BENCH_GPA;
	struct range next;
	bool give;
	int i;

	next.size = PAGE_SIZE << min(random_below(7), random_below(7));
	if (cursor + next.size > BENCH_GPA + BOUNCE_POOL)
		cursor = BENCH_GPA;
	next.gpa = cursor;
	give = nr_live == BOUNCE_BUFFERS || (nr_live && random_below(2));
	for (i = 0; i < nr_live; i++)
		give |= next.gpa < live[i].gpa + live[i].size &&
			live[i].gpa < next.gpa + next.size;
	if (give) {
		give_buffer();
	} else {
		take_buffer(fd, next);
		cursor += next.size;
	}
}

/* One conversion of a buffer that is taken at random from those that never move. */
static void bounce_fixed(int fd)
{
	static struct range buffers[BOUNCE_BUFFERS];
	static bool shared[BOUNCE_BUFFERS];
	int i;

	for (i = 0; !buffers[BOUNCE_BUFFERS - 1].size && i < BOUNCE_BUFFERS; i++) {
		buffers[i].gpa = BENCH_GPA + i * BOUNCE_SLOT;
		buffers[i].size = PAGE_SIZE * (1 + random_below(BOUNCE_SLOT / PAGE_SIZE));
	}
	i = random_below(BOUNCE_BUFFERS);
	set_attributes(buffers[i].gpa, buffers[i].size, shared[i]);
	if (shared[i])
		touch(buffers[i].gpa, buffers[i].size);
	else
		punch(fd, buffers[i].gpa, buffers[i].size);
	shared[i] = !shared[i];
}

static void run_bounce(enum step step, void (*bounce)(int fd), u64 nr, struct sample *s)
{
	int fd = touched_file();
	u64 start, before, faults, i;

	before = policy_decisions(fd);
	faults = vcpu_get_stat(vcpu, pf_taken);
	start = gmem_now_ns();
	for (i = 0; i < nr; i++)
		bounce(fd);
	s[step] = (struct sample) {
		.ns = gmem_now_ns() - start, .units = nr,
		.decisions = policy_decisions(fd) - before,
		.faults = vcpu_get_stat(vcpu, pf_taken) - faults,
	};
}

static void run_ring(struct sample *s)
{
	run_bounce(STEP_BOUNCE, bounce_ring, 2048, s);
}

static void run_fixed(struct sample *s)
{
	run_bounce(STEP_BOUNCE_FIXED, bounce_fixed, 256, s);
}

static const struct kind {
	const char *name;
	void (*round)(struct sample *s);
	u64 size;		/* of the file; 0: as --pages says */
} kinds[] = {
	{ "pages", run_pages, 0 },
	{ "fill", run_fill, 0 },
	{ "conversions", run_conversions, SZ_1G },
	{ "bounce", run_ring, BOUNCE_VM },
	{ "bounce_fixed", run_fixed, BOUNCE_VM },
};

static int compare(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	return x->ns < y->ns ? -1 : x->ns > y->ns;
}

static void report_json(int i, const struct sample *sorted, u64 counted, bool first)
{
	const struct sample *mid = &sorted[counted / 2];
	double units = mid->units;

	printf("%s\n  \"%s\": {", first ? "" : ",", steps[i].name);
	printf("\"ns\": %.3f, \"min\": %.3f, \"max\": %.3f, ", mid->ns / units,
	       sorted[0].ns / units, sorted[counted - 1].ns / units);
	printf("\"units\": %lu, \"decisions\": %lu, \"faults\": %lu, \"what\": \"%s\"}", mid->units,
	       mid->decisions, mid->faults, steps[i].what);
}

static void report_text(int i, const struct sample *mid)
{
	bool each = i == STEP_CREATE || (i >= STEP_CONVERT_4K && i <= STEP_BOUNCE_FIXED);

	printf("%s %.1f %s\n", steps[i].name, (double)mid->ns / mid->units,
	       each ? "ns" : "ns/page");
	if (mid->decisions)
		printf("%s_decisions %.4f %s\n", steps[i].name,
		       (double)mid->decisions / mid->units, each ? "each" : "1/page");
	if (mid->faults)
		printf("%s_faults %lu\n", steps[i].name, mid->faults);
}

static void report(bool json)
{
	struct sample s[MAX_ROUNDS];
	u64 counted = rounds - 1;
	bool first = true;
	int i, j;

	if (json)
		printf("{\"schema\": 1, \"pages\": %lu, \"rounds\": %lu, \"steps\": {", pages,
		       counted);
	for (i = 0; i < STEPS; i++) {
		if (!samples[0][i].units)
			continue;
		for (j = 0; j < counted; j++)
			s[j] = samples[j + 1][i];
		qsort(s, counted, sizeof(*s), compare);
		if (json)
			report_json(i, s, counted, first);
		else
			report_text(i, &s[counted / 2]);
		first = false;
	}
	if (json)
		printf("\n}}\n");
}

static void help(const char *name)
{
	int i;

	printf("usage: %s [-p PAGES] [-r ROUNDS] [--json] [WHAT]\n"
	       "WHAT is pages (the default), fill, conversions, bounce, or bounce_fixed.\n"
	       "  -p, --pages N    pages in each step of pages and fill (%lu)\n"
	       "  -r, --rounds N   rounds; the first is not counted (%lu)\n"
	       "  -j, --json       all of it, as JSON; else lines NAME VALUE UNIT\n"
	       "Costs, of a 4K page where nothing else is said:\n", name, pages, rounds);
	for (i = 0; i < STEPS; i++)
		printf("  %-16s %s\n", steps[i].name, steps[i].what);
}

static const struct kind *find_kind(const char *name)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	}
	return NULL;
}

static u64 parse_number(const char *s, u64 least, u64 most)
{
	u64 n;

	if (gmem_parse_u64(s, &n) && n >= least && n <= most)
		return n;
	fprintf(stderr, "gmem_bench: '%s' is not a number from %lu to %lu\n", s, least, most);
	exit(2);
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "pages", required_argument, NULL, 'p' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	const struct vm_shape shape = {
		.mode = VM_MODE_DEFAULT,
		.type = KVM_X86_SW_PROTECTED_VM,
	};
	const struct kind *kind;
	bool json = false;
	gva_t gva;
	int opt, i;

	gmem_start_main();
	while ((opt = getopt_long(argc, argv, "p:r:jh", options, NULL)) != -1) {
		switch (opt) {
		case 'p':
			pages = parse_number(optarg, 1, MAX_PAGES);
			break;
		case 'r':
			rounds = parse_number(optarg, 2, MAX_ROUNDS);
			break;
		case 'j':
			json = true;
			break;
		case 'h':
			help(argv[0]);
			return 0;
		default:
			return 2;
		}
	}
	kind = find_kind(optind < argc ? argv[optind++] : "pages");
	if (!kind || optind < argc) {
		fprintf(stderr, "gmem_bench: what is '%s'? See --help\n", argv[argc - 1]);
		return 2;
	}
	TEST_REQUIRE(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM));

	mem_size = kind->size ?: align_up(pages * PAGE_SIZE, SZ_2M);
	vm = __vm_create(shape, 1, 0);
	gmem_map_identity(vm, BENCH_GPA, BENCH_GPA + mem_size);
	gva = vm_alloc_page(vm);
	guest_args = addr_gva2hva(vm, gva);
	vcpu = vm_vcpu_add(vm, 0, guest_code);
	vcpu_args_set(vcpu, 1, gva);

	/* Shared memory of the slot: unused, but for clearing pages, which must be there. */
	shared_mem = gmem_mmap_anon(mem_size);
	TEST_ASSERT(shared_mem, "no memory");
	memset(shared_mem, 0xff, min_t(u64, mem_size, SZ_2M));

	for (i = 0; i < rounds; i++)
		kind->round(samples[i]);
	report(json);
	kvm_vm_free(vm);
	return 0;
}
