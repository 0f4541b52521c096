// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The links that attach policies, and their pins in bpffs. */
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "gmem-policy.h"

#define BPFFS	"/sys/fs/bpf"

static int link_info(int fd, __u32 *id, __u32 *map_id)
{
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);

	if (bpf_link_get_info_by_fd(fd, &info, &len) || info.type != BPF_LINK_TYPE_STRUCT_OPS)
		return -1;
	*id = info.id;
	*map_id = info.struct_ops.map_id;
	return 0;
}

/* Have bpffs and our directory in it. */
int pin_prepare(void)
{
	struct statfs fs;

	if (statfs(BPFFS, &fs))
		return fail(errno, "%s is not there: %s", BPFFS, strerror(errno));
	if (fs.f_type != BPF_FS_MAGIC &&
	    mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME, "mode=700"))
		return fail(errno, "bpffs cannot be mounted at %s: %s", BPFFS, strerror(errno));
	if (mkdir(PIN_DIR, 0700) && errno != EEXIST)
		return fail(errno, "%s cannot be made: %s", PIN_DIR, strerror(errno));
	return 0;
}

/* The link that is pinned as @name; *@map_id is 0 if it attaches nothing any more. */
static int pin_open(const char *name, __u32 *id, __u32 *map_id)
{
	int fd = bpf_obj_get(fmt(PIN_DIR "/%s", name));

	if (fd < 0)
		return -1;
	if (link_info(fd, id, map_id)) {
		close(fd);
		return -1;
	}
	return fd;
}

int pin_link(int fd, const char *name)
{
	const char *path = fmt(PIN_DIR "/%s", name);
	__u32 id, map_id;
	int old;

	if (!bpf_obj_pin(fd, path))
		return 0;
	if (errno != EEXIST)
		return fail(errno, "%s cannot be pinned: %s", path, strerror(errno));

	/* What a policy that was detached by other means left behind is in nobody's way. */
	old = pin_open(name, &id, &map_id);
	if (old >= 0)
		close(old);
	if (old >= 0 && !map_id && !unlink(path) && !bpf_obj_pin(fd, path))
		return 0;
	return fail(EEXIST, "%s is there already, and is something else", path);
}

/*
 * Remove the pin @name if it is of link @link_id, or of one that attaches nothing any more. 1 if it
 * was there.
 */
int pin_remove(const char *name, __u32 link_id)
{
	const char *path = fmt(PIN_DIR "/%s", name);
	__u32 id, map_id;
	int fd = pin_open(name, &id, &map_id);

	if (fd < 0)
		return 0;
	close(fd);
	if (map_id && id != link_id)
		return 0;
	if (unlink(path))
		return fail(errno, "'%s' is detached, but its pin %s cannot be removed: %s", name,
			    path, strerror(errno));
	return 1;
}

/* A file descriptor of the link that attaches @rec, whoever holds it. */
int link_find(const struct policy_rec *rec, __u32 *link_id, bool *pinned)
{
	__u32 id = 0, map_id;
	int fd;

	fd = pin_open(rec->name, link_id, &map_id);
	if (fd >= 0) {
		*pinned = true;
		if (map_id == rec->map_id)
			return fd;
		close(fd);
	}

	*pinned = false;
	while (!bpf_link_get_next_id(id, &id)) {
		fd = bpf_link_get_fd_by_id(id);
		if (fd < 0)
			continue;
		if (!link_info(fd, link_id, &map_id) && map_id == rec->map_id)
			return fd;
		close(fd);
	}
	return fail(ENOENT, "the link that attaches '%s' was not found", rec->name);
}
