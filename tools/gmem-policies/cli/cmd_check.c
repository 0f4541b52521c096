// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* gmem-policy check: what this host has, what it lacks, and what to do about it. */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kvm.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "gmem-policy.h"

#ifndef KVM_CAP_GUEST_MEMFD
#define KVM_CAP_GUEST_MEMFD		234
#define KVM_CAP_VM_TYPES		235
#endif
#ifndef KVM_CAP_GUEST_MEMFD_FLAGS
#define KVM_CAP_GUEST_MEMFD_FLAGS	244
#endif
#define GMEM_FLAG_MMAP			BIT(0)
#define GMEM_FLAG_INIT_SHARED		BIT(1)
#define GMEM_FLAG_POLICY		BIT(24)

#ifndef CAP_PERFMON
#define CAP_PERFMON			38
#define CAP_BPF				39
#endif

/* Can policies be loaded without? */
enum need {
	NEEDED,
	EXTRA,
};

static json_object *checks;
static bool all_well = true;

/* One line: @text says what was found; @todo what to do, if anything is missing. */
static void say(enum need need, bool present, const char *what, const char *text, const char *todo)
{
	const char *mark = present ? "yes" : need == NEEDED ? "NO" : "no";
	json_object *o;

	if (need == NEEDED && !present)
		all_well = false;
	if (!opt.json) {
		printf("%-4s%-22s%s\n", mark, what, text);
		if (!present && todo)
			printf("%26s-> %s\n", "", todo);
		return;
	}
	o = json_object_new_object();
	json_str(o, "feature", what);
	json_flag(o, "present", present);
	json_flag(o, "needed", need == NEEDED);
	json_str(o, "found", text);
	json_str(o, "todo", present ? NULL : todo);
	json_object_array_add(checks, o);
}

static bool read_line(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "r");
	bool ok;

	if (!f)
		return false;
	ok = fgets(buf, size, f);
	fclose(f);
	if (ok)
		buf[strcspn(buf, "\n")] = '\0';
	return ok;
}

/* Was the kernel booted with gmem_bpf=off? */
bool kill_switch(void)
{
	char line[4096], *p, *save;
	bool off = false;

	if (!read_line("/proc/cmdline", line, sizeof(line)))
		return false;
	for (p = strtok_r(line, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
		if (!strncmp(p, "gmem_bpf=", 9))
			off = !strcmp(p + 9, "off");
	}
	return off;
}

static void check_kernel(void)
{
	struct utsname uts;
	struct btf *btf;
	int id = -1;

	uname(&uts);
	btf = btf__load_vmlinux_btf();
	if (btf)
		say(NEEDED, true, "kernel types (BTF)", "/sys/kernel/btf/vmlinux is there", NULL);
	else
		say(NEEDED, false, "kernel types (BTF)", "/sys/kernel/btf/vmlinux cannot be read",
		    "a kernel with CONFIG_DEBUG_INFO_BTF=y");

	if (btf)
		id = btf__find_by_name_kind(btf, "gmem_policy_ops", BTF_KIND_STRUCT);
	btf__free(btf);
	if (id > 0)
		say(NEEDED, true, "policies", fmt("Linux %s has gmem_policy_ops", uts.release),
		    NULL);
	else
		say(NEEDED, false, "policies", fmt("Linux %s has no gmem_policy_ops", uts.release),
		    "boot a kernel of gmem-bpf, with CONFIG_GMEM_BPF=y");

	if (kill_switch())
		say(NEEDED, false, "kill switch", "booted with gmem_bpf=off: every policy is refused",
		    "boot without gmem_bpf=off");
	else
		say(NEEDED, true, "kill switch", "not used (gmem_bpf=off is not on the command line)",
		    NULL);
}

/* What this process lacks of the capabilities that it needs; empty if nothing. */
static const char *caps_missing(void)
{
	static const struct {
		int cap;
		const char *name;
	} caps[] = {
		{ CAP_BPF, "CAP_BPF" },
		{ CAP_PERFMON, "CAP_PERFMON" },
		{ CAP_SYS_ADMIN, "CAP_SYS_ADMIN" },
	};
	const char *missing = "";
	unsigned long long have = 0;
	char line[256];
	size_t i;
	FILE *f;

	f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "CapEff: %llx", &have) == 1)
			break;
	}
	if (f)
		fclose(f);

	for (i = 0; i < ARRAY_SIZE(caps); i++) {
		if (!(have >> caps[i].cap & 1))
			missing = fmt("%s%s%s", missing, *missing ? ", " : "", caps[i].name);
	}
	return missing;
}

static bool foreign_userns(void)
{
	char userns[64] = "";

	/* The initial user namespace has this number on every kernel. */
	return readlink("/proc/self/ns/user", userns, sizeof(userns) - 1) > 0 &&
	       strcmp(userns, "user:[4026531837]");
}

/* Why this process may not do what an operator may; empty if it may. */
const char *not_privileged(void)
{
	const char *missing = caps_missing();

	if (*missing)
		return fmt("missing: %s", missing);
	return foreign_userns() ? "not in the initial user namespace" : "";
}

static void check_privileges(void)
{
	const char *missing = caps_missing();

	if (*missing)
		say(NEEDED, false, "privileges", fmt("missing: %s", missing), "run it as root");
	else
		say(NEEDED, true, "privileges", "CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN", NULL);

	if (foreign_userns())
		say(NEEDED, false, "user namespace", "not the initial one",
		    "run it outside of the container");
}

static void check_bpffs(void)
{
	struct statfs fs;

	if (statfs("/sys/fs/bpf", &fs))
		say(NEEDED, false, "bpffs", "/sys/fs/bpf is not there",
		    "mount sysfs at /sys; CONFIG_BPF_SYSCALL=y");
	else if (fs.f_type != BPF_FS_MAGIC)
		say(NEEDED, true, "bpffs", "not mounted at /sys/fs/bpf; load mounts it", NULL);
	else
		say(NEEDED, true, "bpffs",
		    "mounted at /sys/fs/bpf; policies are pinned in " PIN_DIR, NULL);
}

static void check_cgroups(void)
{
	char line[512];
	bool found = false;
	FILE *f = fopen("/proc/self/mounts", "r");

	while (f && fgets(line, sizeof(line), f))
		found |= !!strstr(line, " cgroup2 ");
	if (f)
		fclose(f);
	if (found)
		say(EXTRA, true, "cgroups (v2)", "mounted: policies can be given to a cgroup",
		    NULL);
	else
		say(EXTRA, false, "cgroups (v2)", "not mounted: only policies for the whole host",
		    "mount -t cgroup2 none /sys/fs/cgroup");
}

static bool has_module(const char *name)
{
	return !access(fmt("/sys/module/%s", name), F_OK);
}

/* What a parameter of kvm_amd or kvm_intel says about a VM type that is not there. */
static const char *why_not(const char *module, const char *param)
{
	char value[32];

	if (!has_module(module))
		return fmt("%s is not loaded", module);
	if (!read_line(fmt("/sys/module/%s/parameters/%s", module, param), value, sizeof(value)))
		return fmt("%s has no parameter %s", module, param);
	return fmt("not here: %s.%s=%s", module, param, value);
}

static void check_vm_types(int kvm)
{
	static const struct {
		const char *name;
		const char *module;
		const char *param;
	} types[] = {
		{ "default", NULL, NULL },
		{ "SW_PROTECTED", NULL, NULL },
		{ "SEV", "kvm_amd", "sev" },
		{ "SEV-ES", "kvm_amd", "sev_es" },
		{ "SEV-SNP", "kvm_amd", "sev_snp" },
		{ "TDX", "kvm_intel", "tdx" },
	};
	int mask = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(types); i++) {
		const char *what = fmt("VM type %s", types[i].name);

		if (mask > 0 && mask >> i & 1)
			say(EXTRA, true, what, "supported", NULL);
		else if (types[i].module)
			say(EXTRA, false, what, why_not(types[i].module, types[i].param), NULL);
		else
			say(EXTRA, false, what, "not offered by this KVM",
			    i == 1 ? "CONFIG_KVM_SW_PROTECTED_VM=y" : NULL);
	}
}

static void check_kvm(void)
{
	const char *modules = fmt("%s%s%s", has_module("kvm") ? " kvm" : "",
				  has_module("kvm_amd") ? " kvm_amd" : "",
				  has_module("kvm_intel") ? " kvm_intel" : "");
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), flags, err;

	/* None of this is needed to load a policy: it waits for VMs. */
	if (kvm < 0) {
		err = errno;
		say(EXTRA, false, "KVM",
		    fmt("/dev/kvm: %s; modules:%s", strerror(err), *modules ? modules : " none"),
		    err == EACCES ? "run it as root, to see what KVM offers" :
				      "modprobe kvm_amd or kvm_intel; without, there are no VMs to decide for");
		return;
	}
	say(EXTRA, true, "KVM",
	    fmt("/dev/kvm opens; modules:%s", *modules ? modules : " none (built in)"), NULL);

	if (ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD) > 0)
		say(EXTRA, true, "guest_memfd", "KVM_CAP_GUEST_MEMFD", NULL);
	else
		say(EXTRA, false, "guest_memfd", "this KVM has no guest_memfd",
		    "CONFIG_KVM_GUEST_MEMFD=y");

	flags = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_FLAGS);
	if (flags < 0)
		flags = 0;
	say(EXTRA, flags & GMEM_FLAG_MMAP, "guest_memfd mmap",
	    flags & GMEM_FLAG_MMAP ? "VMMs may mmap() it" : "not offered by this KVM", NULL);
	say(EXTRA, flags & GMEM_FLAG_INIT_SHARED, "guest_memfd shared",
	    flags & GMEM_FLAG_INIT_SHARED ? "memory may start out shared" :
					    "not offered by this KVM", NULL);
	say(EXTRA, flags & GMEM_FLAG_POLICY, "policy named by VMM",
	    flags & GMEM_FLAG_POLICY ? "GUEST_MEMFD_FLAG_POLICY" : "not offered by this KVM",
	    "a kvm.ko of gmem-bpf, with CONFIG_GMEM_BPF=y");
	check_vm_types(kvm);
	close(kvm);
}

static void check_tracepoints(void)
{
	if (!access("/sys/kernel/tracing/events/kvm_gmem", F_OK))
		say(EXTRA, true, "tracepoints", "/sys/kernel/tracing/events/kvm_gmem", NULL);
	else if (access("/sys/kernel/tracing/events", F_OK))
		say(EXTRA, false, "tracepoints", "/sys/kernel/tracing cannot be seen",
		    "mount -t tracefs none /sys/kernel/tracing, as root");
	else
		say(EXTRA, false, "tracepoints", "this kernel has no kvm_gmem events",
		    "boot a kernel of gmem-bpf");
}

int cmd_check(void)
{
	json_object *root;

	checks = json_object_new_array();
	log_begin();
	check_kernel();
	check_privileges();
	check_bpffs();
	check_cgroups();
	check_kvm();
	check_tracepoints();

	if (opt.json) {
		root = json_root();
		json_flag(root, "ok", all_well);
		json_object_object_add(root, "checks", checks);
		print_json(root);
	} else {
		printf("\n%s\n", all_well ? "Policies can be loaded on this host." :
					    "Policies cannot be loaded on this host: see the lines with NO.");
		json_object_put(checks);
	}
	return all_well ? EXIT_OK : EXIT_FAILED;
}
