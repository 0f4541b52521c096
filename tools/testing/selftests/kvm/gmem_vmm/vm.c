// SPDX-License-Identifier: GPL-2.0-only
/*
 * The VM: its memory, which is a guest_memfd and nothing else; its vCPUs, each a
 * thread; and what they exit for.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vmm.h"

/* In include/uapi/linux/kvm.h of a kernel with gmem policies */
#ifndef GUEST_MEMFD_FLAG_POLICY
#define GUEST_MEMFD_FLAG_POLICY	(1ULL << 24)
#endif
#define POLICY_NAME_WORD	2	/* of kvm_create_guest_memfd.reserved */

/* Three pages that KVM needs on Intel's processors, where the guest has no memory */
#define TSS_ADDR		0xfffbd000

#define KICK_SIGNAL		SIGUSR1

static __thread struct kvm_run *my_run;

/*
 * Memory by guest_memfd: a file of the VM, which is mapped into the VMM (MMAP) and is
 * the guest's at the same time (INIT_SHARED, there is nothing private). The kernel
 * allocates it as the guest touches it; how, a policy may decide, which is the
 * operator's matter, unless the VMM asks for one by name.
 */
static int create_gmem(struct vm *vm, const char *policy)
{
	struct kvm_create_guest_memfd args = {
		.size = vm->mem_size,
		.flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED,
	};
	int supported, fd;

	if (policy) {
		args.flags |= GUEST_MEMFD_FLAG_POLICY;
		strncpy((char *)&args.reserved[POLICY_NAME_WORD], policy, VMM_POLICY_LEN - 1);
	}
	supported = ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_FLAGS);
	if (supported < 0 || (args.flags & ~(__u64)supported & ~GUEST_MEMFD_FLAG_POLICY))
		die("this kernel has no guest_memfd that a VMM can map");
	if (args.flags & ~(__u64)supported)
		die("--policy: this kernel has no gmem policies");

	fd = ioctl(vm->fd, KVM_CREATE_GUEST_MEMFD, &args);
	if (fd < 0 && errno == ENOENT && policy)
		die("--policy: no policy '%s' is loaded that VMMs may ask for", policy);
	if (fd < 0)
		die("KVM_CREATE_GUEST_MEMFD: %s", strerror(errno));
	return fd;
}

static void vm_memory(struct vm *vm, const char *policy)
{
	struct kvm_userspace_memory_region2 region;

	vm->gmem = create_gmem(vm, policy);
	vm->mem = mmap(NULL, vm->mem_size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->gmem, 0);
	if (vm->mem == MAP_FAILED)
		die("mmap() of the guest_memfd: %s", strerror(errno));

	region = (struct kvm_userspace_memory_region2) {
		.flags = KVM_MEM_GUEST_MEMFD,
		.memory_size = vm->mem_size,
		.userspace_addr = (__u64)vm->mem,
		.guest_memfd = vm->gmem,
	};
	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION2, &region))
		die("KVM_SET_USER_MEMORY_REGION2: %s", strerror(errno));
}

static void vm_chips(struct vm *vm)
{
	/* The port by which a PC's speaker is switched also measures time. */
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };

	if (ioctl(vm->fd, KVM_SET_TSS_ADDR, TSS_ADDR) || ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) ||
	    ioctl(vm->fd, KVM_CREATE_PIT2, &pit))
		die("KVM has no interrupt controllers or no timer: %s", strerror(errno));
}

static void vm_vcpu(struct vm *vm, int nr)
{
	struct vcpu *vcpu = &vm->vcpus[nr];
	int size;

	vcpu->vm = vm;
	vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, nr);
	if (vcpu->fd < 0)
		die("KVM_CREATE_VCPU: %s", strerror(errno));
	size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vcpu->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (size < 0 || vcpu->run == MAP_FAILED)
		die("mmap() of a vCPU: %s", strerror(errno));
	cpu_setup(vm, nr);
}

/**
 * vm_create - make a VM, without anything in its memory
 * @vm: it
 * @nr_vcpus: processors
 * @mem_size: bytes of memory
 * @policy: name of the policy that its memory is to have, or NULL
 */
void vm_create(struct vm *vm, int nr_vcpus, __u64 mem_size, const char *policy)
{
	int i;

	vm->mem_size = mem_size;
	vm->nr_vcpus = nr_vcpus;
	vm->verdict = -1;
	pthread_mutex_init(&vm->devices, NULL);
	sem_init(&vm->ended, 0, 0);

	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm < 0)
		die("/dev/kvm: %s", strerror(errno));
	vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
	if (vm->fd < 0)
		die("KVM_CREATE_VM: %s", strerror(errno));
	vm_memory(vm, policy);
	vm_chips(vm);
	for (i = 0; i < nr_vcpus; i++)
		vm_vcpu(vm, i);
}

/**
 * vm_irq - set an interrupt line
 * @vm: the guest
 * @irq: the line
 * @level: high or low
 */
void vm_irq(struct vm *vm, int irq, bool level)
{
	struct kvm_irq_level line = { .irq = irq, .level = level };

	if (ioctl(vm->fd, KVM_IRQ_LINE, &line))
		die("KVM_IRQ_LINE: %s", strerror(errno));
}

/**
 * vm_end - the guest has ended; to be called by any thread, the first one counts
 * @vm: the guest
 * @end: how
 */
void vm_end(struct vm *vm, enum vm_end end)
{
	enum vm_end runs = VM_RUNS;

	if (__atomic_compare_exchange_n(&vm->end, &runs, end, false, __ATOMIC_SEQ_CST,
					__ATOMIC_SEQ_CST))
		sem_post(&vm->ended);
}

static bool ended(struct vm *vm)
{
	return __atomic_load_n(&vm->end, __ATOMIC_SEQ_CST) != VM_RUNS;
}

/* What it asks ACPI's registers for, is to be switched off. */
static void pm1_write(struct vm *vm, __u16 port, __u16 value)
{
	if (port == PORT_PM1_EVENT + 2)
		vm->pm1_enable = value;
	if (port == PORT_PM1_CONTROL && (value & PM1_SLEEP_EN) &&
	    PM1_SLEEP_TYPE(value) == SLEEP_TYPE_OFF)
		vm_end(vm, VM_POWER_OFF);
}

static void port_write(struct vm *vm, __u16 port, const void *data, int size)
{
	__u16 value = size == 1 ? *(__u8 *)data : *(__u16 *)data;

	if (serial_has(&vm->console, port))
		serial_write(&vm->console, port, value);
	else if (serial_has(&vm->report, port))
		serial_write(&vm->report, port, value);
	else if (port == PORT_KBD && value == KBD_RESET)
		vm_end(vm, VM_RESET);
	else if (size == 2)
		pm1_write(vm, port, value);
}

static void port_read(struct vm *vm, __u16 port, void *data, int size)
{
	/* As when nobody answers. That the keyboard controller is not busy must be seen. */
	memset(data, port == PORT_KBD ? 0 : 0xff, size);

	if (serial_has(&vm->console, port))
		*(__u8 *)data = serial_read(&vm->console, port);
	else if (serial_has(&vm->report, port))
		*(__u8 *)data = serial_read(&vm->report, port);
	else if (port == PORT_PM1_EVENT && size == 2)
		*(__u16 *)data = 0;
	else if (port == PORT_PM1_EVENT + 2 && size == 2)
		*(__u16 *)data = vm->pm1_enable;
	else if (port == PORT_PM1_CONTROL && size == 2)
		*(__u16 *)data = PM1_SCI_EN;
}

static void handle_io(struct vm *vm, struct kvm_run *run)
{
	void *data = (void *)run + run->io.data_offset;
	__u32 i;

	pthread_mutex_lock(&vm->devices);
	for (i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_OUT)
			port_write(vm, run->io.port, data, run->io.size);
		else
			port_read(vm, run->io.port, data, run->io.size);
	}
	pthread_mutex_unlock(&vm->devices);
}

static void handle_exit(struct vm *vm, struct kvm_run *run)
{
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		handle_io(vm, run);
		break;
	case KVM_EXIT_MMIO:	/* no device is there */
		memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
		break;
	case KVM_EXIT_SHUTDOWN:
		vm_end(vm, VM_TRIPLE_FAULT);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		complain("KVM cannot go on: internal error %u", run->internal.suberror);
		vm_end(vm, VM_ERROR);
		break;
	default:
		complain("KVM cannot go on: exit %u", run->exit_reason);
		vm_end(vm, VM_ERROR);
	}
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	struct vm *vm = vcpu->vm;

	my_run = vcpu->run;
	while (!ended(vm)) {
		if (!ioctl(vcpu->fd, KVM_RUN, 0)) {
			handle_exit(vm, vcpu->run);
		} else if (errno == EFAULT && vcpu->run->exit_reason == KVM_EXIT_MEMORY_FAULT) {
			complain("no memory for the guest at 0x%llx", vcpu->run->memory_fault.gpa);
			vm_end(vm, VM_ERROR);
		} else if (errno != EINTR && errno != EAGAIN) {
			complain("KVM_RUN: %s", strerror(errno));
			vm_end(vm, VM_ERROR);
		}
	}
	return NULL;
}

/* A signal that comes just before KVM_RUN must end that, too. */
static void on_kick(int sig)
{
	(void)sig;
	if (my_run)
		my_run->immediate_exit = 1;
}

static void wait_for_end(struct vm *vm, unsigned int seconds)
{
	struct timespec until;
	int ret;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += seconds;
	do {
		ret = sem_clockwait(&vm->ended, CLOCK_MONOTONIC, &until);
	} while (ret && errno == EINTR);
	if (ret)
		vm_end(vm, VM_TIMEOUT);
}

/* Where the vCPUs of a guest that hangs are */
static void complain_where(struct vm *vm)
{
	struct kvm_regs regs;
	int i;

	for (i = 0; i < vm->nr_vcpus; i++)
		if (!ioctl(vm->vcpus[i].fd, KVM_GET_REGS, &regs))
			complain("vCPU %d is at 0x%llx", i, regs.rip);
}

/**
 * vm_run - run the guest until it ends
 * @vm: the guest
 * @seconds: that it may run
 *
 * Return: how it ended
 */
enum vm_end vm_run(struct vm *vm, unsigned int seconds)
{
	struct sigaction sa = { .sa_handler = on_kick };
	int i, err;

	sigaction(KICK_SIGNAL, &sa, NULL);
	for (i = 0; i < vm->nr_vcpus; i++) {
		err = pthread_create(&vm->vcpus[i].thread, NULL, vcpu_thread, &vm->vcpus[i]);
		if (err)
			die("a thread cannot be started: %s", strerror(err));
	}

	wait_for_end(vm, seconds);
	for (i = 0; i < vm->nr_vcpus; i++) {
		pthread_kill(vm->vcpus[i].thread, KICK_SIGNAL);
		pthread_join(vm->vcpus[i].thread, NULL);
	}
	if (vm->end == VM_TIMEOUT)
		complain_where(vm);
	return vm->end;
}
