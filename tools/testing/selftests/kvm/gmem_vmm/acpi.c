// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ACPI tables of the least machine that Linux runs on with several processors,
 * and can be switched off and reset:
 *
 *	RSDP	where the kernel is told to look (boot_params.acpi_rsdp_addr)
 *	XSDT	has the addresses of the FADT and the MADT
 *	FADT	where the registers are by which it is switched off and reset; what a PC
 *		has and this machine does not
 *	FACS	there must be one
 *	DSDT	what to write into the register to switch it off
 *	MADT	processors and interrupt controllers
 *
 * ACPI Specification 6.5, chapter 5.
 */
#include <string.h>

#include "vmm.h"

#define PACKED			__attribute__((packed))

#define LAPIC_ADDR		0xfee00000
#define IOAPIC_ADDR		0xfec00000

struct rsdp {
	char signature[8];
	__u8 checksum;		/* of the first 20 bytes */
	char oem[6];
	__u8 revision;
	__u32 rsdt;
	__u32 length;
	__u64 xsdt;
	__u8 checksum_all;
	__u8 reserved[3];
} PACKED;

struct header {
	char signature[4];
	__u32 length;
	__u8 revision;
	__u8 checksum;
	char oem[6];
	char oem_table[8];
	__u32 oem_revision;
	char creator[4];
	__u32 creator_revision;
} PACKED;

struct xsdt {
	struct header header;
	__u64 tables[2];
} PACKED;

struct address {
	__u8 space;		/* 1: I/O ports */
	__u8 bits;
	__u8 bit_offset;
	__u8 access;		/* 1: bytes */
	__u64 address;
} PACKED;

#define FADT_LEGACY_DEVICES	(1 << 0)	/* boot_flags: there are some, the serial ports */
#define FADT_NO_VGA		(1 << 2)
#define FADT_NO_RTC		(1 << 5)
#define FADT_WBINVD		(1 << 0)	/* flags */
#define FADT_NO_POWER_BUTTON	(1 << 4)
#define FADT_NO_SLEEP_BUTTON	(1 << 5)
#define FADT_RESET		(1 << 10)

struct fadt {
	struct header header;
	__u32 facs;
	__u32 dsdt;
	__u8 model;
	__u8 profile;
	__u16 sci;
	__u32 smi_command;	/* 0: ACPI is always on */
	__u8 no_smi[4];
	__u32 pm1a_event;
	__u32 pm1b_event;
	__u32 pm1a_control;
	__u32 pm1b_control;
	__u32 pm2_control;
	__u32 pm_timer;
	__u32 gpe[2];
	__u8 pm1_event_len;
	__u8 pm1_control_len;
	__u8 no_more[6];
	__u16 c2_latency;
	__u16 c3_latency;
	__u8 no_caches[9];
	__u16 boot_flags;
	__u8 reserved;
	__u32 flags;
	struct address reset;
	__u8 reset_value;
	__u8 not_arm[3];
	__u64 facs64;		/* 0, as the others: see those of 32 bits */
	__u64 dsdt64;
	struct address registers64[8];
} PACKED;

struct facs {
	char signature[4];
	__u32 length;
	__u8 rest[24];
	__u8 version;
	__u8 reserved[31];
} PACKED;

/*
 * Name (\_S5, Package () { SLEEP_TYPE_OFF, SLEEP_TYPE_OFF }), in AML: NameOp, name;
 * PackageOp, its length with this byte, number of elements; BytePrefix, value; twice
 */
static const __u8 dsdt_code[] = {
	0x08, '_', 'S', '5', '_',
	0x12, 0x06, 0x02, 0x0a, SLEEP_TYPE_OFF, 0x0a, SLEEP_TYPE_OFF,
};

struct dsdt {
	struct header header;
	__u8 code[sizeof(dsdt_code)];
} PACKED;

#define MADT_PCAT		(1 << 0)	/* flags: there are 8259s, too */
#define MADT_ENABLED		(1 << 0)	/* flags of a processor */
#define MADT_HIGH_LEVEL		0xd		/* flags of an interrupt */

struct lapic {
	__u8 type;		/* 0 */
	__u8 length;
	__u8 processor;
	__u8 id;
	__u32 flags;
} PACKED;

struct ioapic {
	__u8 type;		/* 1 */
	__u8 length;
	__u8 id;
	__u8 reserved;
	__u32 address;
	__u32 first_irq;
} PACKED;

struct override {
	__u8 type;		/* 2 */
	__u8 length;
	__u8 bus;
	__u8 irq;
	__u32 pin;
	__u16 flags;
} PACKED;

struct madt {
	struct header header;
	__u32 lapic_address;
	__u32 flags;
	struct ioapic ioapic;
	struct override sci;
	struct lapic lapics[VMM_MAX_CPUS];
} PACKED;

/* As they lie in the guest's memory */
struct tables {
	struct rsdp rsdp __attribute__((aligned(16)));
	struct xsdt xsdt __attribute__((aligned(16)));
	struct fadt fadt __attribute__((aligned(16)));
	struct dsdt dsdt __attribute__((aligned(16)));
	struct madt madt __attribute__((aligned(16)));
	struct facs facs __attribute__((aligned(64)));
};

#define TABLE_ADDR(table)	(ADDR_ACPI + offsetof(struct tables, table))

/* All bytes together are 0. */
static __u8 checksum(const void *table, size_t length)
{
	const __u8 *bytes = table;
	__u8 sum = 0;
	size_t i;

	for (i = 0; i < length; i++)
		sum += bytes[i];
	return -sum;
}

/* To be called when the rest of the table is there. */
static void finish(struct header *header, const char *signature, int revision, size_t length)
{
	memcpy(header->signature, signature, sizeof(header->signature));
	header->length = length;
	header->revision = revision;
	memcpy(header->oem, "GMEM  ", sizeof(header->oem));
	memcpy(header->oem_table, "GMEMVMM ", sizeof(header->oem_table));
	header->oem_revision = 1;
	memcpy(header->creator, "GMEM", sizeof(header->creator));
	header->creator_revision = 1;
	header->checksum = checksum(header, length);
}

static void fill_rsdp(struct rsdp *rsdp)
{
	*rsdp = (struct rsdp) {
		.signature = "RSD PTR ",
		.oem = "GMEM  ",
		.revision = 2,
		.length = sizeof(*rsdp),
		.xsdt = TABLE_ADDR(xsdt),
	};
	rsdp->checksum = checksum(rsdp, 20);
	rsdp->checksum_all = checksum(rsdp, sizeof(*rsdp));
}

static void fill_fadt(struct fadt *fadt)
{
	*fadt = (struct fadt) {
		.facs = TABLE_ADDR(facs),
		.dsdt = TABLE_ADDR(dsdt),
		.sci = IRQ_SCI,
		.pm1a_event = PORT_PM1_EVENT,
		.pm1_event_len = 4,
		.pm1a_control = PORT_PM1_CONTROL,
		.pm1_control_len = 2,
		.c2_latency = 0xffff,	/* there is none */
		.c3_latency = 0xffff,
		.boot_flags = FADT_LEGACY_DEVICES | FADT_NO_VGA | FADT_NO_RTC,
		.flags = FADT_WBINVD | FADT_NO_POWER_BUTTON | FADT_NO_SLEEP_BUTTON | FADT_RESET,
		.reset = { .space = 1, .bits = 8, .access = 1, .address = PORT_KBD },
		.reset_value = KBD_RESET,
	};
	finish(&fadt->header, "FACP", 3, sizeof(*fadt));
}

static void fill_madt(struct madt *madt, int nr_vcpus)
{
	int i;

	*madt = (struct madt) {
		.lapic_address = LAPIC_ADDR,
		.flags = MADT_PCAT,
		.ioapic = {
			.type = 1,
			.length = sizeof(madt->ioapic),
			.id = VMM_MAX_CPUS,
			.address = IOAPIC_ADDR,
		},
		/* What is not said here is as on a PC: ISA interrupt N at pin N, edge-triggered. */
		.sci = {
			.type = 2,
			.length = sizeof(madt->sci),
			.irq = IRQ_SCI,
			.pin = IRQ_SCI,
			.flags = MADT_HIGH_LEVEL,
		},
	};
	for (i = 0; i < nr_vcpus; i++) {
		madt->lapics[i] = (struct lapic) {
			.length = sizeof(madt->lapics[i]),
			.processor = i,
			.id = i,
			.flags = MADT_ENABLED,
		};
	}
	finish(&madt->header, "APIC", 3, offsetof(struct madt, lapics[nr_vcpus]));
}

/**
 * acpi_tables - put the tables into the guest's memory, at ADDR_ACPI
 * @vm: the guest
 */
void acpi_tables(struct vm *vm)
{
	struct tables *tables = vm->mem + ADDR_ACPI;

	fill_rsdp(&tables->rsdp);
	tables->xsdt.tables[0] = TABLE_ADDR(fadt);
	tables->xsdt.tables[1] = TABLE_ADDR(madt);
	finish(&tables->xsdt.header, "XSDT", 1, sizeof(tables->xsdt));
	fill_fadt(&tables->fadt);
	fill_madt(&tables->madt, vm->nr_vcpus);
	memcpy(tables->dsdt.code, dsdt_code, sizeof(dsdt_code));
	finish(&tables->dsdt.header, "DSDT", 2, sizeof(tables->dsdt));
	tables->facs = (struct facs) {
		.signature = "FACS",
		.length = sizeof(tables->facs),
		.version = 1,
	};
}
