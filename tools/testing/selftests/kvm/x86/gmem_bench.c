// SPDX-License-Identifier: GPL-2.0-only
/*
 * What guest_memfd costs, per 4K page: first access by the guest, fallocate(), conversion in both
 * directions, hole punching, and freeing at close.
 *
 * One KVM_X86_SW_PROTECTED_VM with one vCPU. It is meant for a machine whose clock counts
 * instructions (scripts/boot --icount: 1 ns is 1 instruction); elsewhere the numbers are
 * nanoseconds, with their noise.
 *
 * A round makes a new file, binds it, goes through all steps once unmeasured, so that stage-2 page
 * tables, slabs and caches are there, and then through them again, measured. The first round is not
 * counted; the rest give the median, least and largest cost. Stage-2 faults are counted by KVM's
 * statistic pf_taken. Where the kernel has policies, the number of their decisions in each step is
 * read from the file's fdinfo.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
};

struct sample {
	u64 ns;
	u64 units;		/* pages, or files */
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
static u64 mem_size;		/* of the file: pages, rounded up to 2M */

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

static void touch(u64 size)
{
	struct ucall uc;

	guest_args[0] = BENCH_GPA;
	guest_args[1] = BENCH_GPA + size;
	vcpu_run(vcpu);
	TEST_ASSERT(get_ucall(vcpu, &uc) == UCALL_SYNC, "the guest: exit %u (%s), ucall %lu",
		    vcpu->run->exit_reason, exit_reason_str(vcpu->run->exit_reason), uc.cmd);
	TEST_ASSERT(uc.args[1] == BENCH_GPA + size, "the guest stopped at 0x%lx", uc.args[1]);
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
		touch(size);
		break;
	case STEP_PUNCH:
	case STEP_PUNCH_SHARED:
		kvm_fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, size);
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

static void run_round(struct sample *s)
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

static int compare(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	return x->ns < y->ns ? -1 : x->ns > y->ns;
}

static void report_json(int i, const struct sample *sorted, u64 counted)
{
	const struct sample *mid = &sorted[counted / 2];
	double units = mid->units;

	printf("%s\n  \"%s\": {", i ? "," : "", steps[i].name);
	printf("\"ns\": %.3f, \"min\": %.3f, \"max\": %.3f, ", mid->ns / units,
	       sorted[0].ns / units, sorted[counted - 1].ns / units);
	printf("\"units\": %lu, \"decisions\": %lu, \"faults\": %lu, \"what\": \"%s\"}", mid->units,
	       mid->decisions, mid->faults, steps[i].what);
}

static void report_text(int i, const struct sample *mid)
{
	printf("%s %.1f %s\n", steps[i].name, (double)mid->ns / mid->units,
	       i == STEP_CREATE ? "ns" : "ns/page");
	if (mid->decisions)
		printf("%s_decisions %.4f 1/page\n", steps[i].name,
		       (double)mid->decisions / mid->units);
	if (mid->faults)
		printf("%s_faults %lu\n", steps[i].name, mid->faults);
}

static void report(bool json)
{
	struct sample s[MAX_ROUNDS];
	u64 counted = rounds - 1;
	int i, j;

	if (json)
		printf("{\"schema\": 1, \"pages\": %lu, \"rounds\": %lu, \"steps\": {", pages,
		       counted);
	for (i = 0; i < STEPS; i++) {
		for (j = 0; j < counted; j++)
			s[j] = samples[j + 1][i];
		qsort(s, counted, sizeof(*s), compare);
		if (json)
			report_json(i, s, counted);
		else
			report_text(i, &s[counted / 2]);
	}
	if (json)
		printf("\n}}\n");
}

static void help(const char *name)
{
	int i;

	printf("usage: %s [-p PAGES] [-r ROUNDS] [--json]\n"
	       "  -p, --pages N    pages in each step (%lu)\n"
	       "  -r, --rounds N   rounds; the first is not counted (%lu)\n"
	       "  -j, --json       all of it, as JSON; else lines NAME VALUE UNIT\n"
	       "Costs, of a 4K page where nothing else is said:\n", name, pages, rounds);
	for (i = 0; i < STEPS; i++)
		printf("  %-16s %s\n", steps[i].name, steps[i].what);
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
	if (optind != argc) {
		fprintf(stderr, "gmem_bench: what is '%s'? See --help\n", argv[optind]);
		return 2;
	}
	TEST_REQUIRE(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM));

	mem_size = align_up(pages * PAGE_SIZE, SZ_2M);
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
		run_round(samples[i]);
	report(json);
	kvm_vm_free(vm);
	return 0;
}
