// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* cgroups (v2): paths to ids, and back. */
#include <fcntl.h>
#include <fts.h>
#include <linux/magic.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "gmem-policy.h"

#define FILEID_KERNFS	0xfe

/* Where the v2 hierarchy is mounted; NULL if it is not. */
static const char *cgroup_mount(void)
{
	static char dir[256];
	struct mntent *m;
	FILE *f;

	if (dir[0])
		return dir;
	f = setmntent("/proc/self/mounts", "r");
	if (!f)
		return NULL;
	while ((m = getmntent(f))) {
		if (!strcmp(m->mnt_type, "cgroup2")) {
			snprintf(dir, sizeof(dir), "%s", m->mnt_dir);
			break;
		}
	}
	endmntent(f);
	return dir[0] ? dir : NULL;
}

/*
 * @path is that of a directory, or below the mount of the hierarchy ("/machine/vm1",
 * "machine/vm1").
 */
int cgroup_find(const char *path, __u64 *id)
{
	const char *root = cgroup_mount(), *dir = path;
	struct statfs fs;
	struct stat st;

	if (!root) {
		fail(ENOENT, "--cgroup %s: no cgroup v2 hierarchy is mounted", path);
		fail_hint("mount it: mount -t cgroup2 none /sys/fs/cgroup");
		return -1;
	}
	if (statfs(dir, &fs) || fs.f_type != CGROUP2_SUPER_MAGIC) {
		dir = fmt("%s/%s", root, path + strspn(path, "/"));
		if (statfs(dir, &fs))
			return fail(errno, "--cgroup %s: there is no such cgroup, nor %s", path,
				    dir);
	}
	if (stat(dir, &st))
		return fail(errno, "--cgroup %s: %s", path, strerror(errno));
	if (fs.f_type != CGROUP2_SUPER_MAGIC || !S_ISDIR(st.st_mode))
		return fail(EINVAL, "--cgroup %s: it is not the directory of a cgroup (v2)", path);
	*id = st.st_ino;
	return 0;
}

/* By its file handle, which is its id. */
static bool path_by_handle(const char *root, __u64 id, char *path, size_t size)
{
	struct {
		struct file_handle h;
		__u64 id;
	} handle = { .h = { .handle_bytes = sizeof(id), .handle_type = FILEID_KERNFS } };
	int mount_fd, fd;
	ssize_t len;

	memcpy(handle.h.f_handle, &id, sizeof(id));
	mount_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (mount_fd < 0)
		return false;
	fd = open_by_handle_at(mount_fd, &handle.h, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(mount_fd);
	if (fd < 0)
		return false;

	len = readlink(fmt("/proc/self/fd/%d", fd), path, size - 1);
	close(fd);
	if (len < 0)
		return false;
	path[len] = '\0';
	return true;
}

/* Where file handles are not there (CONFIG_FHANDLE) or not allowed, by looking everywhere. */
static bool path_by_walk(const char *root, __u64 id, char *path, size_t size)
{
	char *const roots[] = { (char *)root, NULL };
	bool found = false;
	FTSENT *entry;
	FTS *fts;

	fts = fts_open(roots, FTS_PHYSICAL | FTS_XDEV, NULL);
	while (fts && !found && (entry = fts_read(fts))) {
		if (entry->fts_info != FTS_D || entry->fts_statp->st_ino != id)
			continue;
		snprintf(path, size, "%s", entry->fts_path);
		found = true;
	}
	if (fts)
		fts_close(fts);
	return found;
}

/* The path of a cgroup below the mount, or its number where it has none any more. */
const char *cgroup_name(__u64 id)
{
	const char *root = cgroup_mount();
	static char path[200];
	static __u64 last;

	if (!root)
		return fmt("cgroup %llu", id);
	if (id != last) {
		last = 0;
		if (!path_by_handle(root, id, path, sizeof(path)) &&
		    !path_by_walk(root, id, path, sizeof(path)))
			return fmt("cgroup %llu", id);
		last = id;
	}
	return path[strlen(root)] ? fmt("%s", path + strlen(root)) : "/";
}
