// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each operation on guest memory, with its first allocation failing, then its
 * second, and so on, until it needs no more.
 *
 * What fails does so with ENOMEM and changes nothing that can be read; what is
 * not allowed to fail does not; the same thing tried again succeeds. A model
 * has the pattern that each page of the file must contain. Nothing is left
 * behind: no file descriptor, no memslot, no memory.
 *
 * Allocations fail by /proc/thread-self/fail-nth, which counts those of this
 * thread, of slabs and of pages.
 */
#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/falloc.h>
#include <linux/sizes.h>

#include "gmem_failing.h"
#include "gmem_guest.h"
#include "gmem_memory.h"
#include "numaif.h"
#include "test_util.h"

#define BLOCK_PAGES	((u64)(SZ_2M / PAGE_SIZE))
/* Two blocks, and a rest that is none */
#define NR_PAGES	(2 * BLOCK_PAGES + 16)
#define FILE_SIZE	(NR_PAGES * PAGE_SIZE)

#define SLOT_CONTROL	1
#define SLOT		2
#define CONTROL_GPA	(4ULL * SZ_1G)
#define WINDOW_GPA	(8ULL * SZ_1G)
#define WINDOW_SIZE	SZ_8M

/* Page tables of its own, and nothing else: heaps begin up to 1G behind the program */
#define HOST_MEM	((void *)(1ULL << 44))

#define MAX_NTH		5000

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif

enum mode {
	MODE_PRIVATE = 1,	/* a software-protected VM: memory is converted */
	MODE_SHARED = 2,	/* a default VM, and the host maps the file too */
	MODE_BOTH = 3,
};

static const char *policy;	/* that files ask for */

struct range {
	u64 first;
	u64 nr;
};

/**
 * struct path - a way into the kernel
 * @name: to be printed, and selected by
 * @modes: of which VMs
 * @prepare: brings about what @act begins with
 * @act: the operation; 0 or a negative errno
 * @check: what must be true after it, whether it failed or not; or NULL
 * @infallible: @act must succeed, with what memory there is
 * @again: @act can be repeated when it succeeded, and then must leave what @final looks for
 * @final: what must be true after @act succeeded without failing allocations; or NULL
 * @range: pages that it is about
 */
struct path {
	const char *name;
	int modes;
	void (*prepare)(void);
	int (*act)(void);
	void (*check)(int err);
	bool infallible;
	bool again;
	void (*final)(void);
	struct range range;
};

static enum mode mode;
static struct kvm_vm *vm;
static struct kvm_vcpu *vcpu;
static struct kvm_regs entry_regs;
static struct gmem_guest_cmd *cmd;
static u64 *cmd_tags;

static int gmem_fd = -1;
static bool bound;
static void *host_mem;		/* mode shared: the mapping of the file */
static void *anon;		/* mode private: the shared memory of the slot */

/* What each page must contain; and whether the guest sees the file, or the shared memory. */
static u64 file_tags[NR_PAGES], anon_tags[NR_PAGES];
static bool is_private[NR_PAGES];
static u64 last_tag;

static const struct path *path;
static u64 nth;			/* allocation that fails; 0: none */
static int nth_fd;
static bool guest_busy;		/* it was interrupted in a command */

static const char *mode_name(void)
{
	return mode == MODE_PRIVATE ? "private" : "shared";
}

static void __printf(1, 2) __noreturn fail(const char *fmt, ...)
{
	va_list ap;

	printf("FAIL: %s, %s VM, allocation %lu fails: ", path ? path->name : "(setup)",
	       mode_name(), nth);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	exit(1);
}

/* Failing allocations */

static void arm(void)
{
	if (!gmem_set_nth(nth_fd, nth))
		fail("fail-nth: %s", strerror(errno));
}

/* Return whether the allocation came that was to fail. */
static bool disarm(void)
{
	long left = gmem_get_nth(nth_fd);

	if (left < 0 || !gmem_set_nth(nth_fd, 0))
		fail("fail-nth: %s", strerror(errno));
	return !left;
}

/* The guest */

/* Have the guest go on with its command. Return 0 or a negative errno. */
static int enter_guest(void)
{
	guest_busy = true;
	return __vcpu_run(vcpu) ? -errno : 0;
}

/* It came back: because it is done. */
static void leave_guest(void)
{
	struct ucall uc;

	if (vcpu->run->exit_reason != KVM_EXIT_IO)
		fail("the guest exited: %s", exit_reason_str(vcpu->run->exit_reason));
	if (get_ucall(vcpu, &uc) != UCALL_SYNC)
		fail("the guest: %s", uc.buffer);
	guest_busy = false;
}

static void set_command(u64 op, struct range r)
{
	if (guest_busy)
		vcpu_regs_set(vcpu, &entry_regs);
	guest_busy = false;
	*cmd = (struct gmem_guest_cmd) {
		.op = op,
		.gpa = WINDOW_GPA + r.first * PAGE_SIZE,
		.len = r.nr * PAGE_SIZE,
		.step = PAGE_SIZE,
		.tags = (u64 *)(CONTROL_GPA + PAGE_SIZE),
	};
}

static u64 *guest_tag(u64 page)
{
	return mode == MODE_SHARED || is_private[page] ? &file_tags[page] : &anon_tags[page];
}

static void guest_do(u64 op, struct range r)
{
	u64 i;
	int err;

	set_command(op, r);
	for (i = 0; i < r.nr; i++)
		cmd_tags[i] = *guest_tag(r.first + i);
	err = enter_guest();
	if (err)
		fail("KVM_RUN, pages %lu to %lu: %s", r.first, r.first + r.nr - 1, strerror(-err));
	leave_guest();
}

static void guest_fill(struct range r)
{
	u64 i;

	for (i = r.first; i < r.first + r.nr; i++)
		*guest_tag(i) = ++last_tag << 32 | 1;
	guest_do(GMEM_GUEST_FILL, r);
}

/* Reading */

static void host_check(struct range r)
{
	u64 i, *page;
	int word;

	for (i = r.first; i < r.first + r.nr; i++) {
		page = host_mem + i * PAGE_SIZE;
		word = gmem_check_page(page, file_tags[i]);
		if (word >= 0)
			fail("page %lu, word %d: the host should read 0x%lx, and reads 0x%lx", i,
			     word, gmem_pattern(file_tags[i], word), page[word]);
	}
}

/* What is read of these pages is right. */
static void check_range(struct range r)
{
	if (host_mem)
		host_check(r);
	if (!bound)
		return;
	guest_do(GMEM_GUEST_CHECK, r);
	if (cmd->result)
		fail("%lu pages differ; the guest should read 0x%lx at 0x%lx, and reads 0x%lx",
		     cmd->result, cmd->want, cmd->bad_gpa, cmd->got);
}

/* The range, and as many pages beside it as tell a block from its neighbours */
static void check_around(struct range r)
{
	u64 first = r.first - min(r.first, 8UL);
	u64 end = min(r.first + r.nr + 8, NR_PAGES);

	check_range((struct range) { .first = first, .nr = end - first });
}

static void check_all(void)
{
	check_range((struct range) { .nr = NR_PAGES });
}

/* Bytes that are resident; their sum over the orders of folios must be the same. */
static u64 resident(void)
{
	struct gmem_resident res;
	int err = gmem_read_resident(gmem_fd, &res);

	if (err || res.folios != res.bytes || res.ready > res.bytes || res.bytes > FILE_SIZE)
		fail("fdinfo: error %d; %lu bytes are there, %lu in folios, %lu of them ready",
		     err, res.bytes, res.folios, res.ready);
	return res.bytes;
}

static u64 nr_open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	u64 n = 0;

	if (!dir)
		fail("/proc/self/fd: %s", strerror(errno));
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Files and slots; none of these fails, and each returns 0 or a negative errno where it may. */

static int do_create(u64 size)
{
	struct kvm_create_guest_memfd args = { .size = size };
	int fd;

	if (mode == MODE_SHARED)
		args.flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED;
	if (policy)
		gmem_ask_policy(&args, policy);
	fd = ioctl(vm->fd, KVM_CREATE_GUEST_MEMFD, &args);
	if (fd < 0)
		return -errno;
	gmem_fd = fd;
	return 0;
}

static int do_region(u64 nr)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = SLOT,
		.flags = nr ? KVM_MEM_GUEST_MEMFD : 0,
		.guest_phys_addr = WINDOW_GPA,
		.memory_size = nr * PAGE_SIZE,
		.userspace_addr = (u64)(mode == MODE_SHARED ? host_mem : anon),
		.guest_memfd = gmem_fd,
	};

	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION2, &region))
		return -errno;
	bound = nr;
	return 0;
}

static int do_fallocate(struct range r, int flags)
{
	if (fallocate(gmem_fd, FALLOC_FL_KEEP_SIZE | flags, r.first * PAGE_SIZE, r.nr * PAGE_SIZE))
		return -errno;
	return 0;
}

static int do_convert(struct range r, bool to_private)
{
	struct kvm_memory_attributes attr = {
		.attributes = to_private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
		.address = WINDOW_GPA + r.first * PAGE_SIZE,
		.size = r.nr * PAGE_SIZE,
	};

	if (ioctl(vm->fd, KVM_SET_MEMORY_ATTRIBUTES, &attr))
		return -errno;
	memset(is_private + r.first, to_private, r.nr);
	return 0;
}

static void must(const char *what, int err)
{
	if (err)
		fail("%s, where nothing fails: %s", what, strerror(-err));
}

/* Undo whatever a path did. */
static void drop(void)
{
	if (bound)
		must("deleting the memslot", do_region(0));
	if (host_mem)
		munmap(host_mem, FILE_SIZE);
	host_mem = NULL;
	if (gmem_fd >= 0)
		close(gmem_fd);
	gmem_fd = -1;
	memset(file_tags, 0, sizeof(file_tags));
}

static void map_host(void)
{
	if (mode != MODE_SHARED)
		return;
	host_mem = mmap(HOST_MEM, FILE_SIZE, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_FIXED_NOREPLACE, gmem_fd, 0);
	if (host_mem == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
}

static void new_file(void)
{
	must("creating the file", do_create(FILE_SIZE));
	map_host();
}

static void new_bound_file(void)
{
	new_file();
	must("setting the memslot", do_region(NR_PAGES));
	if (mode == MODE_PRIVATE)
		must("converting all", do_convert((struct range) { .nr = NR_PAGES }, true));
}

static void new_full_file(void)
{
	new_bound_file();
	guest_fill((struct range) { .nr = NR_PAGES });
}

/* The file is there, and its memory where the path is about to look; the rest is missing. */
static void new_sparse_file(void)
{
	new_bound_file();
	guest_fill((struct range) { .first = path->range.first, .nr = 1 });
}

/* The paths */

static u64 open_files;

static void prepare_create(void)
{
	open_files = nr_open_files();
}

static int act_create(void)
{
	return do_create(path->range.nr * PAGE_SIZE);
}

static void check_create(int err)
{
	if (err && nr_open_files() != open_files)
		fail("there are %lu open files, and there were %lu", nr_open_files(), open_files);
	if (!err)
		resident();
}

static int act_mmap(void)
{
	void *mem = mmap(NULL, FILE_SIZE, PROT_READ, MAP_SHARED, gmem_fd, 0);

	return mem == MAP_FAILED ? -errno : munmap(mem, FILE_SIZE);
}

static int act_bind(void)
{
	return do_region(NR_PAGES);
}

/* There is a slot, or there is none. */
static void check_bind(int err)
{
	if (err)
		return;
	if (mode == MODE_PRIVATE)
		must("converting", do_convert(path->range, true));
	guest_fill(path->range);
	check_range(path->range);
}

static void prepare_unbind(void)
{
	new_bound_file();
	guest_fill(path->range);
}

static int act_unbind(void)
{
	return do_region(0);
}

static void check_path_range(int err)
{
	check_around(path->range);
}

static int act_fallocate(void)
{
	return do_fallocate(path->range, 0);
}

static void final_resident(void)
{
	if (resident() < path->range.nr * PAGE_SIZE)
		fail("only %lu bytes are resident", resident());
}

static int act_punch(void)
{
	int err = do_fallocate(path->range, FALLOC_FL_PUNCH_HOLE);

	if (!err)
		memset(file_tags + path->range.first, 0, path->range.nr * sizeof(*file_tags));
	return err;
}

/* Neither does a failing split keep the memory for good: the hole can be punched again. */
static void final_punch(void)
{
	u64 want = FILE_SIZE - path->range.nr * PAGE_SIZE;

	/* It was read, and is there again. */
	must("punching", act_punch());
	if (resident() > want)
		fail("%lu bytes are resident, and should be %lu", resident(), want);
	check_all();
}

static void prepare_convert_shared(void)
{
	new_bound_file();
	memset(anon_tags, 0, sizeof(anon_tags));
	madvise(anon, FILE_SIZE, MADV_DONTNEED);
	guest_fill((struct range) { .first = path->range.first, .nr = path->range.nr / 2 });
}

static int act_convert_shared(void)
{
	return do_convert(path->range, false);
}

static void prepare_convert_private(void)
{
	prepare_convert_shared();
	must("converting all", do_convert((struct range) { .nr = NR_PAGES }, false));
	/* As VMMs do: a policy may want it back. */
	must("punching", act_punch());
	guest_fill((struct range) { .first = path->range.first, .nr = path->range.nr / 2 });
}

static int act_convert_private(void)
{
	return do_convert(path->range, true);
}

static int populate(int advice)
{
	if (madvise(host_mem + path->range.first * PAGE_SIZE, path->range.nr * PAGE_SIZE, advice))
		return -errno;
	return 0;
}

static int act_populate_read(void)
{
	return populate(MADV_POPULATE_READ);
}

static int act_populate_write(void)
{
	return populate(MADV_POPULATE_WRITE);
}

/* A fault of the host that finds no memory is repeated until it does. */
static int act_host_touch(void)
{
	u64 i;

	for (i = path->range.first; i < path->range.first + path->range.nr; i++)
		(void)READ_ONCE(*(u64 *)(host_mem + i * PAGE_SIZE));
	return 0;
}

static void prepare_guest_touch(void)
{
	new_bound_file();
	set_command(GMEM_GUEST_TOUCH, path->range);
}

static void check_guest_touch(int err)
{
	if (!err)
		leave_guest();
}

static void final_guest_touch(void)
{
	if (cmd->result != path->range.nr)
		fail("the guest touched %lu pages, and not %lu", cmd->result, path->range.nr);
}

static int act_prefault(void)
{
	struct kvm_pre_fault_memory range = {
		.gpa = WINDOW_GPA + path->range.first * PAGE_SIZE,
		.size = path->range.nr * PAGE_SIZE,
	};

	while (range.size) {
		if (!ioctl(vcpu->fd, KVM_PRE_FAULT_MEMORY, &range))
			continue;
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
	}
	return 0;
}

static int act_mbind(void)
{
	unsigned long node = 1;

	if (mbind(host_mem + path->range.first * PAGE_SIZE, path->range.nr * PAGE_SIZE, MPOL_BIND,
		  &node, BITS_PER_TYPE(node), 0))
		return -errno;
	return 0;
}

static int act_fdinfo(void)
{
	char name[64], text[4096];
	int fd, err = 0;

	snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", gmem_fd);
	fd = open(name, O_RDONLY);
	if (fd < 0)
		return -errno;
	if (read(fd, text, sizeof(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

/* Memory is freed, and a memslot is without its file, before close() returns. */
static int act_close(void)
{
	int fd = gmem_fd;

	if (host_mem)
		munmap(host_mem, FILE_SIZE);
	host_mem = NULL;
	gmem_fd = -1;
	return close(fd) ? -errno : 0;
}

static void check_closed(int err)
{
	memset(file_tags, 0, sizeof(file_tags));
	if (!bound)
		return;
	set_command(GMEM_GUEST_TOUCH, path->range);
	if (mode == MODE_PRIVATE && enter_guest() != -EFAULT)
		fail("the guest can still touch memory whose file is closed");
}

static void prepare_close_unbound(void)
{
	new_bound_file();
	guest_fill(path->range);
	must("deleting the memslot", do_region(0));
}

#define PAGES(_first, _nr)	{ .first = (_first), .nr = (_nr) }

static const struct path paths[] = {
	{ "create", MODE_BOTH, prepare_create, act_create, check_create, .range = PAGES(0, 32) },
	{ "mmap", MODE_SHARED, new_file, act_mmap, .again = true },
	{ "bind", MODE_BOTH, new_file, act_bind, check_bind, .range = PAGES(505, 16) },
	{ "unbind", MODE_BOTH, prepare_unbind, act_unbind, check_path_range,
	  .range = PAGES(505, 16) },
	{ "fallocate", MODE_BOTH, new_bound_file, act_fallocate, check_path_range, .again = true,
	  .final = final_resident, .range = PAGES(505, 16) },
	{ "fallocate beside a page", MODE_BOTH, new_sparse_file, act_fallocate, check_path_range,
	  .again = true, .final = final_resident, .range = PAGES(NR_PAGES - 24, 24) },
	{ "punch in a block", MODE_BOTH, new_full_file, act_punch, check_path_range,
	  .infallible = true, .final = final_punch, .range = PAGES(263, 3) },
	{ "punch over the bounds of two", MODE_BOTH, new_full_file, act_punch, check_path_range,
	  .infallible = true, .final = final_punch, .range = PAGES(383, 200) },
	{ "punch a block and more", MODE_BOTH, new_full_file, act_punch, check_path_range,
	  .infallible = true, .final = final_punch, .range = PAGES(510, 520) },
	{ "convert to shared", MODE_PRIVATE, prepare_convert_shared, act_convert_shared,
	  check_path_range, .again = true, .range = PAGES(505, 24) },
	{ "convert to private", MODE_PRIVATE, prepare_convert_private, act_convert_private,
	  check_path_range, .again = true, .range = PAGES(505, 24) },
	{ "host fault", MODE_SHARED, new_file, act_host_touch, check_path_range,
	  .infallible = true, .again = true, .final = final_resident, .range = PAGES(508, 8) },
	{ "populate by read", MODE_SHARED, new_bound_file, act_populate_read, check_path_range,
	  .again = true, .final = final_resident, .range = PAGES(505, 16) },
	{ "populate by write", MODE_SHARED, new_bound_file, act_populate_write, check_path_range,
	  .again = true, .final = final_resident, .range = PAGES(505, 16) },
	{ "guest fault", MODE_BOTH, prepare_guest_touch, enter_guest, check_guest_touch,
	  .final = final_guest_touch, .range = PAGES(505, 16) },
	{ "prefault", MODE_BOTH, new_bound_file, act_prefault, check_path_range, .again = true,
	  .final = final_resident, .range = PAGES(505, 16) },
	{ "mbind", MODE_SHARED, new_bound_file, act_mbind, check_path_range, .again = true,
	  .range = PAGES(505, 16) },
	{ "fdinfo", MODE_BOTH, new_sparse_file, act_fdinfo, .again = true, .range = PAGES(0, 1) },
	{ "close while bound", MODE_BOTH, new_full_file, act_close, check_closed,
	  .infallible = true, .range = PAGES(505, 16) },
	{ "close", MODE_BOTH, prepare_close_unbound, act_close, check_closed, .infallible = true,
	  .range = PAGES(505, 16) },
};

/**
 * struct tally - what became of failing allocations
 * @failed: the operation failed
 * @fell_back: it did not
 */
struct tally {
	u64 failed;
	u64 fell_back;
};

/* Once, with the nth allocation failing. Return whether there was one. */
static bool try_nth(struct tally *tally)
{
	bool fired;
	int err;

	path->prepare();
	arm();
	err = path->act();
	fired = disarm();
	if (err && err != -ENOMEM)
		fail("errno %d (%s)", -err, strerror(-err));
	if (err && (!fired || path->infallible))
		fail("%s", fired ? "it must not fail, and did" : "ENOMEM, and none failed");
	tally->failed += fired && err;
	tally->fell_back += fired && !err;
	if (path->check)
		path->check(err);
	if (err || path->again) {
		must("the second time", path->act());
		if (path->check)
			path->check(0);
	}
	if (path->final)
		path->final();
	drop();
	return fired;
}

static void sweep(void)
{
	struct tally tally = {};

	for (nth = 1; try_nth(&tally); nth++)
		if (nth == MAX_NTH)
			fail("there is no end of it");
	printf("%-7s %-28s %4lu allocations: %lu fail it, %lu do not\n", mode_name(), path->name,
	       nth - 1, tally.failed, tally.fell_back);
	fflush(stdout);
	nth = 0;
}

static void create_vm(void)
{
	const struct vm_shape shape = {
		.mode = VM_MODE_DEFAULT,
		.type = mode == MODE_PRIVATE ? KVM_X86_SW_PROTECTED_VM : VM_TYPE_DEFAULT,
	};
	void *control = gmem_mmap_anon(SZ_2M);

	TEST_ASSERT(control, "mmap(): %s", strerror(errno));
	anon = gmem_mmap_anon(WINDOW_SIZE);
	TEST_ASSERT(anon, "mmap(): %s", strerror(errno));
	vm = __vm_create(shape, 1, (SZ_2M + WINDOW_SIZE) / PAGE_SIZE);
	vm_set_user_memory_region2(vm, SLOT_CONTROL, 0, CONTROL_GPA, SZ_2M, control, -1, 0);
	gmem_map_identity(vm, CONTROL_GPA, CONTROL_GPA + SZ_2M);
	gmem_map_identity(vm, WINDOW_GPA, WINDOW_GPA + WINDOW_SIZE);
	cmd = control;
	cmd_tags = control + PAGE_SIZE;
	vcpu = vm_vcpu_add(vm, 0, gmem_guest_main);
	vcpu_args_set(vcpu, 1, CONTROL_GPA);
	vcpu_regs_get(vcpu, &entry_regs);
	guest_busy = false;
	memset(is_private, 0, sizeof(is_private));
	memset(anon_tags, 0, sizeof(anon_tags));
	/* Its control page is mapped, and the caches of its MMU are filled. */
	path = NULL;
	new_bound_file();
	guest_fill((struct range) { .nr = 1 });
	drop();
}

static void run_mode(enum mode m, const char *only)
{
	u64 files;

	mode = m;
	create_vm();
	files = nr_open_files();
	for (path = paths; path < paths + ARRAY_SIZE(paths); path++) {
		if (!(path->modes & mode) || (only && !strstr(path->name, only)))
			continue;
		sweep();
		if (nr_open_files() != files)
			fail("%lu files are open, and %lu were", nr_open_files(), files);
	}
	path = NULL;
	kvm_vm_free(vm);
	munmap(anon, WINDOW_SIZE);
}

static void print_help(void)
{
	puts("usage: gmem_faultinj [OPTION]... [PATH]\n"
	     "Each operation on guest memory, with its first allocation failing, its second, and so\n"
	     "on until there is none that could. With PATH, only those whose name has it in it.\n"
	     "\n"
	     "      --policy NAME  ask for this policy when files are created\n"
	     "  -l, --list         print the names of the operations\n"
	     "  -h, --help\n"
	     "\n"
	     "The knobs in /sys/kernel/debug/{failslab,fail_page_alloc} are left as it needs them.\n"
	     "\n"
	     "Exit status: 0; 1 an operation did what it must not; 2 bad usage; 4 this kernel\n"
	     "cannot fail allocations, or has no such VMs.");
}

static void parse_options(int argc, char **argv)
{
	enum { POLICY = 256 };
	static const struct option options[] = {
		{ "policy", required_argument, NULL, POLICY },
		{ "list", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	int c, i;

	while ((c = getopt_long(argc, argv, "lh", options, NULL)) != -1) {
		switch (c) {
		case POLICY:
			policy = optarg;
			break;
		case 'l':
			for (i = 0; i < ARRAY_SIZE(paths); i++)
				puts(paths[i].name);
			exit(0);
		case 'h':
			print_help();
			exit(0);
		default:
			fputs("gmem_faultinj: see --help\n", stderr);
			exit(2);
		}
	}
	if (optind + 1 < argc) {
		fprintf(stderr, "gmem_faultinj: unexpected '%s'; see --help\n", argv[optind + 1]);
		exit(2);
	}
}

static void require_kernel(void)
{
	if (!gmem_prepare_failing()) {
		puts("SKIP: allocations cannot be made to fail: no CONFIG_FAULT_INJECTION, or not root");
		exit(KSFT_SKIP);
	}
	if (!(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM)) ||
	    !(kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS) & GUEST_MEMFD_FLAG_MMAP)) {
		puts("SKIP: no KVM_X86_SW_PROTECTED_VM, or no guest_memfd that can be mapped");
		exit(KSFT_SKIP);
	}
}

int main(int argc, char *argv[])
{
	gmem_start_main();
	parse_options(argc, argv);
	require_kernel();
	nth_fd = open("/proc/thread-self/fail-nth", O_RDWR);
	TEST_ASSERT(nth_fd >= 0, "fail-nth: %s", strerror(errno));
	run_mode(MODE_PRIVATE, argv[optind]);
	run_mode(MODE_SHARED, argv[optind]);
	puts("ok");
	return 0;
}
