// SPDX-License-Identifier: GPL-2.0-only
/*
 * Many VMs, side by side and one after the other, all of them writing secrets into their memory:
 * none may read what another wrote, or what it has itself given away.
 *
 * Each VM is a process. It writes patterns that name it, by the guest and by the host, punches,
 * converts, populates and replaces its memory, and reads it: what it did not write since it got the
 * page must be zeroes. Some of the VMs end in order, some at any moment by a signal; the next ones
 * get the memory that they leave. Allocations fail now and then, and shrinkers are called.
 *
 * What is to be found is in the kernel, below any policy: run it under each.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <linux/falloc.h>
#include <linux/sizes.h>

#include "gmem_failing.h"
#include "gmem_guest.h"
#include "gmem_memory.h"
#include "gmem_options.h"
#include "gmem_random.h"
#include "test_util.h"

#define MAX_WORKERS	16
#define LOG		12	/* last operations, to be printed */
#define VM_OPS_LEAST	150	/* operations of a VM */
#define VM_OPS_MOST	800
#define LIFE_MS		2000	/* most that a VM lives that is to be killed */
#define SHRINK_S	20	/* from one time that pools are shrunk to the next */

#define HUGE_PAGES	((u64)(SZ_2M / PAGE_SIZE))
#define TAIL_PAGES	64	/* that a small VM may have beside a folio of 2M */

#define SLOT_CONTROL	1
#define SLOT_MEM	2
#define CONTROL_GPA	(4ULL * SZ_1G)
#define TAGS_OFFSET	PAGE_SIZE
#define CONTROL_SIZE	SZ_2M
#define MEM_GPA		(8ULL * SZ_1G)
#define MAX_SIZE	SZ_512M		/* the tags of its pages fit behind the command */

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED	24
#endif

static struct {
	u64 seed;
	u64 ops;
	u64 workers;
	u64 size;
	bool leak;
	bool verbose;
} opt = {
	.ops = 10000,
	.workers = 2,
	.size = SZ_8M,
};

/* Ways in which memory was zeroed, as fdinfo has them */
static const char * const zeroed_names[] = { "first-use", "alloc", "ahead", "free", "pool" };

/**
 * struct shared - what all processes share
 * @ops: operations
 * @vms: VMs that were begun
 * @killed: VMs that a signal ended
 * @compared: pages that were compared
 * @blocks: operations on whole blocks of 2M, one or more
 * @shrunk: times that caches, and so pools, were shrunk
 * @shrink_at: when they will be next, by gmem_now_ns()
 * @failed: operations for which memory could not be had, and which were done again
 * @zeroed: bytes, by zeroed_names
 * @recycled: pages that were punched out into pools
 * @large: folios of 2M
 * @end: no more VMs
 */
static struct shared {
	u64 ops;
	u64 vms;
	u64 killed;
	u64 compared;
	u64 blocks;
	u64 shrunk;
	u64 shrink_at;
	u64 failed;
	u64 zeroed[ARRAY_SIZE(zeroed_names)];
	u64 recycled;
	u64 large;
	bool end;
} *shared;

struct range {
	u64 first;
	u64 nr;
};

struct record {
	u64 nr;
	const char *what;
	struct range range;
	bool pressure;
};

/* The VM of this process */
static u64 vm_nr;
static bool host_maps;			/* the host maps the file; else it is private memory */
static u64 nr_pages;
static u64 *file_tags;			/* what each page of the file must read as; 0: zeroes */
static u64 *anon_tags;			/* the same of the shared memory beside it */
static bool *is_private;		/* the attribute of each guest frame */
static u64 generation;			/* patterns written */
static struct kvm_vm *vm;
static struct kvm_vcpu *vcpu;
static struct kvm_regs entry;
static struct gmem_guest_cmd *cmd;	/* and behind it, its tags */
static u64 *cmd_tags;
static int gmem_fd;
static void *host_mem;			/* the file's mapping, or the shared memory */
static int pinned[2] = { -1, -1 };	/* a pipe that refers to a page of the file */
static bool can_press, pressure;
static int fail_fd = -1;		/* our make-it-fail: opening it might just fail */
static u64 random_state;
static u64 nr_ops;
static struct record op_log[LOG];

static u64 share_add(u64 *sum, u64 n)
{
	return __atomic_fetch_add(sum, n, __ATOMIC_RELAXED);
}

/* Chance */

static u64 below(u64 n)
{
	return gmem_below(&random_state, n);
}

static bool one_in(u64 n)
{
	return !below(n);
}

/* Below what the length of a range is: by chance, in 26ths. */
static u64 random_length(void)
{
	u64 pick = below(26);

	if (pick < 16)
		return 4;
	if (pick < 24)
		return 32;
	return pick == 24 ? HUGE_PAGES : 2 * HUGE_PAGES;
}

/*
 * Mostly few pages, sometimes any number; now and then the bounds, or one of them, are those of 2M.
 * What goes wrong goes wrong at bounds, and many short ranges have more of them than the same time
 * spent on long ones.
 */
static struct range random_range(u64 most)
{
	u64 first = below(nr_pages);
	u64 end = first + 1 + below(random_length());
	bool whole = one_in(16);

	if (one_in(16) || whole)
		first = first / HUGE_PAGES * HUGE_PAGES;
	if (one_in(16) || whole)
		end = align_up(end, HUGE_PAGES);
	end = min(end, nr_pages);
	return (struct range) { .first = first, .nr = min(end - first, most) };
}

/* Secrets: the tag of a pattern says whose it is. */

#define TAG_MAGIC	0x5ec2ULL

static u64 new_tag(void)
{
	return TAG_MAGIC << 48 | (vm_nr & 0xffffff) << 24 | (++generation & 0xffffff);
}

static void explain_word(char *text, size_t size, u64 got, unsigned int word)
{
	u64 tag = got - (gmem_pattern(1, word) - 1);

	if (!got)
		snprintf(text, size, "zeroes");
	else if (tag >> 48 != TAG_MAGIC)
		snprintf(text, size, "no secret that was written in this run");
	else if ((tag >> 24 & 0xffffff) == (vm_nr & 0xffffff))
		snprintf(text, size, "the %lu. secret of this VM itself", tag & 0xffffff);
	else
		snprintf(text, size, "the %lu. secret of VM %lu", tag & 0xffffff,
			 tag >> 24 & 0xffffff);
}

/* What went wrong */

static void print_op(const struct record *r)
{
	printf("  VM %lu, operation %lu: %s", vm_nr, r->nr, r->what);
	if (r->range.nr)
		printf(", pages %lu to %lu of %lu", r->range.first,
		       r->range.first + r->range.nr - 1, nr_pages);
	puts(r->pressure ? ", under pressure" : "");
}

static void __printf(1, 2) __noreturn fail(const char *fmt, ...)
{
	va_list ap;
	int i;

	printf("FAIL: seed %lu, VM %lu (%s), operation %lu: ", opt.seed, vm_nr,
	       host_maps ? "mapped by the host" : "private", nr_ops);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\nIts last operations:\n");
	for (i = 0; i < LOG; i++)
		if (op_log[(nr_ops + i) % LOG].what)
			print_op(&op_log[(nr_ops + i) % LOG]);
	fflush(stdout);
	_exit(1);
}

static void __noreturn mismatch(u64 page, unsigned int word, u64 got, u64 tag, const char *who)
{
	char what[64];

	explain_word(what, sizeof(what), got, word);
	fail("page %lu, byte %lu: %s should read 0x%016lx (%s), and reads 0x%016lx: %s", page,
	     word * sizeof(u64), who, gmem_pattern(tag, word), tag ? "its own secret" : "zeroes",
	     got, what);
}

static bool has_block(struct range r)
{
	return align_up(r.first, HUGE_PAGES) + HUGE_PAGES <= r.first + r.nr;
}

static void log_op(const char *what, struct range range)
{
	struct record *r = &op_log[nr_ops % LOG];

	share_add(&shared->blocks, has_block(range));
	*r = (struct record) { .nr = nr_ops++, .what = what, .range = range, .pressure = pressure };
	share_add(&shared->ops, 1);
	if (opt.verbose) {
		print_op(r);
		fflush(stdout);
	}
}

/* Allocations that fail */

static void press(bool on)
{
	if (fail_fd < 0 || on == pressure)
		return;
	TEST_ASSERT(pwrite(fail_fd, on ? "1" : "0", 1, 0) == 1, "make-it-fail: %s",
		    strerror(errno));
	pressure = on;
}

/* It failed: may it, and is it to be done again, with all the memory that there is? */
static void again(const char *what)
{
	if (errno == EINTR || errno == EAGAIN)
		return;
	if (!pressure || (errno != ENOMEM && errno != EFAULT))
		fail("%s: %s", what, strerror(errno));
	share_add(&shared->failed, 1);
	press(false);
}

/* Accesses */

/* What the guest sees of a page: the file, or the shared memory. */
static u64 *guest_tag(u64 page)
{
	return host_maps || is_private[page] ? &file_tags[page] : &anon_tags[page];
}

static u64 *host_tag(u64 page)
{
	return host_maps ? &file_tags[page] : &anon_tags[page];
}

/* Have the guest execute the command; where it failed it goes on. */
static void run_guest(void)
{
	struct ucall uc;

	while (_vcpu_run(vcpu)) {
		again("KVM_RUN");
		vcpu_regs_set(vcpu, &entry);
	}
	if (vcpu->run->exit_reason != KVM_EXIT_IO || get_ucall(vcpu, &uc) != UCALL_SYNC)
		fail("0x%lx: the guest exited: %s", cmd->gpa + cmd->at,
		     exit_reason_str(vcpu->run->exit_reason));
}

static void guest_do(enum gmem_guest_op op, struct range r)
{
	u64 i, page;

	*cmd = (struct gmem_guest_cmd) {
		.op = op, .gpa = MEM_GPA + r.first * PAGE_SIZE, .len = r.nr * PAGE_SIZE,
		.tags = (u64 *)(CONTROL_GPA + TAGS_OFFSET),
	};
	for (i = 0; i < r.nr; i++) {
		if (op == GMEM_GUEST_FILL)
			*guest_tag(r.first + i) = new_tag();
		cmd_tags[i] = *guest_tag(r.first + i);
	}
	run_guest();
	if (op != GMEM_GUEST_CHECK)
		return;
	share_add(&shared->compared, r.nr);
	if (cmd->result) {
		page = (cmd->bad_gpa - MEM_GPA) / PAGE_SIZE;
		mismatch(page, cmd->bad_gpa % PAGE_SIZE / sizeof(u64), cmd->got, *guest_tag(page),
			 "the guest");
	}
}

static void populate(struct range r, int advice)
{
	while (madvise(host_mem + r.first * PAGE_SIZE, r.nr * PAGE_SIZE, advice))
		again("madvise");
}

static void host_do(bool write, struct range r)
{
	u64 i, *mem;
	int word;

	/* A fault that finds no memory is tried again and again, and that says nothing new. */
	if (pressure)
		populate(r, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
	press(false);

	for (i = r.first; i < r.first + r.nr; i++) {
		mem = host_mem + i * PAGE_SIZE;
		if (write) {
			*host_tag(i) = new_tag();
			gmem_fill_page(mem, *host_tag(i));
			continue;
		}
		word = gmem_check_page(mem, *host_tag(i));
		if (word >= 0)
			mismatch(i, word, READ_ONCE(mem[word]), *host_tag(i), "the host");
	}
	if (!write)
		share_add(&shared->compared, r.nr);
}

/* Operations */

static void op_guest_write(struct range r)
{
	log_op("guest write", r);
	guest_do(GMEM_GUEST_FILL, r);
}

static void op_guest_read(struct range r)
{
	log_op("guest read", r);
	guest_do(GMEM_GUEST_CHECK, r);
}

static void op_host_write(struct range r)
{
	log_op("host write", r);
	host_do(true, r);
}

static void op_host_read(struct range r)
{
	log_op("host read", r);
	host_do(false, r);
}

static void do_fallocate(struct range r, int flags, const char *what)
{
	while (fallocate(gmem_fd, FALLOC_FL_KEEP_SIZE | flags, r.first * PAGE_SIZE,
			 r.nr * PAGE_SIZE))
		again(what);
}

static void op_fallocate(struct range r)
{
	log_op("fallocate", r);
	do_fallocate(r, 0, "fallocate");
}

static void do_punch(struct range r)
{
	do_fallocate(r, FALLOC_FL_PUNCH_HOLE, "punch");
	memset(&file_tags[r.first], 0, r.nr * sizeof(*file_tags));
}

static void op_punch(struct range r)
{
	log_op("punch", r);
	do_punch(r);
}

static void op_prefault(struct range r)
{
	struct kvm_pre_fault_memory range = {
		.gpa = MEM_GPA + r.first * PAGE_SIZE,
		.size = r.nr * PAGE_SIZE,
	};

	log_op("prefault", r);
	while (range.size && __vcpu_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &range))
		again("KVM_PRE_FAULT_MEMORY");
}

static void convert(struct range r, bool to_private)
{
	struct kvm_memory_attributes attr = {
		.attributes = to_private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
		.address = MEM_GPA + r.first * PAGE_SIZE,
		.size = r.nr * PAGE_SIZE,
	};

	while (__vm_ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, &attr))
		again("KVM_SET_MEMORY_ATTRIBUTES");
	memset(&is_private[r.first], to_private, r.nr * sizeof(*is_private));
}

static void discard_anon(struct range r)
{
	if (madvise(host_mem + r.first * PAGE_SIZE, r.nr * PAGE_SIZE, MADV_DONTNEED))
		fail("madvise(dontneed): %s", strerror(errno));
	memset(&anon_tags[r.first], 0, r.nr * sizeof(*anon_tags));
}

/* As VMMs do: what is not seen any more is given back, or kept. */
static void op_convert(struct range r)
{
	bool to_private = one_in(2), discard = !one_in(4);

	log_op(to_private ? "convert to private" : "convert to shared", r);
	convert(r, to_private);
	if (discard && to_private)
		discard_anon(r);
	else if (discard)
		do_punch(r);
}

static void op_madvise(struct range r)
{
	static const int advices[] = {
		MADV_DONTNEED_LOCKED, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
	};

	log_op("madvise", r);
	populate(r, advices[below(ARRAY_SIZE(advices))]);
}

static void unpin(void)
{
	close(pinned[0]);
	close(pinned[1]);
	pinned[0] = -1;
}

/*
 * Have a pipe refer to a page of the file, or no longer: what it refers to can neither be scrubbed
 * nor recycled, and the pipe reads it after it left the file.
 */
static void op_pin(struct range r)
{
	struct iovec page = { .iov_base = host_mem + r.first * PAGE_SIZE, .iov_len = PAGE_SIZE };

	log_op("pin", r);
	press(false);
	if (pinned[0] >= 0) {
		unpin();
		return;
	}
	if (pipe(pinned))
		fail("pipe: %s", strerror(errno));
	if (vmsplice(pinned[1], &page, 1, 0) != PAGE_SIZE)
		fail("vmsplice: %s", strerror(errno));
}

/* Locked pages are counted, and have a flag, that they must not take along. */
static void op_mlock(struct range r)
{
	void *mem = host_mem + r.first * PAGE_SIZE;

	log_op("mlock", r);
	press(false);
	if (one_in(3) ? munlock(mem, r.nr * PAGE_SIZE) : mlock(mem, r.nr * PAGE_SIZE))
		fail("mlock: %s", strerror(errno));
}

static void map_file(void)
{
	host_mem = mmap(host_mem, nr_pages * PAGE_SIZE, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_FIXED, gmem_fd, 0);
	if (host_mem == MAP_FAILED)
		fail("mmap of the file: %s", strerror(errno));
}

static void create_file(void)
{
	u64 flags = host_maps ? GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED : 0;

	gmem_fd = vm_create_guest_memfd(vm, nr_pages * PAGE_SIZE, flags);
	if (host_maps)
		map_file();
}

static void set_slot(u64 size)
{
	if (__vm_set_user_memory_region2(vm, SLOT_MEM, KVM_MEM_GUEST_MEMFD, MEM_GPA, size,
					 host_mem, gmem_fd, 0))
		fail("a memslot of %lu bytes: %s", size, strerror(errno));
}

/* What of the file was done by policies, before it is closed */
static void look_at_fdinfo(void)
{
	char path[64], line[256], name[64];
	u64 n;
	FILE *f;
	int i;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", gmem_fd);
	f = fopen(path, "r");
	TEST_ASSERT(f, "%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "gmem-%63[^:]: %lu", name, &n) != 2)
			continue;
		if (!strcmp(name, "recycled"))
			share_add(&shared->recycled, n);
		if (!strcmp(name, "folios-order-9"))
			share_add(&shared->large, n);
		for (i = 0; i < ARRAY_SIZE(zeroed_names); i++)
			if (!strncmp(name, "zeroed-", 7) && !strcmp(name + 7, zeroed_names[i]))
				share_add(&shared->zeroed[i], n);
	}
	fclose(f);
}

/* Another file in the place of this one: the same guest must find nothing in it. */
static void op_replace(struct range r)
{
	log_op("replace the file of", r);
	press(false);
	set_slot(0);
	look_at_fdinfo();
	close(gmem_fd);
	memset(file_tags, 0, nr_pages * sizeof(*file_tags));
	create_file();
	set_slot(nr_pages * PAGE_SIZE);
}

/*
 * As memory pressure does, without the pressure: pools give all back. They are left alone for 10 s
 * then, so it is not an operation like others, or there never would be anything in them.
 */
static void shrink_now_and_then(void)
{
	u64 due = READ_ONCE(shared->shrink_at), now = gmem_now_ns();

	if (now < due || !__atomic_compare_exchange_n(&shared->shrink_at, &due,
						      now + SHRINK_S * 1000000000ULL, false,
						      __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return;
	log_op("shrink caches", (struct range) {});
	gmem_write_sysctl("/proc/sys/vm/drop_caches", "2");
	share_add(&shared->shrunk, 1);
}

/* Those who work in the background get their turn. */
static void op_sleep(struct range r)
{
	struct timespec ts = { .tv_nsec = (1 + below(40)) * 1000000 };

	log_op("sleep", (struct range) {});
	nanosleep(&ts, NULL);
}

/**
 * struct op - a kind of operation
 * @fn: logs it, and does it
 * @weight: how often: with private memory, and where the host maps it
 * @most: pages; 0: any number
 */
struct op {
	void (*fn)(struct range r);
	u32 weight[2];
	u32 most;
};

static const struct op ops[] = {
	{ op_guest_write, { 100, 60 } },
	{ op_guest_read, { 100, 80 } },
	{ op_host_write, { 20, 60 } },
	{ op_host_read, { 20, 80 } },
	{ op_fallocate, { 40, 40 } },
	{ op_prefault, { 40, 40 } },
	{ op_punch, { 100, 100 } },
	{ op_convert, { 80, 0 } },
	{ op_madvise, { 0, 40 } },
	{ op_pin, { 0, 20 }, 1 },
	{ op_mlock, { 0, 10 }, 16 },
	{ op_replace, { 20, 20 } },
	{ op_sleep, { 20, 20 } },
};

static const struct op *random_op(void)
{
	u64 sum = 0, pick;
	int i;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		sum += ops[i].weight[host_maps];
	pick = below(sum);
	for (i = 0; pick >= ops[i].weight[host_maps]; i++)
		pick -= ops[i].weight[host_maps];
	return &ops[i];
}

static void turn(void)
{
	const struct op *op = random_op();

	shrink_now_and_then();
	press(one_in(8));
	op->fn(random_range(op->most ?: nr_pages));
	press(false);
}

/* A VM's life */

static void *alloc_model(size_t each)
{
	void *p = calloc(nr_pages, each);

	TEST_ASSERT(p, "memory for the model");
	return p;
}

static void create_vm(void)
{
	const struct vm_shape shape = {
		.mode = VM_MODE_DEFAULT,
		.type = host_maps ? VM_TYPE_DEFAULT : KVM_X86_SW_PROTECTED_VM,
	};
	u64 window = align_up(nr_pages * PAGE_SIZE, SZ_2M);
	void *control;

	/* That is room for page tables of 4K mappings: plenty for these of 2M. */
	vm = __vm_create(shape, 1, (window + CONTROL_SIZE) / PAGE_SIZE);
	control = gmem_mmap_anon(CONTROL_SIZE);
	host_mem = gmem_mmap_anon(window);
	TEST_ASSERT(control && host_mem, "mmap(): %s", strerror(errno));
	vm_set_user_memory_region2(vm, SLOT_CONTROL, 0, CONTROL_GPA, CONTROL_SIZE, control, -1, 0);
	gmem_map_identity(vm, CONTROL_GPA, CONTROL_GPA + CONTROL_SIZE);
	gmem_map_identity(vm, MEM_GPA, MEM_GPA + window);
	cmd = control;
	cmd_tags = control + TAGS_OFFSET;
	vcpu = vm_vcpu_add(vm, 0, gmem_guest_main);
	vcpu_args_set(vcpu, 1, CONTROL_GPA);
	vcpu_regs_get(vcpu, &entry);

	create_file();
	set_slot(nr_pages * PAGE_SIZE);
	if (!host_maps)
		convert((struct range) { .nr = nr_pages }, true);
}

/* All of it, in each way that there is to read it */
static void check_all(void)
{
	const struct range all = { .nr = nr_pages };

	op_guest_read(all);
	op_host_read(all);
	if (!host_maps) {
		convert(all, true);
		op_guest_read(all);
	}
}

/* As if the VM wrote what is another's: it must be noticed. */
static void leak_one(void)
{
	const struct range one = { .first = nr_pages / 2, .nr = 1 };

	do_punch(one);
	vm_nr++;
	guest_do(GMEM_GUEST_FILL, one);
	vm_nr--;
	*guest_tag(one.first) = 0;
}

/* Half of the VMs have room for a folio of 2M, and perhaps a tail: many operations meet there. */
static u64 random_size(void)
{
	u64 most = opt.size / PAGE_SIZE;
	u64 pages = 1 + below(one_in(2) ? min(most, HUGE_PAGES + TAIL_PAGES) : most);

	return one_in(2) ? align_up(pages, HUGE_PAGES) : pages;
}

/* Be killed at any moment from now on */
static void die_later(void)
{
	u64 ms = 1 + below(LIFE_MS - 1);
	const struct itimerval timer = {
		.it_value = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 },
	};

	setitimer(ITIMER_REAL, &timer, NULL);
}

static void __noreturn live(void)
{
	bool dies, dies_young;
	u64 n;

	random_state = gmem_mix(opt.seed << 24 ^ vm_nr);
	host_maps = one_in(2);
	nr_pages = random_size();
	n = VM_OPS_LEAST + below(VM_OPS_MOST - VM_OPS_LEAST + 1);
	dies = one_in(2);
	/* Most of them when there is something to be found in their memory */
	dies_young = one_in(8);
	if (dies && dies_young)
		die_later();

	file_tags = alloc_model(sizeof(*file_tags));
	anon_tags = alloc_model(sizeof(*anon_tags));
	is_private = alloc_model(sizeof(*is_private));
	if (can_press)
		fail_fd = open("/proc/thread-self/make-it-fail", O_WRONLY);
	create_vm();
	if (dies && !dies_young)
		die_later();
	while (n--)
		turn();
	if (opt.leak)
		leak_one();
	check_all();
	look_at_fdinfo();
	/* Half of them undo what they did, and leave it to the kernel to undo the rest. */
	if (one_in(2)) {
		set_slot(0);
		close(gmem_fd);
	}
	_exit(0);
}

/* Run VMs until enough was done, one at a time. */
static void __noreturn work(void)
{
	int status;
	pid_t pid;

	while (share_add(&shared->ops, 0) < opt.ops && !READ_ONCE(shared->end)) {
		vm_nr = share_add(&shared->vms, 1) + 1;
		pid = fork();
		TEST_ASSERT(pid >= 0, "fork: %s", strerror(errno));
		if (!pid)
			live();
		TEST_ASSERT(waitpid(pid, &status, 0) == pid, "waitpid: %s", strerror(errno));
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
			share_add(&shared->killed, 1);
		} else if (status) {
			WRITE_ONCE(shared->end, true);
			if (!WIFEXITED(status) || WEXITSTATUS(status) != 1)
				printf("FAIL: seed %lu: VM %lu ended with status 0x%x\n", opt.seed,
				       vm_nr, status);
			fflush(stdout);
			_exit(1);
		}
	}
	_exit(0);
}

/* Setting up */

static bool set_knob(const char *name, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/kernel/debug/fail_page_alloc/%s", name);
	if (gmem_write_file(path, value))
		return true;
	printf("no failing of allocations: %s: %s\n", path, strerror(errno));
	return false;
}

/* Allocations of any order fail for threads that ask for it. */
static void prepare_pressure(void)
{
	static const char * const knobs[][2] = {
		{ "task-filter", "Y" }, { "probability", "20" }, { "interval", "1" },
		{ "times", "-1" }, { "space", "0" }, { "verbose", "0" }, { "min-order", "0" },
		{ "ignore-gfp-wait", "N" }, { "ignore-gfp-highmem", "N" },
	};
	int i;

	can_press = !access("/proc/thread-self/make-it-fail", W_OK);
	if (!can_press)
		printf("no failing of allocations: no /proc/thread-self/make-it-fail\n");
	for (i = 0; can_press && i < ARRAY_SIZE(knobs); i++)
		can_press = set_knob(knobs[i][0], knobs[i][1]);
}

static void print_sums(u64 ns)
{
	int i;

	printf("%lu operations of %lu VMs (%lu of them killed), %lu pages compared, %lu ms\n",
	       shared->ops, shared->vms, shared->killed, shared->compared, ns / 1000000);
	printf("%lu operations on whole blocks of 2M; caches shrunk %lu times\n", shared->blocks,
	       shared->shrunk);
	printf("no memory for %lu system calls, which were done again\n", shared->failed);
	printf("zeroed, KiB:");
	for (i = 0; i < ARRAY_SIZE(zeroed_names); i++)
		printf(" %s=%lu", zeroed_names[i], shared->zeroed[i] / 1024);
	printf("; pages recycled=%lu; folios of 2M=%lu\n", shared->recycled, shared->large);
}

static int run(void)
{
	u64 start = gmem_now_ns(), i;
	bool ok = true;
	int status;

	printf("gmem_secrets --seed %lu --ops %lu --workers %lu --size %luK%s\n", opt.seed, opt.ops,
	       opt.workers, opt.size / 1024, opt.leak ? " --leak" : "");
	prepare_pressure();
	shared->shrink_at = start + SHRINK_S * 1000000000ULL;
	fflush(stdout);
	for (i = 0; i < opt.workers; i++) {
		pid_t pid = fork();

		TEST_ASSERT(pid >= 0, "fork: %s", strerror(errno));
		if (!pid)
			work();
	}
	while (wait(&status) > 0)
		ok &= !status;
	print_sums(gmem_now_ns() - start);
	puts(ok ? "ok" : "failed");
	return !ok;
}

static void print_help(void)
{
	puts("usage: gmem_secrets [OPTION]...\n"
	     "Many VMs that write secrets into their memory, and must not read each other's.\n"
	     "\n"
	     "      --seed N       of what is random; else a new one, which is printed\n"
	     "      --ops N        operations, of all VMs together (10000)\n"
	     "      --workers N    VMs at a time (2)\n"
	     "      --size SIZE    most memory of a VM (8M)\n"
	     "      --leak         on purpose, have VMs find a secret of another: the run must fail\n"
	     "  -v, --verbose      print each operation\n"
	     "  -h, --help\n"
	     "\n"
	     "What a VM does follows from the seed and its number; who gets whose memory does not.\n"
	     "\n"
	     "Exit status: 0; 1 a VM read what it must not, or an operation failed that must not; 2\n"
	     "bad usage; 4 this machine cannot run it.");
}

static void parse_options(int argc, char **argv)
{
	enum { SEED = 256, OPS, WORKERS, SIZE, LEAK };
	static const struct option options[] = {
		{ "seed", required_argument, NULL, SEED },
		{ "ops", required_argument, NULL, OPS },
		{ "workers", required_argument, NULL, WORKERS },
		{ "size", required_argument, NULL, SIZE },
		{ "leak", no_argument, NULL, LEAK },
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
		case WORKERS:
			opt.workers = gmem_number("--workers", optarg, 1, MAX_WORKERS);
			break;
		case SIZE:
			opt.size = gmem_number("--size", optarg, PAGE_SIZE, MAX_SIZE);
			break;
		case LEAK:
			opt.leak = true;
			break;
		case 'v':
			opt.verbose = true;
			break;
		case 'h':
			print_help();
			exit(0);
		default:
			fputs("gmem_secrets: see --help\n", stderr);
			exit(2);
		}
	}
	if (optind < argc)
		gmem_usage_error("unexpected '%s'", argv[optind]);
}

static void require_kernel(void)
{
	if (!(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM))) {
		puts("SKIP: this kernel has no KVM_X86_SW_PROTECTED_VM");
		exit(KSFT_SKIP);
	}
	if (!(kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS) & GUEST_MEMFD_FLAG_MMAP)) {
		puts("SKIP: this kernel has no guest_memfd that can be mapped");
		exit(KSFT_SKIP);
	}
}

int main(int argc, char *argv[])
{
	struct timespec now;

	gmem_start_main();
	clock_gettime(CLOCK_REALTIME, &now);
	opt.seed = gmem_mix(now.tv_sec ^ (u64)now.tv_nsec << 32) >> 40;
	parse_options(argc, argv);
	require_kernel();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	TEST_ASSERT(shared != MAP_FAILED, "mmap: %s", strerror(errno));
	return run();
}
