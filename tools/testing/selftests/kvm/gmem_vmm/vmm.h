/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gmem_vmm: a VMM whose guest, a real Linux, has all its memory in a guest_memfd.
 *
 *	main.c		options, and what is reported at the end
 *	vm.c		KVM: the VM, its memory and vCPUs, running them
 *	boot.c		puts the kernel, the initramfs and what they expect into the memory
 *	acpi.c		tells the guest what machine it has
 *	cpu.c		which processor it sees, in which state the first one starts
 *	serial.c	its serial ports
 *	stats.c		what KVM and guest_memfd tell about it
 *
 * The parts that have to do with guest_memfd are vm_memory() in vm.c and stats.c.
 */
#ifndef GMEM_VMM_H
#define GMEM_VMM_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>

#include <linux/kvm.h>
#include <linux/types.h>

#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define MIB			(1ULL << 20)

#define VMM_PAGE		4096ULL
#define VMM_MAX_CPUS		4
#define VMM_MIN_MEM		(32 * MIB)
#define VMM_MAX_MEM		(2048 * MIB)	/* all below what is not memory on a PC */
#define VMM_POLICY_LEN		32

/*
 * The lowest MiB of the guest's physical memory, as a PC has it: memory, where the
 * kernel finds what it is started with; then what the e820 map says is not free,
 * with the ACPI tables in it.
 */
#define ADDR_BOOT_PARAMS	0x10000ULL
#define ADDR_GDT		0x11000ULL
#define ADDR_PAGE_TABLES	0x12000ULL
#define ADDR_CMDLINE		0x20000ULL
#define ADDR_LOW_END		0xa0000ULL
#define ADDR_ACPI		0xe0000ULL
#define ADDR_HIGH		0x100000ULL

/* Ports, beside those of the interrupt controllers and the timer, which are KVM's */
#define PORT_KBD		0x64	/* the keyboard controller, of which there is the reset */
#define KBD_RESET		0xfe
#define PORT_PM1_EVENT		0x600		/* ACPI's fixed hardware */
#define PORT_PM1_CONTROL	0x604
#define PM1_SCI_EN		(1 << 0)
#define PM1_SLEEP_TYPE(pm1)	(((pm1) >> 10) & 7)
#define PM1_SLEEP_EN		(1 << 13)
#define SLEEP_TYPE_OFF		5

/* Interrupts */
#define IRQ_COM2		3
#define IRQ_COM1		4
#define IRQ_SCI			9

/* Exit status, unless it is the guest's verdict */
#define EXIT_VERDICT_MAX	99
#define EXIT_TIMEOUT		124
#define EXIT_NO_VERDICT		125
#define EXIT_NOT_STARTED	126

/**
 * enum vm_end - how a guest ended
 * @VM_RUNS: not at all
 * @VM_POWER_OFF: it switched itself off
 * @VM_RESET: it asked to be reset, as Linux does after a panic
 * @VM_TRIPLE_FAULT: it could not even handle its faults
 * @VM_TIMEOUT: it ran longer than it may
 * @VM_ERROR: KVM cannot go on; there was a message
 */
enum vm_end {
	VM_RUNS,
	VM_POWER_OFF,
	VM_RESET,
	VM_TRIPLE_FAULT,
	VM_TIMEOUT,
	VM_ERROR,
};

/**
 * struct serial - a 16550 that sends
 * @port: its first I/O port
 * @irq: its interrupt
 * @vm: the VM that it is in
 * @put: where the bytes go
 * @sent: transmitter empty, and the guest was not told
 * @line: the state of the interrupt line
 * @divisor: of the baud rate, which nobody uses
 * @ier: interrupts that the guest wants
 * @fcr: FIFO control
 * @lcr: line control
 * @mcr: modem control
 * @scratch: whatever the guest puts there
 */
struct serial {
	__u16 port;
	int irq;
	struct vm *vm;
	void (*put)(struct vm *vm, char c);
	bool sent;
	bool line;
	__u8 divisor[2];
	__u8 ier;
	__u8 fcr;
	__u8 lcr;
	__u8 mcr;
	__u8 scratch;
};

/**
 * struct vcpu - a processor of the guest
 * @vm: the VM that it is in
 * @fd: of KVM
 * @run: what KVM and the VMM tell each other
 * @thread: runs it
 */
struct vcpu {
	struct vm *vm;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
};

/**
 * struct vm - the guest's machine
 * @kvm: /dev/kvm
 * @fd: of the VM
 * @gmem: the guest_memfd, which has all its memory
 * @mem: the same memory, mapped here
 * @mem_size: bytes of it
 * @nr_vcpus: processors
 * @vcpus: they
 * @devices: taken by a vCPU that accesses a device
 * @console: COM1: the guest's console
 * @report: COM2: what the guest has found
 * @line: what came of that so far
 * @line_len: characters of it
 * @verdict: the number that its last whole line began with, or -1
 * @pm1_enable: ACPI events that the guest wants; there are none
 * @end: how it ended
 * @ended: posted when @end is set
 */
struct vm {
	int kvm;
	int fd;
	int gmem;
	void *mem;
	__u64 mem_size;
	int nr_vcpus;
	struct vcpu vcpus[VMM_MAX_CPUS];
	pthread_mutex_t devices;
	struct serial console;
	struct serial report;
	char line[256];
	size_t line_len;
	int verdict;
	__u16 pm1_enable;
	enum vm_end end;
	sem_t ended;
};

/* main.c */
void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...);
void __attribute__((format(printf, 1, 2))) complain(const char *fmt, ...);

/* vm.c */
void vm_create(struct vm *vm, int nr_vcpus, __u64 mem_size, const char *policy);
enum vm_end vm_run(struct vm *vm, unsigned int seconds);
void vm_end(struct vm *vm, enum vm_end end);
void vm_irq(struct vm *vm, int irq, bool level);

/* boot.c */
void boot_load(struct vm *vm, const char *kernel, const char *initrd, const char *cmdline);

/* acpi.c */
void acpi_tables(struct vm *vm);

/* cpu.c */
void cpu_setup(struct vm *vm, int nr);
void cpu_start(struct vm *vm, __u64 entry, __u64 boot_params);

/* serial.c */
bool serial_has(const struct serial *serial, __u16 port);
__u8 serial_read(struct serial *serial, __u16 port);
void serial_write(struct serial *serial, __u16 port, __u8 value);

/* stats.c */
void stats_print(struct vm *vm, __u64 wall_ms);

#endif /* GMEM_VMM_H */
