/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest of gmem_vm and gmem_workload: a vCPU that executes one command at a time.
 *
 * The host fills in a struct gmem_guest_cmd in memory that is shared with the
 * guest and runs the vCPU; the guest executes the command, writes the results,
 * and reports with GUEST_SYNC(). Where an access exits to the host instead, the
 * host decides whether to run on, or to start the guest anew at its entry.
 */
#ifndef SELFTEST_KVM_GMEM_GUEST_H
#define SELFTEST_KVM_GMEM_GUEST_H

#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <linux/kvm_para.h>

#include "kvm_util.h"
#include "processor.h"

/*
 * Naming a policy. As in the series' include/uapi/linux/kvm.h; here too, so that
 * the programs build against, and run on, a kernel without it.
 */
#ifndef GUEST_MEMFD_FLAG_POLICY
#define GUEST_MEMFD_FLAG_POLICY		BIT_ULL(24)
#endif
#define GMEM_POLICY_NAME_LEN		32
#define GMEM_POLICY_NAME_WORD		2	/* of kvm_create_guest_memfd.reserved */

/**
 * enum gmem_guest_op - what the guest does
 * @GMEM_GUEST_READ: result = the word at gpa
 * @GMEM_GUEST_WRITE: the word at gpa = value
 * @GMEM_GUEST_TOUCH: read one word every step bytes, from gpa for len bytes; result counts them
 * @GMEM_GUEST_TOUCH_WRITE: the same, but write value
 * @GMEM_GUEST_FILL: write the pages of [gpa, gpa + len) with the patterns of their tags
 * @GMEM_GUEST_CHECK: compare every byte of the pages with the patterns of their
 *		      tags; result counts the pages that differ, and bad_gpa,
 *		      want and got tell about the first word that does
 * @GMEM_GUEST_CONVERT: KVM_HC_MAP_GPA_RANGE for [gpa, gpa + len), to private if value is not 0
 */
enum gmem_guest_op {
	GMEM_GUEST_READ,
	GMEM_GUEST_WRITE,
	GMEM_GUEST_TOUCH,
	GMEM_GUEST_TOUCH_WRITE,
	GMEM_GUEST_FILL,
	GMEM_GUEST_CHECK,
	GMEM_GUEST_CONVERT,
};

/**
 * struct gmem_guest_cmd - a command to a vCPU, and its results
 * @op: enum gmem_guest_op
 * @gpa: where; guest virtual addresses are the same
 * @len: bytes
 * @value: see the op
 * @step: see the op
 * @tags: one for each page, the first for the page at @gpa; NULL: they are all @value
 * @at: how far the op got
 * @result: see the op
 * @bad_gpa: see the op
 * @want: see the op
 * @got: see the op
 */
struct gmem_guest_cmd {
	u64 op;
	u64 gpa;
	u64 len;
	u64 value;
	u64 step;
	u64 *tags;
	u64 at;
	u64 result;
	u64 bad_gpa;
	u64 want;
	u64 got;
};

#define GMEM_PAGE_WORDS		(PAGE_SIZE / sizeof(u64))

/*
 * The pattern of a page. A tag belongs to one write of one page, so that a page
 * that is missing, old, or that of somebody else differs in every word. Tag 0 is
 * a page of zeros.
 */
#define GMEM_PATTERN_STEP	0x9e3779b97f4a7c15ULL

static inline u64 gmem_pattern(u64 tag, unsigned int word)
{
	return tag ? tag + word * GMEM_PATTERN_STEP : 0;
}

/* How many words are looked at in one go: most of the time that tests take is spent here. */
#define GMEM_WORDS_AT_A_TIME	8

static inline void gmem_fill_page(u64 *page, u64 tag)
{
	const u64 step = tag ? GMEM_PATTERN_STEP : 0;
	unsigned int i, j;
	u64 v = tag;

	for (i = 0; i < GMEM_PAGE_WORDS; i += GMEM_WORDS_AT_A_TIME) {
#pragma GCC unroll 8
		for (j = 0; j < GMEM_WORDS_AT_A_TIME; j++, v += step)
			WRITE_ONCE(page[i + j], v);
	}
}

static __always_inline int __gmem_check_page(const u64 *page, u64 tag, const u64 step)
{
	unsigned int i, j;
	u64 v = tag, wrong;

	for (i = 0; i < GMEM_PAGE_WORDS; i += GMEM_WORDS_AT_A_TIME) {
		wrong = 0;
#pragma GCC unroll 8
		for (j = 0; j < GMEM_WORDS_AT_A_TIME; j++, v += step)
			wrong |= READ_ONCE(page[i + j]) ^ v;
		if (!wrong)
			continue;
		for (j = 0; j < GMEM_WORDS_AT_A_TIME; j++)
			if (READ_ONCE(page[i + j]) != gmem_pattern(tag, i + j))
				return i + j;
		return i;
	}
	return -1;
}

/*
 * Return the first word that differs, or -1. A word that was wrong, and is right when it is looked
 * at once more, counts as well: the first of those that were looked at with it is returned.
 */
static inline int gmem_check_page(const u64 *page, u64 tag)
{
	return tag ? __gmem_check_page(page, tag, GMEM_PATTERN_STEP) :
		     __gmem_check_page(page, 0, 0);
}

static inline void gmem_guest_check(struct gmem_guest_cmd *cmd, u64 gpa, u64 tag)
{
	int word = gmem_check_page((u64 *)gpa, tag);

	if (word < 0)
		return;
	if (!cmd->result++) {
		cmd->bad_gpa = gpa + word * sizeof(u64);
		cmd->want = gmem_pattern(tag, word);
		cmd->got = READ_ONCE(((u64 *)gpa)[word]);
	}
}

static inline void gmem_guest_execute(struct gmem_guest_cmd *cmd)
{
	u64 attributes, tag;

	switch (cmd->op) {
	case GMEM_GUEST_READ:
		cmd->result = READ_ONCE(*(u64 *)cmd->gpa);
		break;
	case GMEM_GUEST_WRITE:
		WRITE_ONCE(*(u64 *)cmd->gpa, cmd->value);
		break;
	case GMEM_GUEST_TOUCH:
	case GMEM_GUEST_TOUCH_WRITE:
		for (; READ_ONCE(cmd->at) < cmd->len; cmd->at += cmd->step) {
			if (cmd->op == GMEM_GUEST_TOUCH)
				(void)READ_ONCE(*(u64 *)(cmd->gpa + cmd->at));
			else
				WRITE_ONCE(*(u64 *)(cmd->gpa + cmd->at), cmd->value);
			cmd->result++;
		}
		break;
	case GMEM_GUEST_FILL:
	case GMEM_GUEST_CHECK:
		for (; READ_ONCE(cmd->at) < cmd->len; cmd->at += PAGE_SIZE) {
			tag = cmd->tags ? cmd->tags[cmd->at / PAGE_SIZE] : cmd->value;
			if (cmd->op == GMEM_GUEST_FILL)
				gmem_fill_page((u64 *)(cmd->gpa + cmd->at), tag);
			else
				gmem_guest_check(cmd, cmd->gpa + cmd->at, tag);
		}
		break;
	case GMEM_GUEST_CONVERT:
		attributes = cmd->value ? KVM_MAP_GPA_RANGE_ENCRYPTED : KVM_MAP_GPA_RANGE_DECRYPTED;
		cmd->result = __kvm_hypercall_map_gpa_range(cmd->gpa, cmd->len, attributes);
		break;
	default:
		GUEST_FAIL("unknown command %lu", cmd->op);
	}
}

/* Where the vCPUs start. */
static inline void gmem_guest_main(struct gmem_guest_cmd *cmd)
{
	for (;;) {
		gmem_guest_execute(cmd);
		GUEST_SYNC(0);
	}
}

/* Map [start, end) of guest physical memory at the same virtual addresses; both multiples of 2M. */
static inline void gmem_map_identity(struct kvm_vm *vm, u64 start, u64 end)
{
	for (; start < end; start += PG_LEVEL_SIZE(PG_LEVEL_2M))
		__virt_pg_map(vm, &vm->mmu, start, start, PG_LEVEL_2M);
}

/*
 * Have KVM_CREATE_GUEST_MEMFD ask for a policy. A name that is too long goes
 * without its NUL, for the kernel to refuse.
 */
static inline void gmem_ask_policy(struct kvm_create_guest_memfd *args, const char *name)
{
	args->flags |= GUEST_MEMFD_FLAG_POLICY;
	memcpy(&args->reserved[GMEM_POLICY_NAME_WORD], name,
	       min_t(size_t, strlen(name), GMEM_POLICY_NAME_LEN));
}

/*
 * Anonymous memory, 2M-aligned as guest physical memory is, so that nothing
 * stands in the way of 2M mappings.
 */
static inline void *gmem_mmap_anon(u64 size)
{
	const u64 align = PG_LEVEL_SIZE(PG_LEVEL_2M);
	void *mem, *aligned;
	u64 head;

	mem = mmap(NULL, size + align, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED)
		return NULL;
	aligned = (void *)(((u64)mem + align - 1) & -align);
	head = aligned - mem;
	if (head)
		munmap(mem, head);
	munmap(aligned + size, align - head);
	return aligned;
}

/**
 * gmem_now_ns - the time, by a clock that is never set
 *
 * Return: nanoseconds
 */
static inline u64 gmem_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/**
 * gmem_parse_u64 - parse a number, with K, M, G or T for powers of 1024
 * @s: text
 * @value: the number
 *
 * Return: whether @s was one
 */
static inline bool gmem_parse_u64(const char *s, u64 *value)
{
	static const char units[] = "KMGT";
	const char *unit;
	char *end;
	u64 v;
	int shift;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	v = strtoull(s, &end, 0);
	if (errno || end == s)
		return false;
	if (*end) {
		unit = strchr(units, *end & ~0x20);
		if (!unit || end[1])
			return false;
		shift = 10 * (unit - units + 1);
		if (v << shift >> shift != v)
			return false;
		v <<= shift;
	}
	*value = v;
	return true;
}

/*
 * The library's own constructor prints a greeting, and ends the program where
 * there is no KVM. What these programs print is read by others: be before it.
 */
static int gmem_stdout;

static void __attribute__((constructor(101))) gmem_mute_library(void)
{
	int null;

	if (access(KVM_DEV_PATH, R_OK | W_OK)) {
		printf("SKIP: %s: %s\n", KVM_DEV_PATH, strerror(errno));
		exit(KSFT_SKIP);
	}
	null = open("/dev/null", O_WRONLY);
	gmem_stdout = dup(STDOUT_FILENO);
	dup2(null, STDOUT_FILENO);
	close(null);
}

/* To be called first in main(). */
static inline void gmem_start_main(void)
{
	dup2(gmem_stdout, STDOUT_FILENO);
	close(gmem_stdout);
	setvbuf(stdout, NULL, _IOFBF, BUFSIZ);
	/* The library loads the guest from there; the name may be one of $PATH. */
	program_invocation_name = "/proc/self/exe";
}

#endif /* SELFTEST_KVM_GMEM_GUEST_H */
