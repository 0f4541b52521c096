// SPDX-License-Identifier: GPL-2.0-only
/*
 * What guest_memfd costs:
 *
 *	pages		per 4K page: first access by the guest, fallocate(), conversion in both
 *			directions, hole punching, and freeing at close
 *	conversions	of 4K, 64M and 1G that the guest has touched, to shared and back;
 *			of 4K, 64K, 2M (16 of them, 2M apart) and 64M, each direction by itself
 *	fill		of a VM from the creation of its memory until the guest has touched all of
 *			it, and of its end: what the VMM's own thread executes. Before both it does
 *			nothing for a while, in which pools are filled
 *	bounce		of bounce buffers, which a guest converts all the time, with all that
 *			follows from it: at most 64 at a time, of 4K to 256K, in 16M of a VM of
 *			256M that has touched all its memory
 *	bounce_fixed	the same, of 64 buffers that never move
 *	create		files and VMs, which come and go
 *	sizes		from 4M to 1G: populating, faults, conversions, punching and freeing, to
 *			show how costs grow
 *	parallel	conversions by several vCPUs of a VM, and by several VMs, a thread for each:
 *			what all of them execute, and how much of it not before slots_lock; of the
 *			cheaper half, if not --all: whether the lock is found taken is up to chance
 *	policy		gmem-policy load, replace and unload, with 1 and with 100 VMs
 *	pool		the filling of pools, 1G of 4K and of 2M
 *
 * A KVM_X86_SW_PROTECTED_VM with one vCPU, where nothing else is said. It is meant for a machine
 * whose clock counts instructions (scripts/boot --icount: 1 ns is 1 instruction); elsewhere the
 * numbers are nanoseconds, with their noise. They are of the thread that works, its guest included;
 * or, with --wall, of the clock on the wall, by which waiting for others counts, too. What commands
 * and threads of the kernel execute is always their own.
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
 * taken and given back at random, which is the same in each round.
 */
#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

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
#define CREATE_FILES	64
#define CREATE_VMS	8
#define MANY_VMS	100	/* that have policies loaded, replaced and unloaded */
#define POOL_MB		1024
#define __STR(x)	#x
#define STR(x)		__STR(x)
#define PARALLEL_AREA	SZ_2M
#define PARALLEL_LOOPS	16	/* of each thread, each of two conversions */
#define MAX_WORKERS	32
#define MAX_PIDS	(4 << 20)	/* PID_MAX_LIMIT */

static const struct {
	const char *name;
	u64 bytes;
} sizes[] = {
	{ "4m", SZ_4M }, { "16m", SZ_16M }, { "64m", SZ_64M }, { "256m", SZ_256M },
	{ "1g", SZ_1G },
};

/* What is done to each size, in this order */
static const struct {
	const char *name;
	const char *what;
} size_ops[] = {
	{ "grow_touch", "first access by the guest" },
	{ "grow_punch", "punch it out" },
	{ "grow_fallocate", "populate by fallocate()" },
	{ "grow_pre_fault", "KVM_PRE_FAULT_MEMORY of it" },
	{ "grow_shared", "convert it to shared" },
	{ "grow_private", "and back" },
	{ "grow_close", "close the file" },
};

static const struct {
	const char *name;
	int vms;
	int vcpus;		/* of each */
} crowds[] = {
	{ "vcpus_1", 1, 1 }, { "vcpus_2", 1, 2 }, { "vcpus_4", 1, 4 }, { "vcpus_8", 1, 8 },
	{ "vms_8", 8, 1 }, { "vms_32", 32, 1 },
};

#define SIZES		ARRAY_SIZE(sizes)
#define SIZE_OPS	ARRAY_SIZE(size_ops)
#define CROWDS		ARRAY_SIZE(crowds)

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
	STEP_COPY,
	STEP_TO_SHARED_4K,
	STEP_TO_PRIVATE_4K,
	STEP_TO_SHARED_64K,
	STEP_TO_PRIVATE_64K,
	STEP_TO_SHARED_2M,
	STEP_TO_PRIVATE_2M,
	STEP_TO_SHARED_64M,
	STEP_TO_PRIVATE_64M,
	STEP_CONVERT_4K,
	STEP_CONVERT_64M,
	STEP_CONVERT_1G,
	STEP_BOUNCE,
	STEP_BOUNCE_FIXED,
	STEP_FILL,
	STEP_FILL_TOUCH,
	STEP_FILL_RETOUCH,
	STEP_FILL_CLOSE,
	STEP_FILL_BACKGROUND,
	STEP_FILE_CREATE,
	STEP_FILE_CLOSE,
	STEP_VM_CREATE,
	STEP_VM_DESTROY,
	STEP_LOAD_1,
	STEP_REPLACE_1,
	STEP_UNLOAD_1,
	STEP_LOAD_100,
	STEP_REPLACE_100,
	STEP_UNLOAD_100,
	STEP_POOL_4K,
	STEP_POOL_2M,
	NAMED_STEPS,
	STEP_SIZES = NAMED_STEPS,			/* SIZES of each of size_ops */
	STEP_CROWDS = STEP_SIZES + SIZES * SIZE_OPS,	/* for each, all and what slots_lock has */
	STEPS = STEP_CROWDS + 2 * CROWDS,
};

static const struct {
	const char *name;
	const char *what;
	bool each;		/* else of a 4K page */
} steps[NAMED_STEPS] = {
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
		"create", "KVM_CREATE_GUEST_MEMFD, per file", true,
	},
	[STEP_CLOSE] = {
		"close", "close the file: unmap and free",
	},
	[STEP_CLEAR] = {
		"clear", "write zeroes to a page that is in memory (rep stosq)",
	},
	[STEP_COPY] = {
		"copy", "copy a page that is in memory to another (rep movsq)",
	},
	[STEP_TO_SHARED_4K] = {
		"to_shared_4k", "convert 4K that the guest has mapped to shared", true
	},
	[STEP_TO_PRIVATE_4K] = {
		"to_private_4k", "and back", true
	},
	[STEP_TO_SHARED_64K] = {
		"to_shared_64k", "64K", true
	},
	[STEP_TO_PRIVATE_64K] = {
		"to_private_64k", "and back", true
	},
	[STEP_TO_SHARED_2M] = {
		"to_shared_2m", "2M", true
	},
	[STEP_TO_PRIVATE_2M] = {
		"to_private_2m", "and back", true
	},
	[STEP_TO_SHARED_64M] = {
		"to_shared_64m", "64M", true
	},
	[STEP_TO_PRIVATE_64M] = {
		"to_private_64m", "and back", true
	},
	[STEP_CONVERT_4K] = {
		"convert_4k", "convert a page that the guest has mapped to shared, and back", true,
	},
	[STEP_CONVERT_64M] = {
		"convert_64m", "64M that the guest has mapped, to shared and back", true,
	},
	[STEP_CONVERT_1G] = {
		"convert_1g", "1G that the guest has mapped, to shared and back", true,
	},
	[STEP_BOUNCE] = {
		"bounce", "convert a bounce buffer: also punch it, or have the guest write to it",
		true
	},
	[STEP_BOUNCE_FIXED] = {
		"bounce_fixed", "the same, of buffers that never move", true,
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
	[STEP_FILL_BACKGROUND] = {
		"fill_background", "what threads of the kernel do meanwhile: fill pools, populate",
	},
	[STEP_FILE_CREATE] = {
		"file_create", "create a file, of many", true
	},
	[STEP_FILE_CLOSE] = {
		"file_close", "close one to which nothing was bound", true
	},
	[STEP_VM_CREATE] = {
		"vm_create", "KVM_CREATE_VM", true
	},
	[STEP_VM_DESTROY] = {
		"vm_destroy", "close a VM", true
	},
	[STEP_LOAD_1] = {
		"load_1", "gmem-policy load, with 1 VM: its process, and work in the kernel", true
	},
	[STEP_REPLACE_1] = {
		"replace_1", "gmem-policy replace", true
	},
	[STEP_UNLOAD_1] = {
		"unload_1", "gmem-policy unload", true
	},
	[STEP_LOAD_100] = {
		"load_100", "gmem-policy load, with 100 VMs", true
	},
	[STEP_REPLACE_100] = {
		"replace_100", "gmem-policy replace, with 100 VMs", true
	},
	[STEP_UNLOAD_100] = {
		"unload_100", "gmem-policy unload, with 100 VMs", true
	},
	[STEP_POOL_4K] = {
		"pool_4k", "fill a pool with folios of 4K",
	},
	[STEP_POOL_2M] = {
		"pool_2m", "fill a pool with folios of 2M",
	},
};

struct sample {
	u64 ns;
	u64 units;		/* pages, files, or conversions */
	u64 decisions;
	u64 faults;
};

static struct sample samples[MAX_ROUNDS][STEPS];

static const struct vm_shape shape = {
	.mode = VM_MODE_DEFAULT,
	.type = KVM_X86_SW_PROTECTED_VM,
};

static u64 pages = 10000;
static u64 rounds = 5;
static bool all;		/* conversions of parallel count, not the cheaper half only */
static clockid_t clock_id = CLOCK_THREAD_CPUTIME_ID;

struct guest {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	u64 *args;		/* of guest_code() */
};

static struct guest guest;
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

static u64 clock_ns(void)
{
	struct timespec ts;

	clock_gettime(clock_id, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static u64 reading_ns;		/* of that, reading the clock */

static void find_reading_ns(void)
{
	u64 start, now;
	int i;

	reading_ns = NSEC_PER_SEC;
	start = clock_ns();
	for (i = 0; i < 100; i++) {
		now = clock_ns();
		reading_ns = min(reading_ns, now - start);
		start = now;
	}
}

/*
 * What this thread executed since @start, which is moved on, for each of @units. What interrupts
 * it, and what RCU frees meanwhile, is not its own, where the kernel tells them apart
 * (CONFIG_IRQ_TIME_ACCOUNTING). With --wall it is all the time since.
 */
static struct sample since(u64 *start, u64 units)
{
	u64 now = clock_ns(), ns = now - *start;

	*start = now;
	return (struct sample) { .ns = ns - min(ns, reading_ns), .units = units };
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

static void set_attributes_of(struct guest *g, u64 gpa, u64 size, bool private)
{
	vm_set_memory_attributes(g->vm, gpa, size, private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0);
}

static void set_attributes(u64 gpa, u64 size, bool private)
{
	set_attributes_of(&guest, gpa, size, private);
}

static void touch_by(struct guest *g, u64 gpa, u64 size)
{
	struct kvm_vcpu *vcpu = g->vcpu;
	struct ucall uc;

	g->args[0] = gpa;
	g->args[1] = gpa + size;
	vcpu_run(vcpu);
	TEST_ASSERT(get_ucall(vcpu, &uc) == UCALL_SYNC, "the guest: exit %u (%s), ucall %lu",
		    vcpu->run->exit_reason, exit_reason_str(vcpu->run->exit_reason), uc.cmd);
	TEST_ASSERT(uc.args[1] == gpa + size, "the guest stopped at 0x%lx", uc.args[1]);
}

static void touch(u64 gpa, u64 size)
{
	touch_by(&guest, gpa, size);
}

static u64 faults_taken(void)
{
	return vcpu_get_stat(guest.vcpu, pf_taken);
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

static void copy_page(void *to, const void *from)
{
	u64 count = PAGE_SIZE / sizeof(u64);

	asm volatile("rep movsq" : "+D" (to), "+S" (from), "+c" (count) : : "memory");
}

/* What a step does; nothing else is in the time that is measured. */
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
	case STEP_COPY:
		for (i = 0; i < size; i += PAGE_SIZE)
			copy_page(shared_mem + i % SZ_1M, shared_mem + SZ_1M + i % SZ_1M);
		break;
	default:
		TEST_FAIL("no step %d", step);
	}
}

static void run_step(enum step step, int fd, struct sample *s)
{
	u64 n = step == STEP_SET_PRIVATE_EACH ? min_t(u64, pages, ONE_BY_ONE) : pages;
	u64 size = n * PAGE_SIZE, start, before, faults;
	struct sample took;

	before = s ? policy_decisions(fd) : 0;
	faults = s ? faults_taken() : 0;
	start = clock_ns();
	do_step(step, fd, size);
	took = since(&start, n);
	if (!s)
		return;
	took.decisions = policy_decisions(fd) - before;
	took.faults = faults_taken() - faults;
	s[step] = took;
}

/*
 * Conversions of one page, and back. Unlike the rest, each is timed by itself. They are all alike,
 * so that the decisions on one of them, which is not timed, tell of all.
 */
static void run_one_page(int fd, struct sample *s)
{
	u64 n = min_t(u64, pages, ONE_BY_ONE), to_private = 0, to_shared = 0;
	u64 taken[3], start, i;

	taken[0] = policy_decisions(fd);
	set_attributes(BENCH_GPA, PAGE_SIZE, true);
	taken[1] = policy_decisions(fd);
	set_attributes(BENCH_GPA, PAGE_SIZE, false);
	taken[2] = policy_decisions(fd);

	for (i = 0; i < n; i++) {
		start = clock_ns();
		set_attributes(BENCH_GPA + i * PAGE_SIZE, PAGE_SIZE, true);
		to_private += since(&start, 1).ns;
		set_attributes(BENCH_GPA + i * PAGE_SIZE, PAGE_SIZE, false);
		to_shared += since(&start, 1).ns;
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
	vm_set_user_memory_region2(guest.vm, BENCH_SLOT, KVM_MEM_GUEST_MEMFD, BENCH_GPA, size,
				   shared_mem, fd, 0);
}

static void run_pages(struct sample *s)
{
	u64 start;
	int fd, i;

	start = clock_ns();
	fd = vm_create_guest_memfd(guest.vm, mem_size, 0);
	s[STEP_CREATE] = since(&start, 1);

	set_memslot(mem_size, fd);
	for (i = 0; i < ARRAY_SIZE(order); i++)
		run_step(order[i], fd, NULL);
	run_step(STEP_SET_SHARED, fd, NULL);
	for (i = 0; i < ARRAY_SIZE(order); i++)
		run_step(order[i], fd, s);
	run_step(STEP_CLEAR, fd, s);
	run_step(STEP_COPY, fd, s);
	run_step(STEP_SET_SHARED, fd, NULL);
	run_one_page(fd, s);

	run_step(STEP_SET_PRIVATE, fd, NULL);
	run_step(STEP_TOUCH, fd, NULL);
	start = clock_ns();
	close(fd);
	s[STEP_CLOSE] = since(&start, pages);

	run_step(STEP_SET_SHARED, -1, NULL);
	set_memslot(0, -1);
}

/* How long nothing is done, so that threads of the kernel can fill pools: seconds. */
#define FILL_PAUSE	3

/* And so that RCU has freed the page tables that nothing uses any more: microseconds. */
#define RCU_PAUSE	100000

/* The first line of /proc/PID/FILE */
static bool read_proc(const char *pid, const char *file, char *line, int size)
{
	char path[64];
	bool ok;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%.16s/%s", pid, file);
	f = fopen(path, "r");
	if (!f)
		return false;
	ok = fgets(line, size, f);
	fclose(f);
	return ok;
}

/*
 * What threads of the kernel whose names begin with one of @names have executed since they were
 * asked the last time; @last_ns has what they had then, by PID. A worker that ended meanwhile did
 * so because it had nothing to do.
 */
static u64 kernel_ns(const char *const names[], int nr, u64 **last_ns)
{
	u64 *last = *last_ns, ns, sum = 0;
	char line[128];
	struct dirent *d;
	DIR *dir;
	int i, pid;

	/* Not among the program's variables, all of which its guests have a copy of. */
	if (!last)
		last = *last_ns = calloc(MAX_PIDS, sizeof(*last));
	TEST_ASSERT(last, "no memory");
	dir = opendir("/proc");
	TEST_ASSERT(dir, "/proc");
	while ((d = readdir(dir))) {
		pid = atoi(d->d_name);
		if (!pid || pid >= MAX_PIDS || !read_proc(d->d_name, "comm", line, sizeof(line)))
			continue;
		for (i = 0; i < nr && strncmp(line, names[i], strlen(names[i])); i++)
			;
		if (i == nr || !read_proc(d->d_name, "schedstat", line, sizeof(line)))
			continue;
		ns = strtoull(line, NULL, 10);
		sum += ns < last[pid] ? ns : ns - last[pid];
		last[pid] = ns;
	}
	closedir(dir);
	return sum;
}

static u64 background_ns(void)
{
	static const char *const names[] = { "gmem_pool/", "kworker/" };
	static u64 *last;

	return kernel_ns(names, ARRAY_SIZE(names), &last);
}

/*
 * What is done in the background is done in the two pauses, while nothing is measured: what a pool
 * that has given its memory away gets instead, and what the round before has given back to it.
 */
static void run_fill(struct sample *s)
{
	u64 faults, begin, start;
	int fd;

	background_ns();
	sleep(FILL_PAUSE);
	faults = faults_taken();
	begin = clock_ns();
	fd = vm_create_guest_memfd(guest.vm, mem_size, 0);
	set_memslot(mem_size, fd);
	set_attributes(BENCH_GPA, mem_size, true);
	start = clock_ns();
	touch(BENCH_GPA, pages * PAGE_SIZE);
	s[STEP_FILL_TOUCH] = since(&start, pages);
	s[STEP_FILL_TOUCH].faults = faults_taken() - faults;
	s[STEP_FILL] = since(&begin, pages);

	start = clock_ns();
	touch(BENCH_GPA, pages * PAGE_SIZE);
	s[STEP_FILL_RETOUCH] = since(&start, pages);

	/* What is mapped goes with the memslot, before; here it is about the memory. */
	set_attributes(BENCH_GPA, mem_size, false);
	set_memslot(0, -1);
	sleep(FILL_PAUSE);
	start = clock_ns();
	close(fd);
	s[STEP_FILL_CLOSE] = since(&start, pages);
	s[STEP_FILL_BACKGROUND] = (struct sample) {
		.ns = background_ns(), .units = pages,
	};
}

/* A file that is there for all rounds, and all of which the guest has touched. */
static int touched_file(void)
{
	static int fd = -1;

	if (fd < 0) {
		fd = vm_create_guest_memfd(guest.vm, mem_size, 0);
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
	start = clock_ns();
	set_attributes(BENCH_GPA, size, false);
	set_attributes(BENCH_GPA, size, true);
	s[step] = since(&start, 1);
}

/* One way of each of these ranges, which are 2M apart at least. */
static struct sample convert_places(u64 size, int places, bool private)
{
	u64 apart = max_t(u64, size, SZ_2M), start = clock_ns();
	int i;

	for (i = 0; i < places; i++)
		set_attributes(BENCH_GPA + i * apart, size, private);
	return since(&start, places);
}

/*
 * Of touched memory, each direction by itself. Small ranges in many places: what happens in one of
 * them now and then, because of the time it is, counts for little.
 */
static void convert_each_way(enum step step, u64 size, int places, struct sample *s)
{
	touch(BENCH_GPA, SZ_1G);
	s[step] = convert_places(size, places, false);
	s[step + 1] = convert_places(size, places, true);
}

static void run_conversions(struct sample *s)
{
	touched_file();
	convert_touched(STEP_CONVERT_4K, PAGE_SIZE, s);
	convert_touched(STEP_CONVERT_64M, SZ_64M, s);
	convert_touched(STEP_CONVERT_1G, SZ_1G, s);
	convert_each_way(STEP_TO_SHARED_4K, PAGE_SIZE, 16, s);
	convert_each_way(STEP_TO_SHARED_64K, SZ_64K, 16, s);
	convert_each_way(STEP_TO_SHARED_2M, SZ_2M, 16, s);
	convert_each_way(STEP_TO_SHARED_64M, SZ_64M, 1, s);
}

/* The pool of bounce buffers, as it is in this round. */
static struct pool {
	u64 random;
	struct range {
		u64 gpa;
		u64 size;
	} live[BOUNCE_BUFFERS];			/* shared now, the oldest first */
	int nr_live;
	u64 cursor;				/* where the next one is looked for */
	struct range fixed[BOUNCE_BUFFERS];	/* those that never move */
	bool shared[BOUNCE_BUFFERS];
} pool;

static u64 random_below(u64 n)
{
	pool.random ^= pool.random << 13;
	pool.random ^= pool.random >> 7;
	pool.random ^= pool.random << 17;
	return (pool.random >> 16) % n;
}

/* All private, and the same numbers again: rounds differ by nothing that they do. */
static void reset_buffers(void)
{
	int i;

	set_attributes(BENCH_GPA, BOUNCE_POOL, true);
	touch(BENCH_GPA, BOUNCE_POOL);
	pool = (struct pool) { .random = 12345, .cursor = BENCH_GPA };
	for (i = 0; i < BOUNCE_BUFFERS; i++) {
		pool.fixed[i].gpa = BENCH_GPA + i * BOUNCE_SLOT;
		pool.fixed[i].size = PAGE_SIZE * (1 + random_below(BOUNCE_SLOT / PAGE_SIZE));
	}
}

static void take_buffer(int fd, struct range buffer)
{
	set_attributes(buffer.gpa, buffer.size, false);
	punch(fd, buffer.gpa, buffer.size);
}

static void give_buffer(struct range buffer)
{
	set_attributes(buffer.gpa, buffer.size, true);
	touch(buffer.gpa, buffer.size);
}

/* One conversion of gmem_workload's bounce pattern. */
static void bounce_ring(int fd)
{
	struct range next, oldest = pool.live[0];
	bool give;
	int i;

	next.size = PAGE_SIZE << min(random_below(7), random_below(7));
	if (pool.cursor + next.size > BENCH_GPA + BOUNCE_POOL)
		pool.cursor = BENCH_GPA;
	next.gpa = pool.cursor;
	give = pool.nr_live == BOUNCE_BUFFERS || (pool.nr_live && random_below(2));
	for (i = 0; i < pool.nr_live; i++)
		give |= next.gpa < pool.live[i].gpa + pool.live[i].size &&
			pool.live[i].gpa < next.gpa + next.size;
	if (give) {
		pool.nr_live--;
		memmove(pool.live, pool.live + 1, pool.nr_live * sizeof(*pool.live));
		give_buffer(oldest);
	} else {
		pool.live[pool.nr_live++] = next;
		pool.cursor += next.size;
		take_buffer(fd, next);
	}
}

/* One conversion of a buffer that is taken at random from those that never move. */
static void bounce_fixed(int fd)
{
	int i = random_below(BOUNCE_BUFFERS);

	if (pool.shared[i])
		give_buffer(pool.fixed[i]);
	else
		take_buffer(fd, pool.fixed[i]);
	pool.shared[i] = !pool.shared[i];
}

static void run_bounce(enum step step, void (*bounce)(int fd), u64 nr, struct sample *s)
{
	int fd = touched_file();
	u64 start, before, faults, i;

	reset_buffers();
	before = policy_decisions(fd);
	faults = faults_taken();
	start = clock_ns();
	for (i = 0; i < nr; i++)
		bounce(fd);
	s[step] = since(&start, nr);
	s[step].decisions = policy_decisions(fd) - before;
	s[step].faults = faults_taken() - faults;
}

static void run_ring(struct sample *s)
{
	run_bounce(STEP_BOUNCE, bounce_ring, 2048, s);
}

static void run_fixed(struct sample *s)
{
	run_bounce(STEP_BOUNCE_FIXED, bounce_fixed, 256, s);
}

static int new_vm(int kvm)
{
	int fd = ioctl(kvm, KVM_CREATE_VM, KVM_X86_SW_PROTECTED_VM);

	TEST_ASSERT(fd >= 0, "KVM_CREATE_VM");
	return fd;
}

static void run_create(struct sample *s)
{
	int kvm = open_path_or_exit(KVM_DEV_PATH, O_RDWR), fds[CREATE_FILES], i;
	u64 start;

	start = clock_ns();
	for (i = 0; i < CREATE_FILES; i++)
		fds[i] = vm_create_guest_memfd(guest.vm, SZ_2M, 0);
	s[STEP_FILE_CREATE] = since(&start, CREATE_FILES);
	for (i = 0; i < CREATE_FILES; i++)
		close(fds[i]);
	s[STEP_FILE_CLOSE] = since(&start, CREATE_FILES);

	for (i = 0; i < CREATE_VMS; i++)
		fds[i] = new_vm(kvm);
	s[STEP_VM_CREATE] = since(&start, CREATE_VMS);
	for (i = 0; i < CREATE_VMS; i++)
		close(fds[i]);
	s[STEP_VM_DESTROY] = since(&start, CREATE_VMS);
	close(kvm);
}

static void pre_fault(u64 gpa, u64 size)
{
	struct kvm_pre_fault_memory range = { .gpa = gpa, .size = size };

	while (range.size)
		vcpu_ioctl(guest.vcpu, KVM_PRE_FAULT_MEMORY, &range);
}

static void do_size_op(int op, int fd, u64 size)
{
	switch (op) {
	case 0:
		touch(BENCH_GPA, size);
		break;
	case 1:
		punch(fd, BENCH_GPA, size);
		break;
	case 2:
		kvm_fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size);
		break;
	case 3:
		pre_fault(BENCH_GPA, size);
		break;
	case 4:
	case 5:
		set_attributes(BENCH_GPA, size, op == 5);
		break;
	default:
		close(fd);
	}
}

static void run_size(int i, struct sample *s)
{
	u64 size = sizes[i].bytes, start;
	int fd, op;

	fd = vm_create_guest_memfd(guest.vm, size, 0);
	set_memslot(size, fd);
	set_attributes(BENCH_GPA, size, true);
	for (op = 0; op < SIZE_OPS; op++) {
		start = clock_ns();
		do_size_op(op, fd, size);
		s[STEP_SIZES + op * SIZES + i] = since(&start, size / PAGE_SIZE);
	}
	set_attributes(BENCH_GPA, size, false);
	set_memslot(0, -1);
	usleep(RCU_PAUSE);
}

/* The first round is not counted: it need not be long. */
static void run_sizes(struct sample *s)
{
	int i;

	for (i = 0; i < SIZES; i++) {
		if (s != samples[0] || sizes[i].bytes < SZ_256M)
			run_size(i, s);
	}
}

/* A thread of parallel: it converts its own area of a VM. */
struct worker {
	struct guest guest;
	pthread_t thread;
	int fd;			/* of its VM */
	u64 gpa;
	u64 ns[PARALLEL_LOOPS];	/* of two conversions each */
	u64 refused[PARALLEL_LOOPS]; /* of two that are refused before slots_lock is taken */
};

static pthread_barrier_t together;

static void refuse(struct worker *w)
{
	struct kvm_memory_attributes attributes = {
		.address = w->gpa + 1, .size = PARALLEL_AREA,
	};
	int ret = __vm_ioctl(w->guest.vm, KVM_SET_MEMORY_ATTRIBUTES, &attributes);

	TEST_ASSERT(ret == -1 && errno == EINVAL, "an address that is not a page's: %d", ret);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	u64 start;
	int i;

	touch_by(&w->guest, w->gpa, PARALLEL_AREA);
	pthread_barrier_wait(&together);
	for (i = 0; i < PARALLEL_LOOPS; i++) {
		start = clock_ns();
		set_attributes_of(&w->guest, w->gpa, PARALLEL_AREA, false);
		set_attributes_of(&w->guest, w->gpa, PARALLEL_AREA, true);
		w->ns[i] = since(&start, 2).ns;
		refuse(w);
		refuse(w);
		w->refused[i] = since(&start, 2).ns;
		touch_by(&w->guest, w->gpa, PARALLEL_AREA);
	}
	return NULL;
}

/* A VM with a worker for each of its vCPUs, whose areas are one behind the other */
static void make_workers(struct worker *w, int vcpus)
{
	u64 size = vcpus * PARALLEL_AREA;
	struct kvm_vm *vm;
	gva_t gva;
	int fd, i;

	vm = __vm_create(shape, vcpus, 0);
	gmem_map_identity(vm, BENCH_GPA, BENCH_GPA + size);
	fd = vm_create_guest_memfd(vm, size, 0);
	vm_set_user_memory_region2(vm, BENCH_SLOT, KVM_MEM_GUEST_MEMFD, BENCH_GPA, size, shared_mem,
				   fd, 0);
	vm_set_memory_attributes(vm, BENCH_GPA, size, KVM_MEMORY_ATTRIBUTE_PRIVATE);
	for (i = 0; i < vcpus; i++) {
		gva = vm_alloc_page(vm);
		w[i] = (struct worker) { .fd = fd, .gpa = BENCH_GPA + i * PARALLEL_AREA };
		w[i].guest.vm = vm;
		w[i].guest.args = addr_gva2hva(vm, gva);
		w[i].guest.vcpu = vm_vcpu_add(vm, i, guest_code);
		vcpu_args_set(w[i].guest.vcpu, 1, gva);
	}
}

static int compare_u64(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

/*
 * What @nr of them cost, an even number. Unless all are wanted, what they would if each did what
 * those of the cheaper half do: the others found the lock taken, and slept, and with one CPU, whose
 * instructions are counted, how many do is up to when threads are preempted.
 */
static u64 crowd_ns(u64 *ns, int nr)
{
	int counted = all ? nr : nr / 2, i;
	u64 sum = 0;

	qsort(ns, nr, sizeof(*ns), compare_u64);
	for (i = 0; i < counted; i++)
		sum += ns[i];
	return sum * (nr / counted);
}

static void run_crowd(int crowd, struct sample *s)
{
	u64 ns[MAX_WORKERS * PARALLEL_LOOPS], refused[MAX_WORKERS * PARALLEL_LOOPS], sum;
	int nr = crowds[crowd].vms * crowds[crowd].vcpus, i;
	u64 conversions = nr * PARALLEL_LOOPS * 2;
	struct worker workers[MAX_WORKERS];

	TEST_ASSERT(nr <= MAX_WORKERS, "%d threads", nr);
	for (i = 0; i < nr; i += crowds[crowd].vcpus)
		make_workers(workers + i, crowds[crowd].vcpus);
	pthread_barrier_init(&together, NULL, nr);
	for (i = 0; i < nr; i++)
		kvm_pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	for (i = 0; i < nr; i++) {
		kvm_pthread_join(workers[i].thread, NULL);
		memcpy(ns + i * PARALLEL_LOOPS, workers[i].ns, sizeof(workers[i].ns));
		memcpy(refused + i * PARALLEL_LOOPS, workers[i].refused,
		       sizeof(workers[i].refused));
	}
	pthread_barrier_destroy(&together);
	for (i = 0; i < nr; i += crowds[crowd].vcpus) {
		kvm_vm_free(workers[i].guest.vm);
		close(workers[i].fd);
	}

	s += STEP_CROWDS + 2 * crowd;
	sum = crowd_ns(ns, nr * PARALLEL_LOOPS);
	s[0] = (struct sample) { .ns = sum, .units = conversions };
	sum -= min(sum, crowd_ns(refused, nr * PARALLEL_LOOPS));
	s[1] = (struct sample) { .ns = sum, .units = conversions };
}

static void run_parallel(struct sample *s)
{
	int i;

	for (i = 0; i < CROWDS; i++)
		run_crowd(i, s);
}

/* Work that a command leaves to threads of the kernel is done soon. */
#define COMMAND_PAUSE	2

/* Run a command: what it executes, and then threads of the kernel, to some microseconds */
static u64 command_ns(char *const argv[])
{
	struct rusage usage;
	int status;
	pid_t pid;

	background_ns();
	pid = fork();
	TEST_ASSERT(pid >= 0, "fork()");
	if (!pid) {
		dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
		execvp(argv[0], argv);
		_exit(127);
	}
	TEST_ASSERT(wait4(pid, &status, 0, &usage) == pid && !status, "%s %s ended with 0x%x",
		    argv[0], argv[1], status);
	sleep(COMMAND_PAUSE);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NSEC_PER_SEC +
	       (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000 +
	       background_ns();
}

static void run_policy_with(int vms, struct sample *s)
{
	static char *const commands[][4] = {
		{ "gmem-policy", "load", "count" },
		{ "gmem-policy", "replace", "count" },
		{ "gmem-policy", "unload", "count" },
	};
	int kvm = open_path_or_exit(KVM_DEV_PATH, O_RDWR), vm_fds[MANY_VMS], fds[MANY_VMS], i;

	for (i = 0; i < vms; i++) {
		struct kvm_create_guest_memfd args = { .size = SZ_2M };

		vm_fds[i] = new_vm(kvm);
		fds[i] = ioctl(vm_fds[i], KVM_CREATE_GUEST_MEMFD, &args);
		TEST_ASSERT(fds[i] >= 0, "KVM_CREATE_GUEST_MEMFD");
	}
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		s[i] = (struct sample) { .ns = command_ns(commands[i]), .units = 1 };
	for (i = 0; i < vms; i++) {
		close(fds[i]);
		close(vm_fds[i]);
	}
	close(kvm);
}

static void run_policy(struct sample *s)
{
	run_policy_with(1, s + STEP_LOAD_1);
	run_policy_with(MANY_VMS, s + STEP_LOAD_100);
}

static u64 pool_ns(void)
{
	static const char *const names[] = { "gmem_pool/" };
	static u64 *last;

	return kernel_ns(names, ARRAY_SIZE(names), &last);
}

static void fill_pool(char *small, char *large, struct sample *s)
{
	char *const load[] = {
		"gmem-policy", "load", "prezero", "--set", small, "--set", large, NULL
	};
	char *const unload[] = { "gmem-policy", "unload", "prezero", NULL };
	u64 filling = 0, more;

	pool_ns();
	command_ns(load);
	do {
		more = pool_ns();
		filling += more;
		sleep(1);
	} while (more);
	*s = (struct sample) { .ns = filling, .units = POOL_MB * (SZ_1M / PAGE_SIZE) };
	command_ns(unload);
}

static void run_pool(struct sample *s)
{
	fill_pool("pool_small_mb=" STR(POOL_MB), "pool_large_mb=0", s + STEP_POOL_4K);
	fill_pool("pool_small_mb=0", "pool_large_mb=" STR(POOL_MB), s + STEP_POOL_2M);
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
	{ "create", run_create, SZ_2M },
	{ "sizes", run_sizes, SZ_1G },
	{ "parallel", run_parallel, SZ_16M },
	{ "policy", run_policy, SZ_2M },
	{ "pool", run_pool, SZ_2M },
};

static int compare(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	return x->ns < y->ns ? -1 : x->ns > y->ns;
}

/* Name, meaning and unit of a step */
static const char *step_name(int i)
{
	static char name[32];

	if (i < NAMED_STEPS)
		return steps[i].name;
	if (i < STEP_CROWDS) {
		i -= STEP_SIZES;
		snprintf(name, sizeof(name), "%s_%s", size_ops[i / SIZES].name,
			 sizes[i % SIZES].name);
	} else {
		i -= STEP_CROWDS;
		snprintf(name, sizeof(name), "%s%s", crowds[i / 2].name, i % 2 ? "_locked" : "");
	}
	return name;
}

static const char *step_what(int i)
{
	if (i < NAMED_STEPS)
		return steps[i].what;
	if (i < STEP_CROWDS)
		return size_ops[(i - STEP_SIZES) / SIZES].what;
	return (i - STEP_CROWDS) % 2 ? "of that, all but what is done before slots_lock" :
		"convert 2M, by a thread for each vCPU";
}

static bool step_each(int i)
{
	return i < NAMED_STEPS ? steps[i].each : i >= STEP_CROWDS;
}

static void report_json(int i, const struct sample *sorted, u64 counted, bool first)
{
	const struct sample *mid = &sorted[counted / 2];
	double units = mid->units;

	printf("%s\n  \"%s\": {", first ? "" : ",", step_name(i));
	printf("\"ns\": %.3f, \"min\": %.3f, \"max\": %.3f, ", mid->ns / units,
	       sorted[0].ns / units, sorted[counted - 1].ns / units);
	printf("\"unit\": \"%s\", \"units\": %lu, ", step_each(i) ? "each" : "page", mid->units);
	printf("\"decisions\": %lu, \"faults\": %lu, \"what\": \"%s\"}", mid->decisions,
	       mid->faults, step_what(i));
}

static void report_text(int i, const struct sample *mid)
{
	bool each = step_each(i);
	const char *name = step_name(i);

	printf("%s %.1f %s\n", name, (double)mid->ns / mid->units,
	       each ? "ns" : "ns/page");
	if (mid->decisions)
		printf("%s_decisions %.4f %s\n", name,
		       (double)mid->decisions / mid->units, each ? "each" : "1/page");
	if (mid->faults)
		printf("%s_faults %lu\n", name, mid->faults);
}

static void report(bool json)
{
	struct sample s[MAX_ROUNDS];
	u64 counted = rounds - 1;
	bool first = true;
	int i, j;

	if (json)
		printf("{\"schema\": 2, \"pages\": %lu, \"rounds\": %lu, \"steps\": {", pages,
		       counted);
	for (i = 0; i < STEPS; i++) {
		if (!samples[1][i].units)
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
	       "WHAT is pages (the default), fill, conversions, bounce, bounce_fixed, create, sizes,\n"
	       "parallel, policy or pool; the last two run gmem-policy.\n"
	       "  -p, --pages N    pages in each step of pages and fill (%lu)\n"
	       "  -r, --rounds N   rounds; the first is not counted (%lu)\n"
	       "  -a, --all        parallel: of all conversions, not of the cheaper half\n"
	       "  -w, --wall       by the clock on the wall, not that of the thread; not policy, pool\n"
	       "  -j, --json       all of it, as JSON; else lines NAME VALUE UNIT\n"
	       "Costs, of a 4K page where nothing else is said:\n", name, pages, rounds);
	for (i = 0; i < STEPS; i++)
		printf("  %-20s %s\n", step_name(i), step_what(i));
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
		{ "all", no_argument, NULL, 'a' },
		{ "wall", no_argument, NULL, 'w' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	const struct kind *kind;
	bool json = false;
	gva_t gva;
	int opt, i;

	gmem_start_main();
	while ((opt = getopt_long(argc, argv, "p:r:awjh", options, NULL)) != -1) {
		switch (opt) {
		case 'p':
			pages = parse_number(optarg, 1, MAX_PAGES);
			break;
		case 'r':
			rounds = parse_number(optarg, 2, MAX_ROUNDS);
			break;
		case 'a':
			all = true;
			break;
		case 'w':
			clock_id = CLOCK_MONOTONIC;
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
	guest.vm = __vm_create(shape, 1, 0);
	gmem_map_identity(guest.vm, BENCH_GPA, BENCH_GPA + mem_size);
	gva = vm_alloc_page(guest.vm);
	guest.args = addr_gva2hva(guest.vm, gva);
	guest.vcpu = vm_vcpu_add(guest.vm, 0, guest_code);
	vcpu_args_set(guest.vcpu, 1, gva);

	/* Shared memory of the slot: unused, but for clearing pages, which must be there. */
	shared_mem = gmem_mmap_anon(mem_size);
	TEST_ASSERT(shared_mem, "no memory");
	memset(shared_mem, 0xff, min_t(u64, mem_size, SZ_2M));

	find_reading_ns();
	for (i = 0; i < rounds; i++)
		kind->round(samples[i]);
	report(json);
	kvm_vm_free(guest.vm);
	return 0;
}
