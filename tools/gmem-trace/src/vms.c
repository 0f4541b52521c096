// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Who the VMs are. The kernel knows processes; people know the names that they gave to VMs, which
 * stand on the command lines of VMMs. They are read once, while the process is there.
 */
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gmem-trace.h"

/*
 * Processes that are remembered. If there are more, those that have ended make room; if all live,
 * what is too much is read again each time.
 */
#define MAX_INFOS	4096

static struct vm_info *infos;
static int nr_infos;
static __u64 nr_unknown;

/* A file of /proc/PID, with a zero behind it; its length, or -1. */
static ssize_t read_proc(__u32 pid, const char *name, char *buf, size_t size)
{
	ssize_t len;
	int fd = open(fmt("/proc/%u/%s", pid, name), O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	len = read(fd, buf, size - 1);
	close(fd);
	if (len >= 0)
		buf[len] = '\0';
	return len;
}

/* The argument after @option, or behind "option=". */
static const char *option_value(const char *cmdline, ssize_t len, const char *option)
{
	size_t n = strlen(option);
	const char *arg;

	for (arg = cmdline; arg < cmdline + len; arg += strlen(arg) + 1) {
		if (strncmp(arg, option, n))
			continue;
		if (arg[n] == '=')
			return arg + n + 1;
		arg += n;
		if (!*arg && arg + 1 < cmdline + len)
			return arg + 1;
	}
	return NULL;
}

/* QEMU: "-name web-1", "-name guest=web-1,debug-threads=on". Firecracker: "--id web-1". */
static void find_name(struct vm_info *vm)
{
	static char cmdline[65536];
	ssize_t len = read_proc(vm->tgid, "cmdline", cmdline, sizeof(cmdline));
	const char *name, *guest;

	if (len <= 0)
		return;
	name = option_value(cmdline, len, "-name");
	if (name) {
		guest = strstr(name, "guest=");
		if (guest)
			name = guest + strlen("guest=");
	} else {
		name = option_value(cmdline, len, "--id");
	}
	if (name)
		snprintf(vm->name, sizeof(vm->name), "%.*s", (int)strcspn(name, ","), name);
	make_printable(vm->name);
}

static void find_cgroup(struct vm_info *vm)
{
	char text[4096], *path;

	if (read_proc(vm->tgid, "cgroup", text, sizeof(text)) <= 0)
		return;
	path = strstr(text, "0::");
	if (path)
		snprintf(vm->cgroup, sizeof(vm->cgroup), "%.*s", (int)strcspn(path + 3, "\n"),
			 path + 3);
	make_printable(vm->cgroup);
}

static bool in_cgroup(const char *path)
{
	size_t len = strlen(opt.cgroup);

	if (len == 1)
		return true;
	return !strncmp(path, opt.cgroup, len) && (path[len] == '/' || !path[len]);
}

/* Is it what --vm asks for? */
bool name_matches(const char *name, __u32 tgid)
{
	return !opt.vm || !fnmatch(opt.vm, name, 0) || !strcmp(opt.vm, fmt("%u", tgid));
}

static bool is_wanted(const struct vm_info *vm)
{
	if (opt.pid && vm->tgid != opt.pid)
		return false;
	if (!name_matches(vm->name, vm->tgid))
		return false;
	return !opt.cgroup || in_cgroup(vm->cgroup);
}

static void find_out(struct vm_info *vm, const char *comm)
{
	char text[32];

	/* The sum of those that there is no room for each. */
	if (!vm->tgid) {
		snprintf(vm->comm, sizeof(vm->comm), "ended");
		vm->wanted = true;
		return;
	}

	if (read_proc(vm->tgid, "comm", text, sizeof(text)) > 0) {
		snprintf(vm->comm, sizeof(vm->comm), "%.*s", (int)strcspn(text, "\n"), text);
		find_name(vm);
		find_cgroup(vm);
	} else {
		vm->gone = true;
		snprintf(vm->comm, sizeof(vm->comm), "%s", comm && *comm ? comm : "?");
		if (opt.vm || opt.cgroup)
			nr_unknown++;
	}
	make_printable(vm->comm);
	vm->wanted = is_wanted(vm);
}

static void read_info(struct vm_info *vm, __u32 tgid, const char *comm)
{
	memset(vm, 0, sizeof(*vm));
	vm->tgid = tgid;
	find_out(vm, comm);
}

static struct vm_info *find_info(__u32 tgid)
{
	int i;

	for (i = 0; i < nr_infos; i++) {
		if (infos[i].tgid == tgid)
			return &infos[i];
	}
	return NULL;
}

static struct vm_info *new_info(void)
{
	static struct vm_info one;
	int i;

	if (!infos)
		infos = xalloc(MAX_INFOS * sizeof(*infos));
	if (nr_infos < MAX_INFOS)
		return &infos[nr_infos++];
	for (i = 0; i < nr_infos; i++) {
		if (infos[i].gone)
			return &infos[i];
	}
	return &one;
}

/* @comm: what the kernel knows it by, if it is gone already. Valid until the next call. */
const struct vm_info *vm_info(__u32 tgid, const char *comm)
{
	struct vm_info *vm = find_info(tgid);

	if (vm) {
		if (comm && *vm->comm == '?')
			snprintf(vm->comm, sizeof(vm->comm), "%s", comm);
		return vm;
	}
	vm = new_info();
	read_info(vm, tgid, comm);
	return vm;
}

/* Which of them have ended? Another process may have the id of one by now. */
void vms_refresh(void)
{
	int i;

	for (i = 0; i < nr_infos; i++) {
		if (!infos[i].tgid)
			continue;
		if (kill(infos[i].tgid, 0) && errno == ESRCH)
			infos[i].gone = true;
		else if (infos[i].gone)
			read_info(&infos[i], infos[i].tgid, NULL);
	}
}

void vms_forget(__u32 tgid)
{
	struct vm_info *vm = find_info(tgid);

	if (vm)
		*vm = infos[--nr_infos];
}

/* VMs that ended before it was known whether they are wanted */
__u64 vms_unknown(void)
{
	return nr_unknown;
}

/* "web-1 (123)", or "qemu-system-x86 (123)" */
const char *vm_title(const struct vm_info *vm)
{
	return fmt("%s (%u)", *vm->name ? vm->name : vm->comm, vm->tgid);
}

void vm_json(json_object *o, const struct vm_info *vm)
{
	json_num(o, "pid", vm->tgid);
	json_str(o, "name", *vm->name ? vm->name : NULL);
	json_str(o, "comm", vm->comm);
	json_str(o, "cgroup", *vm->cgroup ? vm->cgroup : NULL);
	json_flag(o, "gone", vm->gone);
}

/* ---- What is missing in a report ---- */

json_object *losses_json(void)
{
	json_object *o = json_object_new_object();
	struct losses l;

	tracer_losses(&l);
	json_num(o, "dropped", l.dropped);
	json_num(o, "vms_full", l.vms_full);
	json_num(o, "series_full", l.series_full);
	json_num(o, "threads_full", l.threads_full);
	json_num(o, "unknown_vms", nr_unknown);
	return o;
}

const char *losses_text(void)
{
	struct losses l;

	tracer_losses(&l);
	return fmt("lost: %llu events dropped, %llu of VMs too many, %llu of series too many, %llu of threads",
		   l.dropped, l.vms_full, l.series_full, l.threads_full);
}

void print_losses(void)
{
	puts(losses_text());
	if (nr_unknown)
		printf("not shown: %llu VMs that ended before it was known whether they are wanted\n",
		       nr_unknown);
}

json_object *lacks_json(void)
{
	json_object *a = json_object_new_array();
	int i;

	for (i = 0; tracer_lacks(i); i++)
		json_object_array_add(a, json_object_new_string(tracer_lacks(i)));
	return a;
}

void print_lacks(void)
{
	int i;

	for (i = 0; tracer_lacks(i); i++)
		fprintf(stderr, "gmem-trace: this kernel does not tell: %s\n", tracer_lacks(i));
}
