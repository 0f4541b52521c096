// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VM that does what it is told: guest_memfd operations one by one, for tests
 * written in shell.
 *
 *	gmem_vm 'create 4M; bind 1 4G 0 4M; convert private 4G 4M; gwrite 4G 42'
 *	gmem_vm <script
 *
 * Each command prints one line, "ok NAME ..." or "err ERRNO ENAME NAME ...", as
 * soon as it is done. No errno ends the program: it is reported, and the next
 * command follows. See --help for the commands.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <linux/falloc.h>
#include <linux/sizes.h>

#include "gmem_guest.h"
#include "numaif.h"
#include "test_util.h"

#define MAX_FILES	4
#define MAX_SLOTS	64
#define MAX_ARGS	32

/* Guest physical memory that the guest can reach. */
#define WINDOW_START	(4ULL * SZ_1G)
#define WINDOW_END	(16ULL * SZ_1G)

/* So much of it is mapped by the guest in pages of 4K if the guest is told to. */
#define SMALL_WINDOW	SZ_64M

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif

struct gmem_file {
	bool open;
	int fd;
	u64 size;
	void *mem;
	u64 mem_size;
};

struct slot {
	bool used;
	u64 gpa;
	u64 size;
	u64 skew;
	void *hva;
};

/**
 * struct args - arguments of a command
 * @nr: of them
 * @s: texts
 * @n: numbers, of those that are
 */
struct args {
	int nr;
	char *s[MAX_ARGS];
	u64 n[MAX_ARGS];
};

/* What a command has to say beside its errno. */
struct result {
	char text[512];
	size_t len;
};

/* A command that has reported itself. */
#define SILENT	1

static struct gmem_file files[MAX_FILES];
static struct gmem_file *file;		/* the one that commands are about */
static struct slot slots[MAX_SLOTS];

static u32 vm_type = KVM_X86_SW_PROTECTED_VM;
static bool small_pages;
static struct kvm_vm *vm;
static struct kvm_vcpu *vcpu;
static struct gmem_guest_cmd *guest_cmd;
static struct kvm_regs entry_regs;

static bool failed;

static int run_line(char *line, struct result *res, bool print);

static void __printf(2, 3) say(struct result *res, const char *fmt, ...)
{
	size_t room = sizeof(res->text) - res->len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(res->text + res->len, room, fmt, ap);
	va_end(ap);
	res->len += min_t(size_t, n, room - 1);
}

/* Return @err, and say why. */
static int __printf(3, 4) error(int err, struct result *res, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say(res, " %s", text);
	return err;
}

static int check(int ret)
{
	return ret < 0 ? -errno : 0;
}

/* Accesses by the host, which may meet SIGBUS. */

enum access {
	ACCESS_READ,
	ACCESS_WRITE,
	ACCESS_CHECK,
};

/* Static, for siglongjmp() to leave it as it is. */
static struct {
	enum access what;
	u64 *words;
	u64 bytes;
	u64 value;
	u64 at;
	bool differs;
} host;

static sigjmp_buf sigbus_env;
static bool sigbus_armed;
static bool sigbus_ignored;
static int sigbus_code;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	WRITE_ONCE(sigbus_code, info->si_code);
	if (READ_ONCE(sigbus_armed))
		siglongjmp(sigbus_env, 1);
	/* madvise(MADV_HWPOISON) tells whoever has the page mapped. */
	if (!READ_ONCE(sigbus_ignored))
		signal(SIGBUS, SIG_DFL);
}

/* Nothing is done but what a signal does anyway: it interrupts. */
static void on_sigusr1(int sig)
{
}

static void host_loop(void)
{
	u64 v;

	for (; host.at < host.bytes; host.at += sizeof(u64)) {
		if (host.what == ACCESS_WRITE) {
			WRITE_ONCE(host.words[host.at / sizeof(u64)], host.value);
			continue;
		}
		v = READ_ONCE(host.words[host.at / sizeof(u64)]);
		host.differs = v != host.value;
		if (host.what == ACCESS_CHECK && !host.differs)
			continue;
		host.value = v;
		break;
	}
}

/* Return 0, -EFAULT for SIGBUS, or -EHWPOISON for that of bad memory. */
static int host_access(enum access what, u64 offset, u64 bytes, u64 value, struct result *res)
{
	host.what = what;
	host.words = file->mem + offset;
	host.bytes = bytes;
	host.value = value;
	host.at = 0;
	host.differs = false;

	if (sigsetjmp(sigbus_env, 1)) {
		WRITE_ONCE(sigbus_armed, false);
		say(res, " SIGBUS at=%lu", (void *)host.words - file->mem + host.at);
		return READ_ONCE(sigbus_code) == BUS_MCEERR_AR ? -EHWPOISON : -EFAULT;
	}
	WRITE_ONCE(sigbus_armed, true);
	host_loop();
	WRITE_ONCE(sigbus_armed, false);
	return 0;
}

/* The VM */

static int need_vm(struct result *res)
{
	const struct vm_shape shape = {
		.mode = VM_MODE_DEFAULT,
		.type = vm_type,
	};
	gva_t gva, start = WINDOW_START;

	if (vm)
		return 0;
	if (vm_type != VM_TYPE_DEFAULT && !(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(vm_type)))
		return error(-EOPNOTSUPP, res, "this kernel has no VMs of type %u", vm_type);
	vm = __vm_create(shape, 1, 0);
	/* Where it is not there, nobody needs it. */
	if (__vm_enable_cap(vm, KVM_CAP_EXIT_HYPERCALL, BIT(KVM_HC_MAP_GPA_RANGE)))
		say(res, " (no KVM_CAP_EXIT_HYPERCALL)");
	for (; small_pages && start < WINDOW_START + SMALL_WINDOW; start += PAGE_SIZE)
		__virt_pg_map(vm, &vm->mmu, start, start, PG_LEVEL_4K);
	gmem_map_identity(vm, start, WINDOW_END);
	gva = vm_alloc_page(vm);
	guest_cmd = addr_gva2hva(vm, gva);
	vcpu = vm_vcpu_add(vm, 0, gmem_guest_main);
	vcpu_args_set(vcpu, 1, gva);
	vcpu_regs_get(vcpu, &entry_regs);
	return 0;
}

static int set_attributes(u64 gpa, u64 size, bool private)
{
	struct kvm_memory_attributes attr = {
		.attributes = private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
		.address = gpa,
		.size = size,
	};

	return check(__vm_ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, &attr));
}

static void handle_hypercall(struct kvm_run *run, struct result *res)
{
	u64 gpa = run->hypercall.args[0], size = run->hypercall.args[1] * PAGE_SIZE;
	bool private = run->hypercall.args[2] & KVM_MAP_GPA_RANGE_ENCRYPTED;

	say(res, " exit=hypercall gpa=0x%lx size=%lu to_private=%d", gpa, size, private);
	run->hypercall.ret = set_attributes(gpa, size, private);
}

/*
 * Have the guest execute *guest_cmd. If it cannot, it is made to wait for the
 * next command.
 */
static int run_guest(struct result *res)
{
	struct kvm_run *run = vcpu->run;
	struct ucall uc;
	int err;

	for (;;) {
		if (_vcpu_run(vcpu)) {
			err = -errno;
			if (run->exit_reason == KVM_EXIT_MEMORY_FAULT)
				say(res, " exit=memory_fault gpa=0x%llx size=%llu private=%d",
				    run->memory_fault.gpa, run->memory_fault.size,
				    !!(run->memory_fault.flags & KVM_MEMORY_EXIT_FLAG_PRIVATE));
			break;
		}
		if (run->exit_reason == KVM_EXIT_HYPERCALL) {
			handle_hypercall(run, res);
			continue;
		}
		if (run->exit_reason == KVM_EXIT_MMIO) {
			err = error(-ENXIO, res, "exit=mmio gpa=0x%llx", run->mmio.phys_addr);
			vcpu_run_complete_io(vcpu);
			break;
		}
		if (run->exit_reason != KVM_EXIT_IO) {
			err = error(-EIO, res, "exit=%u (%s)", run->exit_reason,
				    exit_reason_str(run->exit_reason));
			break;
		}
		if (get_ucall(vcpu, &uc) == UCALL_SYNC)
			return 0;
		err = error(-EPROTO, res, "the guest: %s", uc.buffer);
		break;
	}

	/* Memory may be missing for good: do not try that access again. */
	vcpu_regs_set(vcpu, &entry_regs);
	return err;
}

static int guest_do(struct result *res, struct gmem_guest_cmd cmd)
{
	int err = need_vm(res);

	if (err)
		return err;
	if (cmd.gpa < WINDOW_START || cmd.gpa >= WINDOW_END || cmd.len > WINDOW_END - cmd.gpa)
		return error(-EINVAL, res, "it reaches 0x%llx to 0x%llx", WINDOW_START, WINDOW_END);
	*guest_cmd = cmd;
	return run_guest(res);
}

static int need_file(struct result *res)
{
	return file && file->open ? 0 : error(-EBADF, res, "no file is open");
}

static int need_mmap(u64 offset, u64 len, struct result *res)
{
	int err = need_file(res);

	if (err)
		return err;
	if (!file->mem)
		return error(-ENXIO, res, "it is not mapped (mmap)");
	if (offset > file->mem_size || len > file->mem_size - offset)
		return error(-EINVAL, res, "only %lu bytes are mapped", file->mem_size);
	return 0;
}

/*
 * Commands. Each returns 0 or a negative errno, and says more in *res. The
 * numbers that its entry in the table promises have been parsed.
 */

static int cmd_vmtype(struct args *a, struct result *res)
{
	if (vm)
		return error(-EBUSY, res, "there is a VM already");
	if (!strcmp(a->s[0], "default"))
		vm_type = VM_TYPE_DEFAULT;
	else if (!strcmp(a->s[0], "sw_protected"))
		vm_type = KVM_X86_SW_PROTECTED_VM;
	else
		return error(-EINVAL, res, "neither 'default' nor 'sw_protected': '%s'", a->s[0]);
	return 0;
}

static int cmd_smallpages(struct args *a, struct result *res)
{
	if (vm)
		return error(-EBUSY, res, "there is a VM already");
	small_pages = true;
	return 0;
}

static int cmd_flags(struct args *a, struct result *res)
{
	int ret = need_vm(res);

	if (ret)
		return ret;
	ret = __vm_ioctl(vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_GUEST_MEMFD_FLAGS);
	if (ret >= 0)
		say(res, " 0x%x", ret);
	return check(ret);
}

static int create_option(char *s, struct kvm_create_guest_memfd *args, const char **policy)
{
	u64 v, word;
	char *colon;

	if (!strcmp(s, "mmap")) {
		args->flags |= GUEST_MEMFD_FLAG_MMAP;
	} else if (!strcmp(s, "shared")) {
		args->flags |= GUEST_MEMFD_FLAG_INIT_SHARED;
	} else if (!strncmp(s, "policy=", 7)) {
		*policy = s + 7;
	} else if (!strncmp(s, "flags=", 6)) {
		if (!gmem_parse_u64(s + 6, &v))
			return -EINVAL;
		args->flags |= v;
	} else if (!strncmp(s, "reserved=", 9)) {
		colon = strchr(s, ':');
		if (!colon || !gmem_parse_u64(colon + 1, &v))
			return -EINVAL;
		*colon = '\0';
		if (!gmem_parse_u64(s + 9, &word) || word >= ARRAY_SIZE(args->reserved))
			return -EINVAL;
		args->reserved[word] = v;
	} else {
		return -EINVAL;
	}
	return 0;
}

static int cmd_create(struct args *a, struct result *res)
{
	struct kvm_create_guest_memfd args = { .size = a->n[0] };
	const char *policy = NULL;
	struct gmem_file *f;
	struct stat st;
	int i, err;

	for (i = 1; i < a->nr; i++)
		if (create_option(a->s[i], &args, &policy))
			return error(-EINVAL, res, "no such option: '%s'", a->s[i]);
	if (policy)
		gmem_ask_policy(&args, policy);
	for (f = files; f < files + MAX_FILES && f->open; f++)
		;
	if (f == files + MAX_FILES)
		return error(-EMFILE, res, "there are %d already", MAX_FILES);
	err = need_vm(res);
	if (err)
		return err;
	i = __vm_ioctl(vm, KVM_CREATE_GUEST_MEMFD, &args);
	if (i < 0)
		return -errno;
	*f = (struct gmem_file) { .open = true, .fd = i, .size = args.size };
	file = f;
	TEST_ASSERT(!fstat(f->fd, &st), "fstat() of a guest_memfd");
	say(res, " file=%ld fd=%d ino=%lu", f - files, f->fd, st.st_ino);
	return 0;
}

static int cmd_use(struct args *a, struct result *res)
{
	if (a->n[0] >= MAX_FILES || !files[a->n[0]].open)
		return error(-EBADF, res, "no such file: %s", a->s[0]);
	file = &files[a->n[0]];
	return 0;
}

static int cmd_munmap(struct args *a, struct result *res)
{
	int err = need_file(res);

	if (!err && file->mem) {
		err = check(munmap(file->mem, file->mem_size));
		file->mem = NULL;
	}
	return err;
}

static int cmd_close(struct args *a, struct result *res)
{
	int err = cmd_munmap(a, res);

	if (err)
		return err;
	file->open = false;
	return check(close(file->fd));
}

static int cmd_mmap(struct args *a, struct result *res)
{
	int err = need_file(res);
	void *mem;
	u64 size;

	if (err)
		return err;
	if (file->mem)
		return error(-EBUSY, res, "it is mapped already");
	size = a->nr ? a->n[0] : file->size;
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
	if (mem == MAP_FAILED)
		return -errno;
	file->mem = mem;
	file->mem_size = size;
	return 0;
}

static struct slot *find_slot(u64 gpa)
{
	struct slot *s;

	for (s = slots; s < slots + MAX_SLOTS; s++)
		if (s->used && gpa >= s->gpa && gpa - s->gpa <= s->size - sizeof(u64))
			return s;
	return NULL;
}

static int set_slot(u64 slot, u64 gpa, u64 size, int fd, u64 offset, u64 skew, struct result *res)
{
	u32 flags = fd < 0 ? 0 : KVM_MEM_GUEST_MEMFD;
	void *hva;
	int err;

	if (!slot || slot >= MAX_SLOTS)
		return error(-EINVAL, res, "slots are 1 to %d", MAX_SLOTS - 1);
	if (slots[slot].used)
		return error(-EEXIST, res, "slot %lu is in use", slot);
	err = need_vm(res);
	if (err)
		return err;
	hva = gmem_mmap_anon(size + skew);
	if (!hva)
		return -errno;
	hva += skew;
	err = check(__vm_set_user_memory_region2(vm, slot, flags, gpa, size, hva, fd, offset));
	if (err)
		munmap(hva - skew, size + skew);
	else
		slots[slot] = (struct slot) {
			.used = true, .gpa = gpa, .size = size, .skew = skew, .hva = hva,
		};
	return err;
}

static int cmd_bind(struct args *a, struct result *res)
{
	return need_file(res) ?: set_slot(a->n[0], a->n[1], a->n[3], file->fd, a->n[2],
					  a->nr > 4 ? a->n[4] : 0, res);
}

static int cmd_plain(struct args *a, struct result *res)
{
	return set_slot(a->n[0], a->n[1], a->n[2], -1, 0, 0, res);
}

static int cmd_unbind(struct args *a, struct result *res)
{
	struct slot *s;
	int err;

	if (a->n[0] >= MAX_SLOTS || !slots[a->n[0]].used)
		return error(-ENOENT, res, "no such slot: %s", a->s[0]);
	s = &slots[a->n[0]];
	err = check(__vm_set_user_memory_region2(vm, a->n[0], 0, s->gpa, 0, NULL, -1, 0));
	if (!err) {
		munmap(s->hva - s->skew, s->size + s->skew);
		s->used = false;
	}
	return err;
}

static int cmd_fallocate(struct args *a, struct result *res)
{
	return need_file(res) ?:
	       check(fallocate(file->fd, FALLOC_FL_KEEP_SIZE, a->n[0], a->n[1]));
}

static int cmd_punch(struct args *a, struct result *res)
{
	return need_file(res) ?:
	       check(fallocate(file->fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, a->n[0],
			       a->n[1]));
}

static int cmd_hread(struct args *a, struct result *res)
{
	int err = need_mmap(a->n[0], sizeof(u64), res) ?:
		  host_access(ACCESS_READ, a->n[0], sizeof(u64), 0, res);

	if (!err)
		say(res, " value=0x%lx", host.value);
	return err;
}

static int cmd_hwrite(struct args *a, struct result *res)
{
	return need_mmap(a->n[0], sizeof(u64), res) ?:
	       host_access(ACCESS_WRITE, a->n[0], sizeof(u64), a->n[1], res);
}

static int cmd_hfill(struct args *a, struct result *res)
{
	return need_mmap(a->n[0], a->n[1], res) ?:
	       host_access(ACCESS_WRITE, a->n[0], a->n[1], a->n[2], res);
}

/* checkzero OFFSET LEN, hcheck OFFSET LEN VALUE */
static int cmd_hcheck(struct args *a, struct result *res)
{
	u64 want = a->nr > 2 ? a->n[2] : 0;
	int err = need_mmap(a->n[0], a->n[1], res) ?:
		  host_access(ACCESS_CHECK, a->n[0], a->n[1], want, res);

	if (err || !host.differs)
		return err;
	return error(-EBADMSG, res, "at=%lu want=0x%lx got=0x%lx", a->n[0] + host.at, want,
		     host.value);
}

static int cmd_mbind(struct args *a, struct result *res)
{
	int err = need_mmap(a->n[0], a->n[1], res);
	unsigned long mask;
	u64 node;

	if (err)
		return err;
	if (!strcmp(a->s[2], "default"))
		return check(mbind(file->mem + a->n[0], a->n[1], MPOL_DEFAULT, NULL, 0, 0));
	if (!gmem_parse_u64(a->s[2], &node) || node >= BITS_PER_TYPE(mask))
		return error(-EINVAL, res, "no such node: '%s'", a->s[2]);
	mask = BIT(node);
	return check(mbind(file->mem + a->n[0], a->n[1], MPOL_BIND, &mask, BITS_PER_TYPE(mask),
			   0));
}

/* The page has to be mapped, for the kernel to tell. */
static int cmd_node(struct args *a, struct result *res)
{
	int err = need_mmap(a->n[0], sizeof(u64), res);
	int status = -1;
	void *page;

	if (err)
		return err;
	page = file->mem + (a->n[0] & ~(PAGE_SIZE - 1));
	err = check(move_pages(0, 1, &page, NULL, &status, 0));
	if (err)
		return err;
	if (status < 0 && status != -ENOENT && status != -EFAULT)
		return status;
	say(res, " node=%d", max(status, -1));
	return 0;
}

static int cmd_madvise(struct args *a, struct result *res)
{
	static const struct {
		const char *name;
		int advice;
	} advices[] = {
		{ "hwpoison", MADV_HWPOISON },
		{ "dontneed", MADV_DONTNEED },
		{ "hugepage", MADV_HUGEPAGE },
		{ "populate_write", MADV_POPULATE_WRITE },
	};
	u64 len = a->nr > 2 ? a->n[2] : PAGE_SIZE;
	int err, i;

	for (i = 0; i < ARRAY_SIZE(advices) && strcmp(a->s[0], advices[i].name); i++)
		;
	if (i == ARRAY_SIZE(advices))
		return error(-EINVAL, res, "no such advice: '%s'", a->s[0]);
	err = need_mmap(a->n[1], len, res);
	if (err)
		return err;
	WRITE_ONCE(sigbus_ignored, true);
	err = check(madvise(file->mem + a->n[1], len, advices[i].advice));
	WRITE_ONCE(sigbus_ignored, false);
	return err;
}

/* References to pages of the mapping, as I/O that is under way holds them. */
static int pinned[2] = { -1, -1 };

static int cmd_unpin(struct args *a, struct result *res)
{
	int i;

	for (i = 0; i < 2; i++) {
		if (pinned[i] >= 0)
			close(pinned[i]);
		pinned[i] = -1;
	}
	return 0;
}

static int cmd_pin(struct args *a, struct result *res)
{
	struct iovec iov = { .iov_len = PAGE_SIZE };
	int err = need_mmap(a->n[0], PAGE_SIZE, res);

	if (err)
		return err;
	cmd_unpin(a, res);
	err = check(pipe(pinned));
	if (err)
		return err;
	iov.iov_base = file->mem + a->n[0];
	return check(vmsplice(pinned[1], &iov, 1, 0));
}

static int cmd_fdinfo(struct args *a, struct result *res)
{
	char path[64], line[1024];
	int err = need_file(res);
	int n = 0;
	FILE *f;

	if (err)
		return err;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", file->fd);
	f = fopen(path, "r");
	if (!f)
		return -errno;
	for (; fgets(line, sizeof(line), f); n++) {
		line[strcspn(line, "\n")] = '\0';
		printf("| %s\n", line);
	}
	fclose(f);
	say(res, " lines=%d", n);
	return 0;
}

static int cmd_stat(struct args *a, struct result *res)
{
	int err = need_file(res);
	struct stat st;

	if (!err)
		err = check(fstat(file->fd, &st));
	if (!err)
		say(res, " ino=%lu size=%lu blksize=%lu", st.st_ino, st.st_size, st.st_blksize);
	return err;
}

static int cmd_sread(struct args *a, struct result *res)
{
	struct slot *s = find_slot(a->n[0]);

	if (!s)
		return error(-ENOENT, res, "in no slot: %s", a->s[0]);
	say(res, " value=0x%lx", READ_ONCE(*(u64 *)(s->hva + (a->n[0] - s->gpa))));
	return 0;
}

static int cmd_swrite(struct args *a, struct result *res)
{
	struct slot *s = find_slot(a->n[0]);

	if (!s)
		return error(-ENOENT, res, "in no slot: %s", a->s[0]);
	WRITE_ONCE(*(u64 *)(s->hva + (a->n[0] - s->gpa)), a->n[1]);
	return 0;
}

static int cmd_gread(struct args *a, struct result *res)
{
	int err = guest_do(res, (struct gmem_guest_cmd) {
		.op = GMEM_GUEST_READ, .gpa = a->n[0], .len = sizeof(u64),
	});

	if (!err)
		say(res, " value=0x%lx", guest_cmd->result);
	return err;
}

static int cmd_gwrite(struct args *a, struct result *res)
{
	return guest_do(res, (struct gmem_guest_cmd) {
		.op = GMEM_GUEST_WRITE, .gpa = a->n[0], .len = sizeof(u64), .value = a->n[1],
	});
}

static int cmd_gtouch(struct args *a, struct result *res)
{
	struct gmem_guest_cmd cmd = {
		.op = a->nr > 3 ? GMEM_GUEST_TOUCH_WRITE : GMEM_GUEST_TOUCH,
		.gpa = a->n[0],
		.len = a->n[1],
		.step = a->nr > 2 ? a->n[2] : PAGE_SIZE,
		.value = a->n[3],
	};
	int err;

	if (!cmd.step)
		return error(-EINVAL, res, "no step: %s", a->s[2]);
	err = guest_do(res, cmd);
	if (guest_cmd)
		say(res, " touched=%lu", guest_cmd->result);
	return err;
}

static int cmd_gfill(struct args *a, struct result *res)
{
	return guest_do(res, (struct gmem_guest_cmd) {
		.op = GMEM_GUEST_FILL, .gpa = a->n[0] & ~(PAGE_SIZE - 1), .len = a->n[1],
		.value = a->n[2],
	});
}

static int cmd_gcheck(struct args *a, struct result *res)
{
	int err = guest_do(res, (struct gmem_guest_cmd) {
		.op = GMEM_GUEST_CHECK, .gpa = a->n[0] & ~(PAGE_SIZE - 1), .len = a->n[1],
		.value = a->n[2],
	});

	if (err || !guest_cmd->result)
		return err;
	return error(-EBADMSG, res, "bad_pages=%lu at=0x%lx want=0x%lx got=0x%lx",
		     guest_cmd->result, guest_cmd->bad_gpa, guest_cmd->want, guest_cmd->got);
}

/* Return 1 for private, 0 for shared. */
static int direction(const char *s, struct result *res)
{
	if (!strcmp(s, "private"))
		return 1;
	if (!strcmp(s, "shared"))
		return 0;
	return error(-EINVAL, res, "neither 'private' nor 'shared': '%s'", s);
}

static int cmd_convert(struct args *a, struct result *res)
{
	int private = direction(a->s[0], res);

	if (private < 0)
		return private;
	return need_vm(res) ?: set_attributes(a->n[1], a->n[2], private);
}

static int cmd_gconvert(struct args *a, struct result *res)
{
	int private = direction(a->s[0], res);
	int err;

	if (private < 0)
		return private;
	err = guest_do(res, (struct gmem_guest_cmd) {
		.op = GMEM_GUEST_CONVERT, .gpa = a->n[1], .len = a->n[2], .value = private,
	});
	if (err || !guest_cmd->result)
		return err;
	return error(guest_cmd->result, res, "hypercall=%ld", (long)guest_cmd->result);
}

static int cmd_prefault(struct args *a, struct result *res)
{
	struct kvm_pre_fault_memory range = { .gpa = a->n[0], .size = a->n[1] };
	int err = need_vm(res);

	if (err)
		return err;
	do {
		err = check(__vcpu_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &range));
	} while ((!err && range.size) || err == -EINTR);
	say(res, " left=%llu", range.size);
	return err;
}

static int cmd_sleep(struct args *a, struct result *res)
{
	struct timespec ts = {
		.tv_sec = a->n[0] / 1000,
		.tv_nsec = a->n[0] % 1000 * 1000000,
	};

	return check(nanosleep(&ts, NULL));
}

static int cmd_touchfile(struct args *a, struct result *res)
{
	int fd = open(a->s[0], O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	return fd < 0 ? -errno : check(close(fd));
}

static int cmd_waitfile(struct args *a, struct result *res)
{
	const struct timespec tick = { .tv_nsec = 10000000 };
	u64 seconds = a->nr > 1 ? a->n[1] : 60, i;

	for (i = 0; i <= seconds * 100; i++) {
		if (!access(a->s[0], F_OK))
			return 0;
		nanosleep(&tick, NULL);
	}
	return -ETIMEDOUT;
}

static int cmd_pid(struct args *a, struct result *res)
{
	say(res, " %d", getpid());
	return 0;
}

static int cmd_echo(struct args *a, struct result *res)
{
	int i;

	for (i = 0; i < a->nr; i++)
		say(res, " %s", a->s[i]);
	return 0;
}

/* The line comes before the wait, for the other side to know that it is on. */
static int cmd_pause(struct args *a, struct result *res)
{
	char *line = NULL;
	size_t size = 0;

	puts("ok pause");
	fflush(stdout);
	if (getline(&line, &size, stdin) < 0)
		clearerr(stdin);
	free(line);
	return SILENT;
}

/**
 * struct command - an entry of the table
 * @name: of the command
 * @spec: its arguments: s a text, n a number; those after | may be left out,
 *	  and + stands for any more texts
 * @fn: what it does
 * @args: arguments, for --help
 * @help: what it does, for --help
 */
struct command {
	const char *name;
	const char *spec;
	int (*fn)(struct args *a, struct result *res);
	const char *args;
	const char *help;
};

static const struct command commands[] = {
	{ "vmtype", "s", cmd_vmtype, "sw_protected|default",
	  "before anything else; vmtype=... does too" },
	{ "smallpages", "", cmd_smallpages, "",
	  "the guest maps the first 64M of its window by 4K, not by 2M; before anything else" },
	{ "flags", "", cmd_flags, "", "KVM_CAP_GUEST_MEMFD_FLAGS" },
	{ "create", "n+", cmd_create,
	  "SIZE [mmap] [shared] [policy=NAME] [flags=BITS] [reserved=WORD:VALUE]",
	  "a guest_memfd" },
	{ "use", "n", cmd_use, "FILE", "which is meant from here on; else the last created" },
	{ "close", "", cmd_close, "", "the file and its mapping" },
	{ "bind", "nnnn|n", cmd_bind, "SLOT GPA OFFSET SIZE [SKEW]",
	  "a memslot with guest_memfd; its shared memory is so far off an address of 2M" },
	{ "plain", "nnn", cmd_plain, "SLOT GPA SIZE", "a memslot without" },
	{ "unbind", "n", cmd_unbind, "SLOT", "delete a memslot" },
	{ "fallocate", "nn", cmd_fallocate, "OFFSET LEN", "" },
	{ "punch", "nn", cmd_punch, "OFFSET LEN", "" },
	{ "mmap", "|n", cmd_mmap, "[SIZE]", "map the file into this process" },
	{ "munmap", "", cmd_munmap, "", "" },
	{ "hread", "n", cmd_hread, "OFFSET", "a word, by that mapping" },
	{ "hwrite", "nn", cmd_hwrite, "OFFSET VALUE", "" },
	{ "hfill", "nnn", cmd_hfill, "OFFSET LEN VALUE", "all words" },
	{ "hcheck", "nnn", cmd_hcheck, "OFFSET LEN VALUE", "EBADMSG if a word differs" },
	{ "checkzero", "nn", cmd_hcheck, "OFFSET LEN", "the same with 0" },
	{ "mbind", "nns", cmd_mbind, "OFFSET LEN NODE|default", "" },
	{ "node", "n", cmd_node, "OFFSET", "NUMA node of a mapped page; -1: it is not mapped" },
	{ "madvise", "sn|n", cmd_madvise,
	  "hwpoison|dontneed|hugepage|populate_write OFFSET [LEN]", "" },
	{ "pin", "n", cmd_pin, "OFFSET", "hold a reference to a mapped page" },
	{ "unpin", "", cmd_unpin, "", "let go of it" },
	{ "fdinfo", "", cmd_fdinfo, "", "the file's /proc/self/fdinfo, each line after '| '" },
	{ "stat", "", cmd_stat, "", "" },
	{ "sread", "n", cmd_sread, "GPA", "a word of a slot's shared memory, by the host" },
	{ "swrite", "nn", cmd_swrite, "GPA VALUE", "" },
	{ "gread", "n", cmd_gread, "GPA", "a word, by the guest" },
	{ "gwrite", "nn", cmd_gwrite, "GPA VALUE", "" },
	{ "gtouch", "nn|nn", cmd_gtouch, "GPA LEN [STEP [VALUE]]",
	  "read (or write VALUE to) a word every STEP, 4K" },
	{ "gfill", "nnn", cmd_gfill, "GPA LEN TAG", "pages with a pattern; TAG 0: zeros" },
	{ "gcheck", "nnn", cmd_gcheck, "GPA LEN TAG", "EBADMSG if a byte differs" },
	{ "convert", "snn", cmd_convert, "private|shared GPA LEN", "KVM_SET_MEMORY_ATTRIBUTES" },
	{ "gconvert", "snn", cmd_gconvert, "private|shared GPA LEN",
	  "the same, asked for by the guest's hypercall" },
	{ "prefault", "nn", cmd_prefault, "GPA LEN", "KVM_PRE_FAULT_MEMORY" },
	{ "sleep", "n", cmd_sleep, "MILLISECONDS", "" },
	{ "pause", "", cmd_pause, "", "until a line, or the end, of the standard input" },
	{ "touchfile", "s", cmd_touchfile, "PATH", "create it" },
	{ "waitfile", "s|n", cmd_waitfile, "PATH [SECONDS]",
	  "until it is there; ETIMEDOUT after 60" },
	{ "pid", "", cmd_pid, "", "" },
	{ "echo", "+", cmd_echo, "[WORD]...", "" },
};

/* Check the arguments against what the command wants, and parse its numbers. */
static int parse_args(const struct command *c, struct args *a, struct result *res)
{
	const char *spec = c->spec;
	bool optional = false;
	int i;

	for (i = 0; *spec && *spec != '+'; spec++) {
		if (*spec == '|') {
			optional = true;
			continue;
		}
		if (i == a->nr) {
			if (optional)
				break;
			return error(-EINVAL, res, "usage: %s %s", c->name, c->args);
		}
		if (*spec == 'n' && !gmem_parse_u64(a->s[i], &a->n[i]))
			return error(-EINVAL, res, "not a number: '%s'", a->s[i]);
		i++;
	}
	if (i < a->nr && *spec != '+')
		return error(-EINVAL, res, "usage: %s %s", c->name, c->args);
	return 0;
}

/* repeat N CMD[, CMD]...: until an error */
static int run_repeat(char *line, struct result *res)
{
	static bool nested;
	char *cmds, *copy, *next;
	u64 n, i;
	int err = 0;

	cmds = line + strcspn(line, " \t");
	if (*cmds)
		*cmds++ = '\0';
	if (!gmem_parse_u64(line, &n))
		return error(-EINVAL, res, "not a number: '%s'", line);
	if (nested)
		return error(-EINVAL, res, "in another");
	nested = true;
	for (i = 0; !err && (!n || i < n); i++) {
		copy = strdup(cmds);
		for (next = copy; !err && next;) {
			char *one = strsep(&next, ",");

			res->len = 0;
			res->text[0] = '\0';
			err = run_line(one, res, false);
		}
		free(copy);
	}
	nested = false;
	if (!err)
		res->len = 0;
	say(res, " rounds=%lu", i);
	return err;
}

static void report(const char *name, int err, const struct result *res)
{
	if (err == SILENT)
		return;
	if (err) {
		failed = true;
		printf("err %d %s %s%.*s\n", -err, strerrorname_np(-err) ?: "?", name,
		       (int)res->len, res->text);
	} else {
		printf("ok %s%.*s\n", name, (int)res->len, res->text);
	}
	fflush(stdout);
}

/* Run one command. Return 0 or a negative errno. */
static int run_line(char *line, struct result *res, bool print)
{
	const char *blank = " \t\r\n";
	const struct command *c;
	struct args a = {};
	char *name, *save;
	int err;

	if (!strncmp(line + strspn(line, blank), "vmtype=", 7))
		*strchr(line, '=') = ' ';
	name = strtok_r(line, blank, &save);
	if (!name || *name == '#')
		return 0;

	if (!strcmp(name, "repeat")) {
		err = run_repeat(save + strspn(save, blank), res);
		if (print)
			report(name, err, res);
		return err;
	}

	while (a.nr < MAX_ARGS && (a.s[a.nr] = strtok_r(NULL, blank, &save)))
		a.nr++;
	for (c = commands; c < commands + ARRAY_SIZE(commands) && strcmp(name, c->name); c++)
		;
	if (c == commands + ARRAY_SIZE(commands))
		err = error(-EINVAL, res, "no such command");
	else
		err = parse_args(c, &a, res) ?: c->fn(&a, res);
	if (print)
		report(name, err, res);
	else if (err < 0)
		say(res, " in=%s", name);
	return err < 0 ? err : 0;
}

static void run_lines(char *lines)
{
	struct result res;
	char *one;

	while (lines) {
		one = strsep(&lines, ";\n");
		res.len = 0;
		res.text[0] = '\0';
		run_line(one, &res, true);
	}
}

static void print_help(void)
{
	const struct command *c;
	char left[80];

	puts("usage: gmem_vm [-k] [COMMAND [; COMMAND]...]\n"
	     "Do guest_memfd operations on a VM, one after the other. Without commands they\n"
	     "are read from the standard input, one a line. Each prints a line: 'ok NAME ...',\n"
	     "or 'err ERRNO ENAME NAME ...', and the next follows.\n"
	     "  -k  exit with 0 even if a command failed\n"
	     "Numbers may have a suffix K, M, G or T. The guest reaches guest physical\n"
	     "addresses from 4G to 16G.\n");
	for (c = commands; c < commands + ARRAY_SIZE(commands); c++) {
		snprintf(left, sizeof(left), "%s %s", c->name, c->args);
		printf("  %-36s %s\n", left, c->help);
	}
	puts("  repeat N COMMAND[, COMMAND]...       N times (0: for ever), or until one fails\n"
	     "\n"
	     "Exit status: 0; 1 a command failed; 2 bad usage; 4 there is no KVM here.\n"
	     "\n"
	     "Examples:\n"
	     "  gmem_vm 'create 4M; bind 1 4G 0 4M; convert private 4G 4M; gwrite 4G 42; fdinfo'\n"
	     "  gmem_vm 'vmtype=default; create 2M mmap shared; mmap; hwrite 0 1; checkzero 0 2M'\n"
	     "  gmem_vm 'create 2M policy=mine; touchfile /tmp/ready; pause'");
}

static char *join(char **words, int nr)
{
	char *line = strdup(""), *longer;
	int i;

	for (i = 0; i < nr; i++) {
		longer = strdup_printf("%s%s ", line, words[i]);
		free(line);
		line = longer;
	}
	return line;
}

int main(int argc, char *argv[])
{
	struct sigaction usr1 = { .sa_handler = on_sigusr1, .sa_flags = SA_RESTART };
	struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };
	bool keep_status = false;
	char *line = NULL;
	size_t size = 0;
	int i;

	gmem_start_main();

	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) {
			print_help();
			return 0;
		}
		if (strcmp(argv[i], "-k")) {
			fprintf(stderr, "gmem_vm: no such option: '%s'; see --help\n", argv[i]);
			return 2;
		}
		keep_status = true;
	}
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGUSR1, &usr1, NULL);

	if (i < argc) {
		line = join(argv + i, argc - i);
		run_lines(line);
	} else {
		while (getline(&line, &size, stdin) >= 0)
			run_lines(line);
	}
	free(line);

	return failed && !keep_status ? 1 : 0;
}
