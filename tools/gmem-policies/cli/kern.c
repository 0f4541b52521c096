// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What the kernel says about policies, objects and pools: the iterators of introspect.bpf.c, read
 * whole.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "gmem-policy.h"
#include "introspect.skel.h"

static struct introspect *skel;

/* 0 if the kernel has policies at all. */
int kern_supported(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	int id;

	if (!btf) {
		fail(errno, "the kernel's types (/sys/kernel/btf/vmlinux) cannot be read");
	} else {
		id = btf__find_by_name_kind(btf, "gmem_policy_ops", BTF_KIND_STRUCT);
		btf__free(btf);
		if (id > 0)
			return 0;
		fail(EOPNOTSUPP, "this kernel has no guest memory policies (no gmem_policy_ops in its BTF)");
	}
	fail_hint("'gmem-policy check' says what this host lacks.");
	return -1;
}

static int kern_open(void)
{
	int err;

	if (skel)
		return 0;
	if (kern_supported())
		return -1;

	log_begin();
	skel = introspect__open_and_load();
	if (skel) {
		err = introspect__attach(skel);
		if (!err)
			return 0;
	} else {
		err = -errno;
	}

	introspect__destroy(skel);
	skel = NULL;
	fail(-err, "the kernel does not show its guest memory objects: %s", strerror(-err));
	if (err == -EPERM || err == -EACCES)
		fail_hint("Run it as root: it needs CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN.");
	else
		fail_log();
	return -1;
}

/* All records of one iterator: *@nr of @size bytes each. */
static int kern_iterate(struct bpf_link *link, void **recs, int *nr, size_t size)
{
	size_t len = 0, room = 0;
	char *buf = NULL;
	ssize_t got;
	int fd;

	fd = bpf_iter_create(bpf_link__fd(link));
	if (fd < 0)
		return fail(errno, "the kernel's list cannot be opened: %s", strerror(errno));

	do {
		if (room - len < 65536) {
			room += 65536 + room;
			buf = realloc(buf, room);
			if (!buf)
				abort();
		}
		got = read(fd, buf + len, room - len);
		if (got > 0)
			len += got;
	} while (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)));

	if (got < 0)
		fail(errno, "the kernel's list cannot be read: %s", strerror(errno));
	else if (len % size)
		got = fail(EPROTO, "the kernel's list ends in the middle of a record");
	close(fd);
	if (got < 0) {
		free(buf);
		return -1;
	}
	*recs = buf;
	*nr = len / size;
	return 0;
}

int kern_read_policies(struct kern *kern)
{
	memset(kern, 0, sizeof(*kern));
	if (kern_open())
		return -1;
	return kern_iterate(skel->links.dump_policy, (void **)&kern->policies, &kern->nr_policies,
			    sizeof(*kern->policies));
}

int kern_read(struct kern *kern)
{
	if (kern_read_policies(kern))
		return -1;
	if (kern_iterate(skel->links.dump_pool, (void **)&kern->pools, &kern->nr_pools,
			 sizeof(*kern->pools)))
		return -1;
	return kern_iterate(skel->links.dump_obj, (void **)&kern->objs, &kern->nr_objs,
			    sizeof(*kern->objs));
}

void kern_free(struct kern *kern)
{
	free(kern->policies);
	free(kern->objs);
	free(kern->pools);
	memset(kern, 0, sizeof(*kern));
}

const struct policy_rec *kern_policy(const struct kern *kern, __u64 id)
{
	int i;

	for (i = 0; id && i < kern->nr_policies; i++) {
		if (kern->policies[i].id == id)
			return &kern->policies[i];
	}
	return NULL;
}

/* The policy that has @name now; one that was detached and is still being left does not count. */
const struct policy_rec *kern_attached(const struct kern *kern, const char *name)
{
	int i;

	for (i = 0; i < kern->nr_policies; i++) {
		if (!kern->policies[i].detached && !strcmp(kern->policies[i].name, name))
			return &kern->policies[i];
	}
	return NULL;
}

/* The policy that a new one called @name would collide with: it has the name, or the place. */
const struct policy_rec *kern_holder(const struct kern *kern, const char *name, __u32 flags,
				     __u64 cgroup)
{
	const struct policy_rec *rec = kern_attached(kern, name);
	int i;

	if (rec)
		return rec;
	for (i = 0; i < kern->nr_policies; i++) {
		rec = &kern->policies[i];
		if (!rec->detached && !((rec->flags | flags) & FLAG_NAMED) &&
		    rec->cgroup_id == cgroup && !((rec->flags ^ flags) & FLAG_SHADOW))
			return rec;
	}
	return NULL;
}

int obj_cgroup_depth(const struct obj_rec *obj, __u64 cgroup)
{
	__u32 i;

	for (i = 0; i < obj->nr_cgroups && i < REC_CGROUPS; i++) {
		if (obj->cgroups[i] == cgroup)
			return i;
	}
	return -1;
}
