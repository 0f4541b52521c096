// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loads a bzImage by the 64-bit boot protocol (Documentation/arch/x86/boot.rst) as
 * a boot loader does, but straight into the guest's memory: it is mapped here.
 *
 *	0x10000		struct boot_params, the "zero page" (Documentation/arch/x86/zero-page.rst)
 *	0x20000		the command line
 *	0xe0000		the ACPI tables
 *	pref_address	the kernel, which needs init_size bytes to unpack itself
 *	end of memory	the initramfs ends there
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <asm/bootparam.h>

#include "vmm.h"

#define SECTOR			512ULL
#define HEADER_OFFSET		offsetof(struct boot_params, hdr)
#define HEADER_MAGIC		0x53726448	/* "HdrS" */
#define BOOT_FLAG		0xaa55
#define VERSION_64BIT		0x20c		/* has xloadflags */
#define LOADER_UNKNOWN		0xff
#define ENTRY_64BIT		0x200

#define E820_FREE		1
#define E820_RESERVED		2

static __u64 to_mib(__u64 size)
{
	return (size + MIB - 1) / MIB;
}

static int open_file(const char *what, const char *path, __u64 *size)
{
	struct stat st;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		die("%s: %s: %s", what, path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		die("%s: %s is not a file", what, path);
	*size = st.st_size;
	return fd;
}

static void read_file(const char *what, int fd, void *to, __u64 size, __u64 offset)
{
	ssize_t n;

	for (; size; size -= n, to += n, offset += n) {
		n = pread(fd, to, size, offset);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n <= 0)
			die("%s: %s", what, n ? strerror(errno) : "it became shorter");
	}
}

static void read_header(int fd, const char *path, __u64 size, struct setup_header *hdr)
{
	__u8 jump[2];		/* the second byte says where the header ends */
	__u64 end;

	if (size < HEADER_OFFSET + sizeof(*hdr))
		die("--kernel: %s is not a bzImage: it has %llu bytes", path, size);
	read_file("--kernel", fd, jump, sizeof(jump),
		  HEADER_OFFSET + offsetof(struct setup_header, jump));
	end = HEADER_OFFSET + offsetof(struct setup_header, header) + jump[1];
	if (end > HEADER_OFFSET + sizeof(*hdr))
		end = HEADER_OFFSET + sizeof(*hdr);
	read_file("--kernel", fd, hdr, end - HEADER_OFFSET, HEADER_OFFSET);

	if (hdr->boot_flag != BOOT_FLAG || hdr->header != HEADER_MAGIC ||
	    !(hdr->loadflags & LOADED_HIGH))
		die("--kernel: %s is not a bzImage", path);
	if (hdr->version < VERSION_64BIT || !(hdr->xloadflags & XLF_KERNEL_64))
		die("--kernel: %s has no 64-bit entry point", path);
}

/* Return where it begins. */
static __u64 load_kernel(struct vm *vm, const char *path, struct setup_header *hdr)
{
	__u64 size, offset;
	int fd;

	fd = open_file("--kernel", path, &size);
	read_header(fd, path, size, hdr);
	/* Before the 64-bit kernel are the boot sector and that of 16 bits. */
	offset = ((hdr->setup_sects ?: 4) + 1) * SECTOR;
	if (offset >= size || size - offset > hdr->init_size)
		die("--kernel: %s is damaged", path);
	if (hdr->pref_address + hdr->init_size > vm->mem_size)
		die("--mem: this kernel needs %llu MiB to unpack itself, and there are %llu",
		    to_mib(hdr->pref_address + hdr->init_size), to_mib(vm->mem_size));
	read_file("--kernel", fd, vm->mem + hdr->pref_address, size - offset, offset);
	close(fd);
	return hdr->pref_address;
}

static void load_initrd(struct vm *vm, const char *path, struct setup_header *hdr)
{
	__u64 from = hdr->pref_address + hdr->init_size, end = vm->mem_size, size;
	int fd;

	if (end > hdr->initrd_addr_max + 1ULL)
		end = hdr->initrd_addr_max + 1ULL;
	fd = open_file("--initrd", path, &size);
	if (size > end - from)
		die("--initrd: %s has %llu MiB, and there is room for %llu", path,
		    to_mib(size), (end - from) / MIB);
	hdr->ramdisk_image = (end - size) / VMM_PAGE * VMM_PAGE;
	if (hdr->ramdisk_image < from)
		die("--initrd: %s is a page too large", path);
	hdr->ramdisk_size = size;
	read_file("--initrd", fd, vm->mem + hdr->ramdisk_image, size, 0);
	close(fd);
}

static void add_memory(struct boot_params *params, __u64 start, __u64 end, __u32 type)
{
	params->e820_table[params->e820_entries++] = (struct boot_e820_entry) {
		.addr = start,
		.size = end - start,
		.type = type,
	};
}

/**
 * boot_load - put into memory what the guest starts with, and make the first vCPU ready
 * @vm: the guest
 * @kernel: file with a bzImage
 * @initrd: file with an initramfs, or NULL
 * @cmdline: the kernel's command line
 */
void boot_load(struct vm *vm, const char *kernel, const char *initrd, const char *cmdline)
{
	struct boot_params *params = vm->mem + ADDR_BOOT_PARAMS;
	struct setup_header *hdr = &params->hdr;
	__u64 start;

	start = load_kernel(vm, kernel, hdr);
	if (initrd)
		load_initrd(vm, initrd, hdr);

	hdr->type_of_loader = LOADER_UNKNOWN;
	if (strlen(cmdline) > hdr->cmdline_size)
		die("--cmdline: this kernel takes %u characters", hdr->cmdline_size);
	hdr->cmd_line_ptr = ADDR_CMDLINE;
	strcpy(vm->mem + ADDR_CMDLINE, cmdline);

	add_memory(params, 0, ADDR_LOW_END, E820_FREE);
	add_memory(params, ADDR_ACPI, ADDR_HIGH, E820_RESERVED);
	add_memory(params, ADDR_HIGH, vm->mem_size, E820_FREE);
	params->acpi_rsdp_addr = ADDR_ACPI;
	acpi_tables(vm);

	cpu_start(vm, start + ENTRY_64BIT, ADDR_BOOT_PARAMS);
}
