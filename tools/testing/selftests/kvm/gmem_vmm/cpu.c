// SPDX-License-Identifier: GPL-2.0-only
/*
 * The processors: which the guest sees, and the state in which the first one
 * starts. The others wait, as KVM leaves them, until the guest starts them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <asm/kvm_para.h>

#include "vmm.h"

#define MAX_CPUID		256
#define CPUID_CACHES		4
#define CPUID_TOPOLOGY		0xb
#define CPUID_TOPOLOGY2		0x1f
#define CPUID_AMD_SIZES		0x80000008
#define CPUID_XSAVE		0xd
#define CPUID_AMD_TOPOLOGY	0x8000001e

#define MSR_MISC_ENABLE		0x1a0
#define MISC_ENABLE_STRINGS	(1 << 0)
#define MSR_MTRR_DEFAULT	0x2ff
#define MTRR_ENABLED		(1 << 11)
#define MTRR_WRITE_BACK		6

#define SELECTOR_CS		0x10	/* __BOOT_CS and __BOOT_DS of boot.rst */
#define SELECTOR_DS		0x18
#define CR0_PE			(1 << 0)
#define CR0_PG			(1U << 31)
#define CR4_PAE			(1 << 5)
#define EFER_LME		(1 << 8)
#define EFER_LMA		(1 << 10)
#define RFLAGS_FIXED		(1 << 1)

#define PAGE_PRESENT		(1 << 0)
#define PAGE_WRITABLE		(1 << 1)
#define PAGE_LARGE		(1 << 7)
#define TABLE_ENTRIES		512

enum cpuid_register { EAX, EBX, ECX, EDX };

/*
 * Features that the guest is not offered. What XSAVE saves goes with it: the guest would find one
 * without the other. It does not work where KVM itself runs on a processor that QEMU emulates.
 */
static const struct {
	__u32 function;
	__u32 index;
	enum cpuid_register reg;
	__u32 bits;
} not_offered[] = {
	/* FMA, XSAVE, OSXSAVE, AVX, F16C */
	{ 1, 0, ECX, 1 << 12 | 1 << 26 | 1 << 27 | 1 << 28 | 1 << 29 },
	/* AVX2, MPX, AVX512*, and their like */
	{ 7, 0, EBX, 1 << 5 | 1 << 14 | 1 << 16 | 1 << 17 | 1 << 21 | 1 << 26 | 1 << 27 | 1 << 28 |
		     1 << 30 | 1U << 31 },
	/* AVX512*, PKU, OSPKE, SHSTK, GFNI, VAES, VPCLMULQDQ */
	{ 7, 0, ECX, 1 << 1 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 |
		     1 << 11 | 1 << 12 | 1 << 14 },
	/* AVX512*, IBT, AMX */
	{ 7, 0, EDX, 1 << 2 | 1 << 3 | 1 << 8 | 1 << 20 | 1 << 22 | 1 << 23 | 1 << 24 | 1 << 25 },
	/* AVX* and AMX*, and a few that are not missed */
	{ 7, 1, EAX, ~0U },
	{ 7, 1, EDX, ~0U },
	/* XOP, FMA4 */
	{ 0x80000001, 0, ECX, 1 << 11 | 1 << 16 },
	{ CPUID_XSAVE, 0, EAX, ~0U },
	{ CPUID_XSAVE, 1, EAX, ~0U },
	/*
	 * PV_EOI, which spares the exit at the end of an interrupt. Such a QEMU can deliver an
	 * interrupt a second time, without asking whether the guest takes any, until the next exit.
	 */
	{ KVM_CPUID_FEATURES, 0, EAX, 1 << KVM_FEATURE_PV_EOI },
};

static __u32 *cpuid_register(struct kvm_cpuid_entry2 *entry, enum cpuid_register reg)
{
	__u32 *registers[] = { &entry->eax, &entry->ebx, &entry->ecx, &entry->edx };

	return registers[reg];
}

static void cpuid_drop(struct kvm_cpuid_entry2 *entry)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(not_offered); i++) {
		if (entry->function == not_offered[i].function &&
		    entry->index == not_offered[i].index)
			*cpuid_register(entry, not_offered[i].reg) &= ~not_offered[i].bits;
	}
}

/* Each processor is a package of its own, whose APIC has its number. */
static void cpuid_number(struct kvm_cpuid_entry2 *entry, int nr)
{
	switch (entry->function) {
	case 1:
		entry->ebx = (entry->ebx & 0xff00) | nr << 24 | 1 << 16;
		break;
	case CPUID_CACHES:	/* shared by no others */
		entry->eax &= 0x3fff;
		break;
	case CPUID_TOPOLOGY:
	case CPUID_TOPOLOGY2:
		entry->edx = nr;
		break;
	case CPUID_AMD_SIZES:	/* cores of a package, less one */
		entry->ecx = 0;
		break;
	case CPUID_AMD_TOPOLOGY:
		entry->eax = nr;
		break;
	}
}

static struct kvm_cpuid2 *supported_cpuid(struct vm *vm)
{
	struct kvm_cpuid2 *cpuid;

	cpuid = calloc(1, sizeof(*cpuid) + MAX_CPUID * sizeof(cpuid->entries[0]));
	if (!cpuid)
		die("out of memory");
	cpuid->nent = MAX_CPUID;
	if (ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, cpuid))
		die("KVM_GET_SUPPORTED_CPUID: %s", strerror(errno));
	return cpuid;
}

/* As firmware leaves it: memory is cached, and string instructions are fast. */
static void set_msrs(struct vcpu *vcpu)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[2];
	} msrs = {
		.head.nmsrs = 2,
		.entries = {
			{ .index = MSR_MTRR_DEFAULT, .data = MTRR_ENABLED | MTRR_WRITE_BACK },
			{ .index = MSR_MISC_ENABLE, .data = MISC_ENABLE_STRINGS },
		},
	};

	if (ioctl(vcpu->fd, KVM_SET_MSRS, &msrs) != 2)
		die("KVM_SET_MSRS: %s", strerror(errno));
}

/**
 * cpu_setup - say what processor a vCPU is
 * @vm: the guest
 * @nr: of the vCPU
 */
void cpu_setup(struct vm *vm, int nr)
{
	struct kvm_cpuid2 *cpuid = supported_cpuid(vm);
	__u32 i;

	for (i = 0; i < cpuid->nent; i++) {
		cpuid_drop(&cpuid->entries[i]);
		cpuid_number(&cpuid->entries[i], nr);
	}
	if (ioctl(vm->vcpus[nr].fd, KVM_SET_CPUID2, cpuid))
		die("KVM_SET_CPUID2: %s", strerror(errno));
	free(cpuid);
	set_msrs(&vm->vcpus[nr]);
}

/* The first GiB, each address at itself, by pages of 2M. */
static void map_identity(struct vm *vm)
{
	__u64 *pml4 = vm->mem + ADDR_PAGE_TABLES;
	__u64 *pdpt = pml4 + TABLE_ENTRIES, *pd = pdpt + TABLE_ENTRIES;
	const __u64 flags = PAGE_PRESENT | PAGE_WRITABLE;
	__u64 i;

	pml4[0] = (ADDR_PAGE_TABLES + VMM_PAGE) | flags;
	pdpt[0] = (ADDR_PAGE_TABLES + 2 * VMM_PAGE) | flags;
	for (i = 0; i < TABLE_ENTRIES; i++)
		pd[i] = i * 2 * MIB | flags | PAGE_LARGE;
}

static struct kvm_segment flat_segment(__u16 selector, bool code)
{
	return (struct kvm_segment) {
		.limit = ~0U,
		.selector = selector,
		.type = code ? 0xb : 0x3,	/* execute and read; read and write; accessed */
		.present = 1,
		.s = 1,
		.l = code,
		.db = !code,
		.g = 1,
	};
}

/* The same as the guest finds it in its memory, when it loads it again. */
static __u64 descriptor(const struct kvm_segment *segment)
{
	return 0xffff | (__u64)(segment->type | segment->s << 4 | segment->present << 7) << 40 |
	       (0xfULL | segment->l << 5 | segment->db << 6 | segment->g << 7) << 48;
}

/**
 * cpu_start - make the first vCPU ready to enter the kernel
 * @vm: the guest
 * @entry: where
 * @boot_params: what it is told
 *
 * Documentation/arch/x86/boot.rst, "64-bit Boot Protocol": 64-bit mode, paging on,
 * with addresses mapped to themselves, flat segments, no interrupts.
 */
void cpu_start(struct vm *vm, __u64 entry, __u64 boot_params)
{
	struct kvm_segment cs = flat_segment(SELECTOR_CS, true);
	struct kvm_segment ds = flat_segment(SELECTOR_DS, false);
	struct kvm_regs regs = {
		.rip = entry,
		.rsi = boot_params,
		.rflags = RFLAGS_FIXED,
	};
	__u64 *gdt = vm->mem + ADDR_GDT;
	int fd = vm->vcpus[0].fd;
	struct kvm_sregs sregs;

	gdt[SELECTOR_CS / sizeof(*gdt)] = descriptor(&cs);
	gdt[SELECTOR_DS / sizeof(*gdt)] = descriptor(&ds);
	map_identity(vm);

	if (ioctl(fd, KVM_GET_SREGS, &sregs))
		die("KVM_GET_SREGS: %s", strerror(errno));
	sregs.cs = cs;
	sregs.ds = ds;
	sregs.es = ds;
	sregs.fs = ds;
	sregs.gs = ds;
	sregs.ss = ds;
	sregs.gdt.base = ADDR_GDT;
	sregs.gdt.limit = SELECTOR_DS + sizeof(*gdt) - 1;
	sregs.cr0 |= CR0_PE | CR0_PG;
	sregs.cr3 = ADDR_PAGE_TABLES;
	sregs.cr4 |= CR4_PAE;
	sregs.efer |= EFER_LME | EFER_LMA;
	if (ioctl(fd, KVM_SET_SREGS, &sregs) || ioctl(fd, KVM_SET_REGS, &regs))
		die("the first vCPU cannot be set up: %s", strerror(errno));
}
