// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who may attach and update a policy? Ask the kernel itself, with file descriptors
 * that root has opened: a program that is short of a capability does not get that
 * far, because to open a link or a map takes it, too.
 *
 *	gmem_caps /sys/fs/bpf/gmem/count
 *
 * Prints a line for each try, "WHO: update ERRNO, attach ERRNO". The link is updated
 * to the map that it has, which is a replacement as any other; and that map is
 * attached by a second link, whose name is taken, if nothing else is against it.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/bpf.h>
#include <linux/capability.h>

#include "gmem_guest.h"

static int link_fd, map_fd;

static void __noreturn die(const char *what)
{
	fprintf(stderr, "gmem_caps: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int bpf(int cmd, union bpf_attr *attr)
{
	return syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

static void open_both(const char *pin)
{
	struct bpf_link_info info = {};
	union bpf_attr get = { .pathname = (unsigned long)pin };
	union bpf_attr tell = {};
	union bpf_attr by_id = {};

	link_fd = bpf(BPF_OBJ_GET, &get);
	if (link_fd < 0)
		die(pin);
	tell.info.bpf_fd = link_fd;
	tell.info.info_len = sizeof(info);
	tell.info.info = (unsigned long)&info;
	if (bpf(BPF_OBJ_GET_INFO_BY_FD, &tell))
		die("bpf_link_info");
	by_id.map_id = info.struct_ops.map_id;
	map_fd = bpf(BPF_MAP_GET_FD_BY_ID, &by_id);
	if (map_fd < 0)
		die("the map");
}

/* No expected map is given: EPERM then means one thing only. */
static int update(void)
{
	union bpf_attr attr = {
		.link_update.link_fd = link_fd,
		.link_update.new_map_fd = map_fd,
	};

	return bpf(BPF_LINK_UPDATE, &attr) ? errno : 0;
}

static int attach(void)
{
	union bpf_attr attr = {
		.link_create.map_fd = map_fd,
		.link_create.attach_type = BPF_STRUCT_OPS,
	};

	return bpf(BPF_LINK_CREATE, &attr) < 0 ? errno : 0;
}

static void drop(int cap)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &head, data))
		die("capget");
	data[CAP_TO_INDEX(cap)].effective &= ~CAP_TO_MASK(cap);
	if (syscall(SYS_capset, &head, data))
		die("capset");
}

static void no_cap_bpf(void)
{
	drop(CAP_BPF);
}

static void no_cap_sys_admin(void)
{
	drop(CAP_SYS_ADMIN);
}

/* It has all capabilities there, and none that counts. */
static void root_of_a_container(void)
{
	if (unshare(CLONE_NEWUSER))
		die("unshare");
}

static void root(void)
{
}

static const char *name_of(int err)
{
	return err ? strerrorname_np(err) : "0";
}

static void try(const char *who, void (*become)(void))
{
	int status, err;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		become();
		err = update();
		printf("%s: update %s, ", who, name_of(err));
		err = attach();
		printf("attach %s\n", name_of(err));
		exit(0);
	}
	if (waitpid(pid, &status, 0) < 0 || status)
		exit(1);
}

int main(int argc, char *argv[])
{
	gmem_start_main();
	if (argc != 2 || argv[1][0] == '-') {
		fprintf(stderr, "usage: gmem_caps /sys/fs/bpf/gmem/NAME\n");
		return 2;
	}
	open_both(argv[1]);
	try("no CAP_BPF", no_cap_bpf);
	try("no CAP_SYS_ADMIN", no_cap_sys_admin);
	try("root of a container", root_of_a_container);
	try("root", root);
	return 0;
}
