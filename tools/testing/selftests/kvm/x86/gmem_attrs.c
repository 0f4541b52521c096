// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory attributes by range, as user space and guests see them: guests read private memory where
 * it was converted to private, shared memory elsewhere, and exit with KVM_EXIT_MEMORY_FAULT where
 * memory is private and there is none.
 *
 *	random		random conversions, each compared with a model that has a flag for each page
 *	failures	the same, and each conversion fails at each of its allocations first
 *	race		vCPUs read while memory is converted; what is not converted, or to what it
 *			is already, never reads as anything else
 *	memory		attributes use memory by ranges, charged to the memory cgroup, and give it
 *			back
 *	cost		what conversions cost (see scripts/boot --icount: 1 ns is 1 instruction)
 *
 * The pages that are looked at are around the places where 2M pages, a 1G page and memslots meet;
 * conversions are of anything from one page to all there is.
 */
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/sizes.h>

#include "gmem_guest.h"
#include "test_util.h"

#define BASE_GPA	(4ULL * SZ_1G)

/* Two memslots meet in the middle of a 2M page; the second has no guest_memfd. */
#define SLOT		10
#define SLOT_SIZE	(SZ_1G + 3ULL * SZ_1M)
#define PLAIN_SLOT	11
#define PLAIN_GPA	(BASE_GPA + SLOT_SIZE)
#define PLAIN_SIZE	((u64)SZ_1M)

static const struct area {
	u64 gpa;
	u64 pages;
} areas[] = {
	{ BASE_GPA, 4 * SZ_1M / PAGE_SIZE },
	{ BASE_GPA + 510ULL * SZ_1M, 4 * SZ_1M / PAGE_SIZE },
	{ BASE_GPA + 1022ULL * SZ_1M, 5 * SZ_1M / PAGE_SIZE },
	{ PLAIN_GPA, PLAIN_SIZE / PAGE_SIZE },
};

#define NR_PAGES	(14 * SZ_1M / PAGE_SIZE)
#define FIRST_PLAIN	(13 * SZ_1M / PAGE_SIZE)

/* What a page holds: whose it is, and which it is. */
#define SHARED(i)	(0x5a5a000000000000ULL + (i))
#define PRIVATE(i)	(0x9191000000000000ULL + (i))
/* It cannot be read: the access exits, for want of private memory. */
#define NO_PRIVATE(i)	(0xfafa000000000000ULL + (i))

#define MAX_VCPUS	16

enum guest_op {
	GUEST_READ,
	GUEST_WRITE,
	GUEST_RACE,
};

/* A command to a vCPU. */
struct guest_args {
	enum guest_op op;
	u64 nr;
	u64 at;
	bool stop;
	bool keep;
	u64 gpas[NR_PAGES];
	u64 values[NR_PAGES];
};

static struct kvm_vm *vm;
static struct kvm_vcpu *vcpus[MAX_VCPUS];
static struct guest_args *args[MAX_VCPUS];
static struct kvm_regs entry[MAX_VCPUS];
static int gmem_fd;
static void *shared_mem;

static bool is_private[NR_PAGES];	/* the model */

static u64 count = 400;
static u64 nr_vcpus = 3;
static struct kvm_random_state rng;

/* Every other 16 pages stay private if some do. */
static bool is_kept(u64 page)
{
	return page / 16 % 2;
}

/* Read anything that may be private or shared just now; it is the one or the other. */
static void guest_race(struct guest_args *a)
{
	u64 seed = a->nr, value;
	unsigned int i;

	while (!READ_ONCE(a->stop)) {
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		i = (seed >> 33) % FIRST_PLAIN;
		value = READ_ONCE(*(u64 *)a->gpas[i]);
		GUEST_ASSERT(value == PRIVATE(i) ||
			     (value == SHARED(i) && !(a->keep && is_kept(i))));
		WRITE_ONCE(a->at, a->at + 1);
	}
}

static void guest_code(struct guest_args *a)
{
	u64 at, *page;

	for (;;) {
		if (READ_ONCE(a->op) == GUEST_RACE) {
			guest_race(a);
			GUEST_SYNC(0);
			continue;
		}
		/* The host may start us anew, at the page after one that exits. */
		while ((at = READ_ONCE(a->at)) < READ_ONCE(a->nr)) {
			page = (u64 *)a->gpas[at];
			if (a->op == GUEST_WRITE)
				WRITE_ONCE(*page, a->values[at]);
			else
				WRITE_ONCE(a->values[at], READ_ONCE(*page));
			WRITE_ONCE(a->at, at + 1);
		}
		GUEST_SYNC(0);
	}
}

static u64 gpa_of(u64 page)
{
	const struct area *area = areas;

	for (; page >= area->pages; area++)
		page -= area->pages;
	return area->gpa + page * PAGE_SIZE;
}

static u64 page_of(int vcpu, u64 at)
{
	const struct area *area = areas;
	u64 gpa = args[vcpu]->gpas[at], page = 0;

	for (; gpa < area->gpa || gpa >= area->gpa + area->pages * PAGE_SIZE; area++)
		page += area->pages;
	return page + (gpa - area->gpa) / PAGE_SIZE;
}

/* Have the vCPU do its command. Accesses to private memory that is not there are results, too. */
static void run(int vcpu)
{
	struct kvm_run *exit = vcpus[vcpu]->run;
	struct guest_args *a = args[vcpu];
	struct ucall uc;

	a->at = 0;
	while (_vcpu_run(vcpus[vcpu])) {
		TEST_ASSERT(errno == EFAULT && exit->exit_reason == KVM_EXIT_MEMORY_FAULT,
			    "page %lu of %lu: errno %d, exit %s", a->at, a->nr, errno,
			    exit_reason_str(exit->exit_reason));
		TEST_ASSERT(exit->memory_fault.flags == KVM_MEMORY_EXIT_FLAG_PRIVATE &&
			    exit->memory_fault.gpa == a->gpas[a->at] &&
			    exit->memory_fault.size == PAGE_SIZE,
			    "the guest reads 0x%lx, and exits with flags 0x%llx, 0x%llx, size 0x%llx",
			    a->gpas[a->at], exit->memory_fault.flags, exit->memory_fault.gpa,
			    exit->memory_fault.size);
		a->values[a->at] = NO_PRIVATE(page_of(vcpu, a->at));
		a->at++;
		vcpu_regs_set(vcpus[vcpu], &entry[vcpu]);
	}
	switch (get_ucall(vcpus[vcpu], &uc)) {
	case UCALL_SYNC:
		break;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
	default:
		TEST_FAIL("exit %s, ucall %lu", exit_reason_str(exit->exit_reason), uc.cmd);
	}
}

static void ask(int vcpu, u64 page)
{
	args[vcpu]->gpas[args[vcpu]->nr++] = gpa_of(page);
}

/* Have the vCPU read what it was asked for, and compare with the model. */
static void check_asked(int vcpu)
{
	struct guest_args *a = args[vcpu];
	u64 i, page, want;

	a->op = GUEST_READ;
	run(vcpu);
	for (i = 0; i < a->nr; i++) {
		page = page_of(vcpu, i);
		want = !is_private[page] ? SHARED(page) :
		       page < FIRST_PLAIN ? PRIVATE(page) : NO_PRIVATE(page);
		TEST_ASSERT(a->values[i] == want, "0x%lx, page %lu: the guest gets 0x%lx, not 0x%lx",
			    a->gpas[i], page, a->values[i], want);
	}
	a->nr = 0;
}

static void check_all(int vcpu)
{
	u64 i;

	args[vcpu]->nr = 0;
	for (i = 0; i < NR_PAGES; i++)
		ask(vcpu, i);
	check_asked(vcpu);
}

/* Check both ends of pages [@first, @last], inside and outside, and some pages anywhere. */
static void check_around(u64 first, u64 last)
{
	u64 i;

	args[0]->nr = 0;
	for (i = first - min_t(u64, first, 4); i <= min(first + 4, last); i++)
		ask(0, i);
	for (i = max(last - min_t(u64, last, 4), first); i <= last + 4 && i < NR_PAGES; i++)
		ask(0, i);
	for (i = 0; i < 32; i++)
		ask(0, kvm_random_u32(&rng) % NR_PAGES);
	check_asked(0);
}

static int try_convert(u64 gpa, u64 size, bool private)
{
	struct kvm_memory_attributes attr = {
		.address = gpa,
		.size = size,
		.attributes = private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
	};

	return ioctl(vm->fd, KVM_SET_MEMORY_ATTRIBUTES, &attr) ? errno : 0;
}

static void convert(u64 gpa, u64 size, bool private)
{
	int err = try_convert(gpa, size, private);

	TEST_ASSERT(!err, "0x%lx, size 0x%lx, to %s: %s", gpa, size,
		    private ? "private" : "shared", strerror(err));
}

static void add_slots(void)
{
	vm_set_user_memory_region2(vm, SLOT, KVM_MEM_GUEST_MEMFD, BASE_GPA, SLOT_SIZE, shared_mem,
				   gmem_fd, 0);
	vm_set_user_memory_region2(vm, PLAIN_SLOT, 0, PLAIN_GPA, PLAIN_SIZE,
				   shared_mem + SLOT_SIZE, -1, 0);
}

/* Memslots that are new find memory with attributes. */
static void renew_slots(void)
{
	vm_set_user_memory_region2(vm, SLOT, KVM_MEM_GUEST_MEMFD, BASE_GPA, 0, shared_mem, gmem_fd,
				   0);
	vm_set_user_memory_region2(vm, PLAIN_SLOT, 0, PLAIN_GPA, 0, shared_mem + SLOT_SIZE, -1, 0);
	add_slots();
}

static void create_vm(u64 vcpus_wanted)
{
	const struct vm_shape shape = {
		.mode = VM_MODE_DEFAULT,
		.type = KVM_X86_SW_PROTECTED_VM,
	};
	u64 args_size = align_up(sizeof(struct guest_args), PAGE_SIZE);
	gva_t gva;
	u64 i;

	vm = __vm_create(shape, vcpus_wanted, vcpus_wanted * args_size / PAGE_SIZE);
	gmem_map_identity(vm, BASE_GPA, BASE_GPA + SLOT_SIZE + PLAIN_SIZE);
	for (i = 0; i < vcpus_wanted; i++) {
		gva = vm_alloc(vm, args_size, KVM_UTIL_MIN_VADDR);
		args[i] = addr_gva2hva(vm, gva);
		vcpus[i] = vm_vcpu_add(vm, i, guest_code);
		vcpu_args_set(vcpus[i], 1, gva);
		vcpu_regs_get(vcpus[i], &entry[i]);
	}

	shared_mem = gmem_mmap_anon(SLOT_SIZE + PLAIN_SIZE);
	TEST_ASSERT(shared_mem, "no memory");
	madvise(shared_mem, SLOT_SIZE + PLAIN_SIZE, MADV_HUGEPAGE);
	gmem_fd = vm_create_guest_memfd(vm, align_up(SLOT_SIZE, SZ_2M), 0);
	add_slots();
}

/* All of it is private, then all of it shared, and each page says which it is. */
static void fill(void)
{
	struct guest_args *a = args[0];
	u64 i;

	convert(BASE_GPA, SLOT_SIZE, true);
	for (i = 0; i < FIRST_PLAIN; i++) {
		a->values[i] = PRIVATE(i);
		ask(0, i);
	}
	a->op = GUEST_WRITE;
	run(0);
	convert(BASE_GPA, SLOT_SIZE, false);

	for (i = 0; i < NR_PAGES; i++)
		*(u64 *)(shared_mem + gpa_of(i) - BASE_GPA) = SHARED(i);
	memset(is_private, 0, sizeof(is_private));
	check_all(0);
}

/* Pages to convert: few in most cases, at times many, or whole 2M pages, or everything. */
static void pick(u64 *first, u64 *last)
{
	const u64 huge = SZ_2M / PAGE_SIZE;
	u64 nr = 1 + kvm_random_u32(&rng) % 16;

	*first = kvm_random_u32(&rng) % NR_PAGES;
	switch (kvm_random_u32(&rng) % 16) {
	case 0:
		*first = 0;
		nr = NR_PAGES;
		break;
	case 1 ... 3:
		nr = 1 + kvm_random_u32(&rng) % NR_PAGES;
		break;
	case 4 ... 6:
		*first -= *first % huge;
		nr = huge * (1 + kvm_random_u32(&rng) % 3);
		break;
	case 7 ... 8:
		nr = 1;
		break;
	}
	*last = min_t(u64, *first + nr, NR_PAGES) - 1;
}

static u64 range_size(u64 first, u64 last)
{
	return gpa_of(last) + PAGE_SIZE - gpa_of(first);
}

static void set_model(u64 first, u64 last, bool private)
{
	memset(&is_private[first], private, last + 1 - first);
}

static void random_ops(bool (*set)(u64 first, u64 last, bool private))
{
	u64 first, last, i;
	bool private;

	fill();
	for (i = 1; i <= count; i++) {
		pick(&first, &last);
		private = kvm_random_bool(&rng);
		if (!set(first, last, private))
			break;
		set_model(first, last, private);
		if (__kvm_random_bool(&rng, 5))
			renew_slots();
		if (i % 32)
			check_around(first, last);
		else
			check_all(0);
	}
	check_all(0);
}

/* Where all is shared and there are 2M pages, they are mapped as such, whatever was before. */
static void check_huge(void)
{
	u64 huge;

	convert(BASE_GPA, SLOT_SIZE + PLAIN_SIZE, true);
	convert(BASE_GPA, SLOT_SIZE + PLAIN_SIZE, false);
	memset(is_private, 0, sizeof(is_private));
	check_all(0);
	huge = vm_get_stat(vm, pages_2m);
	TEST_ASSERT(huge >= 6, "%lu pages of 2M are mapped", huge);
}

static bool set_random(u64 first, u64 last, bool private)
{
	convert(gpa_of(first), range_size(first, last), private);
	return true;
}

static void test_random(void)
{
	create_vm(1);
	random_ops(set_random);
	check_huge();
	kvm_vm_free(vm);
}

static u64 nr_failures;

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	__TEST_REQUIRE(fd >= 0, "no %s: fault injection is not built in, or we are not root", path);
	TEST_ASSERT(write(fd, text, strlen(text)) == strlen(text), "%s: %s", path, strerror(errno));
	close(fd);
}

/* Let the @nth allocation of this thread fail, or none, with 0. */
static void fail_nth(int fd, u64 nth)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%lu", nth);

	TEST_ASSERT(pwrite(fd, text, n, 0) == n, "fail-nth: %s", strerror(errno));
}

/* What fails leaves all as it was; what does not fail is the conversion that was wanted. */
static bool set_failing(u64 first, u64 last, bool private)
{
	int fd = open("/proc/thread-self/fail-nth", O_RDWR), err;
	u64 nth;

	TEST_ASSERT(fd >= 0, "/proc/thread-self/fail-nth: %s", strerror(errno));
	for (nth = 1; ; nth++) {
		fail_nth(fd, nth);
		err = try_convert(gpa_of(first), range_size(first, last), private);
		fail_nth(fd, 0);
		if (!err)
			break;
		TEST_ASSERT(err == ENOMEM, "allocation %lu fails: %s", nth, strerror(err));
		nr_failures++;
		check_around(first, last);
		if (nr_failures % 16 == 0)
			check_all(0);
	}
	close(fd);
	return true;
}

static void test_failures(void)
{
	static const char * const which[] = { "failslab", "fail_page_alloc" };
	char path[64];
	int i;

	for (i = 0; i < ARRAY_SIZE(which); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/ignore-gfp-wait", which[i]);
		write_file(path, "N");
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/verbose", which[i]);
		write_file(path, "0");
	}
	write_file("/sys/kernel/debug/fail_page_alloc/min-order", "0");

	create_vm(1);
	random_ops(set_failing);
	check_huge();
	kvm_vm_free(vm);
	TEST_ASSERT(nr_failures >= count / 8, "only %lu conversions failed", nr_failures);
	printf("failures %lu\n", nr_failures);
}

/* An access that meets a conversion half way may exit, and is tried again. */
static bool is_retried(int vcpu)
{
	struct kvm_run *exit = vcpus[vcpu]->run;
	u64 page;

	if (errno != EFAULT || exit->exit_reason != KVM_EXIT_MEMORY_FAULT)
		return false;
	for (page = 0; page < FIRST_PLAIN; page++)
		if (exit->memory_fault.gpa == gpa_of(page))
			return !args[vcpu]->keep || !is_kept(page);
	return false;
}

static void *run_race(void *arg)
{
	int vcpu = (long)arg, ret;
	struct ucall uc;

	do {
		ret = _vcpu_run(vcpus[vcpu]);
	} while (ret && is_retried(vcpu));
	TEST_ASSERT(!ret, "errno %d, exit %s, 0x%llx", errno,
		    exit_reason_str(vcpus[vcpu]->run->exit_reason),
		    vcpus[vcpu]->run->memory_fault.gpa);
	if (get_ucall(vcpus[vcpu], &uc) == UCALL_ABORT)
		REPORT_GUEST_ASSERT(uc);
	TEST_ASSERT_EQ(uc.cmd, UCALL_SYNC);
	return NULL;
}

/* As pick(), but what is kept private is not converted to shared. */
static bool pick_kept(u64 *first, u64 *last)
{
	pick(first, last);
	*last = min_t(u64, *last, FIRST_PLAIN - 1);
	if (*first > *last || kvm_random_bool(&rng)) {
		*first = min_t(u64, *first, FIRST_PLAIN - 1);
		*last = max(*first, *last);
		return true;
	}
	if (is_kept(*first))
		*first -= 16;
	*last = min_t(u64, *last, *first | 15);
	return false;
}

static void race(bool keep)
{
	pthread_t threads[MAX_VCPUS];
	u64 i, j, first, last, reads;
	bool private;

	if (keep) {
		convert(BASE_GPA, SLOT_SIZE, true);
		set_model(0, FIRST_PLAIN - 1, true);
	}
	for (i = 0; i < nr_vcpus; i++) {
		args[i]->op = GUEST_RACE;
		args[i]->at = 0;
		args[i]->nr = i;
		args[i]->keep = keep;
		args[i]->stop = false;
		for (j = 0; j < FIRST_PLAIN; j++)
			args[i]->gpas[j] = gpa_of(j);
		pthread_create(&threads[i], NULL, run_race, (void *)i);
	}
	for (i = 0; i < count; i++) {
		if (keep) {
			private = pick_kept(&first, &last);
		} else {
			pick(&first, &last);
			private = kvm_random_bool(&rng);
		}
		convert(gpa_of(first), range_size(first, last), private);
		set_model(first, last, private);
		/*
		 * Wait now and then until each vCPU has read something. In between there are pages
		 * that they find unmapped, with the next conversion under way.
		 */
		if (i % 8)
			continue;
		for (j = 0; j < nr_vcpus; j++)
			for (reads = READ_ONCE(args[j]->at); reads == READ_ONCE(args[j]->at);)
				sched_yield();
	}
	for (i = 0, reads = 0; i < nr_vcpus; i++) {
		WRITE_ONCE(args[i]->stop, true);
		pthread_join(threads[i], NULL);
		reads += args[i]->at;
	}
	for (i = 0; i < nr_vcpus; i++)
		check_all(i);
	printf("reads %lu\n", reads);
}

static void test_race(void)
{
	create_vm(nr_vcpus);
	fill();
	race(false);
	race(true);
	kvm_vm_free(vm);
}

/* Bytes charged to the cgroup that we are in. */
static u64 memory_charged(void)
{
	char line[256], path[512] = "";
	u64 bytes;
	FILE *f;

	f = fopen("/proc/self/cgroup", "r");
	TEST_ASSERT(f, "/proc/self/cgroup: %s", strerror(errno));
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, "0::", 3))
			snprintf(path, sizeof(path), "/sys/fs/cgroup%.*s/memory.current",
				 (int)strcspn(line + 3, "\n"), line + 3);
	fclose(f);

	f = fopen(path, "r");
	__TEST_REQUIRE(f, "no '%s': we are not in a cgroup that accounts for memory", path);
	TEST_ASSERT(fscanf(f, "%lu", &bytes) == 1, "%s", path);
	fclose(f);
	return bytes;
}

/*
 * Charges are kept ready for each CPU by the batch, which is 64 pages: with 4 CPUs, 1 MiB. What is
 * little more than that is nothing.
 */
#define NOISE		((u64)SZ_1M + SZ_128K)

/* What a range may take: an object, twice as large where KASAN is, and whose cgroup it is. */
#define LEAST_OF_RANGE	64
#define MOST_OF_RANGE	(128 + sizeof(void *))

/* As long as there is progress, wait: what is not in use any more is freed after a grace period. */
static void expect_charged(u64 before, u64 least, u64 most, const char *what)
{
	u64 now, last = -1;
	int idle;

	for (idle = 0; idle < 300; idle++) {
		now = memory_charged();
		now -= min(now, before);
		if (now >= least - min(least, NOISE) && now <= most + NOISE)
			break;
		if (now != last)
			idle = 0;
		last = now;
		usleep(100000);
	}
	printf("charged %lu %s\n", now, what);
	TEST_ASSERT(idle < 300, "%s: %lu bytes, and not from %lu to %lu", what, now, least, most);
}

static void convert_each(u64 gpa, u64 nr, bool private)
{
	u64 i;

	for (i = 0; i < nr; i++)
		convert(gpa + 2 * i * PAGE_SIZE, PAGE_SIZE, private);
}

static void test_memory(void)
{
	const u64 nr = SZ_64K, size = 2 * nr * PAGE_SIZE;
	const u64 least = nr * LEAST_OF_RANGE, most = nr * MOST_OF_RANGE;
	u64 before;

	vm = vm_create_barebones_type(KVM_X86_SW_PROTECTED_VM);
	before = memory_charged();

	/* One range, whatever its size: all that there is but the last page. */
	convert(0, -2 * PAGE_SIZE, true);
	expect_charged(before, 0, 0, "one range of 16 EiB");
	convert(0, -2 * PAGE_SIZE, false);
	expect_charged(before, 0, 0, "no range");

	/* Every other page is private, then the gaps become so in one go, or one by one. */
	convert_each(BASE_GPA, nr, true);
	expect_charged(before, least, most, "65536 ranges of one page");
	convert(BASE_GPA, size, true);
	expect_charged(before, 0, 0, "one range of them all");
	convert_each(BASE_GPA, nr, false);
	expect_charged(before, least, most, "65536 ranges again");
	convert_each(BASE_GPA, nr, true);
	expect_charged(before, 0, 0, "one range, page by page");

	convert_each(BASE_GPA, nr, false);
	kvm_vm_free(vm);
	expect_charged(before, 0, 0, "no VM");
}

static u64 time_convert(u64 gpa, u64 size, bool private)
{
	u64 start = gmem_now_ns();

	convert(gpa, size, private);
	return gmem_now_ns() - start;
}

/* The least of a few times, to private and to shared. */
static void cost_of(const char *name, u64 gpa, u64 size, bool other, bool touch)
{
	u64 best[2] = { -1, -1 }, a, ns, i;

	for (i = 0; i < 5; i++) {
		if (touch) {
			for (a = 0, args[0]->nr = 0; a < size && args[0]->nr < NR_PAGES; a += SZ_2M)
				args[0]->gpas[args[0]->nr++] = gpa + a;
			args[0]->op = GUEST_READ;
			run(0);
		}
		ns = time_convert(gpa, size, !other);
		best[0] = min(best[0], ns);
		ns = time_convert(gpa, size, other);
		best[1] = min(best[1], ns);
	}
	printf("%s %lu ns there, %lu ns back, %lu ns\n", name, best[0], best[1], best[0] + best[1]);
}

static void test_cost(void)
{
	create_vm(1);
	cost_of("page_among_shared", BASE_GPA + SZ_64K, PAGE_SIZE, false, false);
	cost_of("64M", BASE_GPA, SZ_64M, false, false);
	cost_of("1G", BASE_GPA, SZ_1G, false, false);
	memset(shared_mem, 1, SZ_1G);
	cost_of("64M_mapped_2M", BASE_GPA, SZ_64M, false, true);
	cost_of("1G_mapped_2M", BASE_GPA, SZ_1G, false, true);
	convert(BASE_GPA, SZ_1G, true);
	cost_of("page_among_private", BASE_GPA + SZ_64K, PAGE_SIZE, true, false);
	convert(BASE_GPA, SZ_1G, false);
	convert_each(BASE_GPA + SZ_512M, 64, true);
	cost_of("page_beside_64_ranges", BASE_GPA + SZ_64K, PAGE_SIZE, false, false);
	convert_each(BASE_GPA + SZ_512M, SZ_64K, true);
	cost_of("page_beside_65536_ranges", BASE_GPA + SZ_64K, PAGE_SIZE, false, false);
	kvm_vm_free(vm);
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "random", test_random },
	{ "failures", test_failures },
	{ "race", test_race },
	{ "memory", test_memory },
	{ "cost", test_cost },
};

static void help(FILE *to)
{
	fprintf(to,
		"usage: gmem_attrs [-s SEED] [-n COUNT] [-v VCPUS] TEST\n"
		"TEST is random, failures, race, memory, or cost.\n"
		"  -s, --seed N    of the random conversions: one that was printed gives the same\n"
		"  -n, --count N   conversions (%lu)\n"
		"  -v, --vcpus N   vCPUs that race (%lu, at most %u)\n",
		count, nr_vcpus, MAX_VCPUS);
}

static u64 parse_number(const char *s, u64 least, u64 most)
{
	u64 n;

	if (gmem_parse_u64(s, &n) && n >= least && n <= most)
		return n;
	fprintf(stderr, "gmem_attrs: '%s' is not a number from %lu to %lu\n", s, least, most);
	exit(2);
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "count", required_argument, NULL, 'n' },
		{ "vcpus", required_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	u32 seed = time(NULL);
	int opt, i;

	gmem_start_main();
	while ((opt = getopt_long(argc, argv, "s:n:v:h", options, NULL)) != -1) {
		switch (opt) {
		case 's':
			seed = parse_number(optarg, 0, UINT32_MAX);
			break;
		case 'n':
			count = parse_number(optarg, 1, UINT32_MAX);
			break;
		case 'v':
			nr_vcpus = parse_number(optarg, 1, MAX_VCPUS);
			break;
		case 'h':
			help(stdout);
			return 0;
		default:
			help(stderr);
			return 2;
		}
	}
	TEST_REQUIRE(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM));

	for (i = 0; optind == argc - 1 && i < ARRAY_SIZE(tests); i++) {
		if (strcmp(argv[optind], tests[i].name))
			continue;
		printf("seed %u\n", seed);
		fflush(stdout);
		rng = new_kvm_random_state(seed);
		tests[i].run();
		printf("ok %s\n", tests[i].name);
		return 0;
	}
	help(stderr);
	return 2;
}
