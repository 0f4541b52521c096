// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A policy's object file: found, opened, changed as the operator wishes, loaded into the kernel. */
#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "gmem-policy.h"

#define SUFFIX	".bpf.o"

bool name_valid(const char *name)
{
	size_t i, len = strlen(name);

	for (i = 0; i < len; i++) {
		if (!isalnum((unsigned char)name[i]) && name[i] != '_')
			return false;
	}
	return len && len < REC_NAME_LEN;
}

/* ---- Where policies are ---- */

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_object(const struct dirent *d)
{
	size_t len = strlen(d->d_name);

	return len > strlen(SUFFIX) && !strcmp(d->d_name + len - strlen(SUFFIX), SUFFIX);
}

static int visit_dir(const char *dir, int (*visit)(const char *path, void *arg), void *arg)
{
	struct dirent **list;
	char path[PATH_MAX];
	int i, nr, ret = 0;

	nr = scandir(dir, &list, is_object, by_name);
	for (i = 0; i < nr; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name);
		if (!ret)
			ret = visit(path, arg);
		free(list[i]);
	}
	if (nr >= 0)
		free(list);
	return ret;
}

/*
 * Visit the object files of $GMEM_POLICY_PATH, or of the directories where they are installed or
 * built beside this program. A nonzero return of @visit ends it, and is returned.
 */
int object_dirs(int (*visit)(const char *path, void *arg), void *arg)
{
	static const char *const beside[] = { "../lib/gmem/policies", "policies" };
	char exe[PATH_MAX], dir[PATH_MAX + 32], *path, *p, *save;
	const char *env = getenv("GMEM_POLICY_PATH");
	ssize_t len;
	size_t i;
	int ret = 0;

	if (env && *env) {
		path = strdup(env);
		for (p = strtok_r(path, ":", &save); p && !ret; p = strtok_r(NULL, ":", &save))
			ret = visit_dir(p, visit, arg);
		free(path);
		return ret;
	}

	len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	if (len < 0)
		return 0;
	exe[len] = '\0';
	*strrchr(exe, '/') = '\0';
	for (i = 0; i < ARRAY_SIZE(beside) && !ret; i++) {
		snprintf(dir, sizeof(dir), "%s/%s", exe, beside[i]);
		ret = visit_dir(dir, visit, arg);
	}
	return ret;
}

struct search {
	const char *name;
	char *found;
	char names[256];
};

static int match(const char *path, void *arg)
{
	const char *base = strrchr(path, '/') + 1;
	int len = strlen(base) - strlen(SUFFIX);
	struct search *search = arg;
	size_t used = strlen(search->names);

	if (len == (int)strlen(search->name) && !strncmp(base, search->name, len)) {
		search->found = strdup(path);
		return 1;
	}
	snprintf(search->names + used, sizeof(search->names) - used, "%s%.*s", used ? ", " : "",
		 len, base);
	return 0;
}

/* The file that "load NAME|FILE" means. */
int object_find(const char *name, char **path)
{
	struct search search = { .name = name };
	size_t len = strlen(name);

	if (strchr(name, '/') || (len > 2 && !strcmp(name + len - 2, ".o"))) {
		*path = strdup(name);
		return 0;
	}

	object_dirs(match, &search);
	if (search.found) {
		*path = search.found;
		return 0;
	}
	fail(ENOENT, "there is no policy '%s'", name);
	if (search.names[0])
		fail_hint("There are: %s. A policy of your own is given as a file: ./%s" SUFFIX,
			  search.names, name);
	else
		fail_hint("None is installed; GMEM_POLICY_PATH says where to look, a file is given as ./%s"
			  SUFFIX, name);
	return -1;
}

/* ---- The policy in a file ---- */

static const struct btf_type *ops_type(const struct btf *btf)
{
	int id = btf__find_by_name_kind(btf, "gmem_policy_ops", BTF_KIND_STRUCT);

	return id > 0 ? btf__type_by_id(btf, id) : NULL;
}

const struct btf_member *find_member(const struct btf *btf, const struct btf_type *t,
				     const char *name)
{
	const struct btf_member *m = btf_members(t);
	__u32 i;

	for (i = 0; i < btf_vlen(t); i++, m++) {
		if (!strcmp(btf__name_by_offset(btf, m->name_off), name))
			return m;
	}
	return NULL;
}

/* A member of the policy's struct gmem_policy_ops, as it will be loaded. */
static void *ops_member(const struct object *object, const char *name, size_t size)
{
	const struct btf_member *m = find_member(object->btf, ops_type(object->btf), name);
	char *ops = bpf_map__initial_value(object->map, &(size_t){ 0 });

	if (!m || !ops || btf__resolve_size(object->btf, m->type) != (__s64)size)
		return NULL;
	return ops + m->offset / 8;
}

/* Is @map a struct gmem_policy_ops? Its name is that of the variable. */
static bool is_policy(const struct btf *btf, const struct bpf_map *map, __u32 *var)
{
	const struct btf_type *t;
	int id;

	if (bpf_map__type(map) != BPF_MAP_TYPE_STRUCT_OPS)
		return false;
	id = btf__find_by_name_kind(btf, bpf_map__name(map), BTF_KIND_VAR);
	if (id < 0)
		return false;
	*var = id;
	t = btf__type_by_id(btf, btf__type_by_id(btf, id)->type);
	return btf_is_struct(t) && !strcmp(btf__name_by_offset(btf, t->name_off), "gmem_policy_ops");
}

static const char *find_about(const struct btf *btf, __u32 var)
{
	static const char tag[] = "gmem:about:";
	__u32 id, nr = btf__type_cnt(btf);

	for (id = 1; id < nr; id++) {
		const struct btf_type *t = btf__type_by_id(btf, id);

		if (btf_is_decl_tag(t) && t->type == var &&
		    !strncmp(btf__name_by_offset(btf, t->name_off), tag, strlen(tag)))
			return btf__name_by_offset(btf, t->name_off) + strlen(tag);
	}
	return "";
}

static int object_maps(struct object *object)
{
	struct bpf_map *map;
	int policies = 0;
	__u32 var;

	bpf_object__for_each_map(map, object->obj) {
		const char *section;
		size_t size = 0;
		void *data;
		__u32 type;

		if (is_policy(object->btf, map, &var)) {
			object->map = map;
			object->about = find_about(object->btf, var);
			policies++;
			continue;
		}

		type = bpf_map__btf_value_type_id(map);
		if (!type || !btf_is_datasec(btf__type_by_id(object->btf, type)))
			continue;
		section = btf__name_by_offset(object->btf,
					      btf__type_by_id(object->btf, type)->name_off);
		data = bpf_map__initial_value(map, &size);
		if (!strncmp(section, ".rodata", 7) && data &&
		    values_add(&object->tunables, object->btf, section, "tunable", data, size))
			return -1;
	}

	if (policies == 1)
		return 0;
	if (!policies)
		fail(EINVAL, "%s has no policy: no struct gmem_policy_ops in a section .struct_ops.link",
		     object->path);
	else
		fail(EINVAL, "%s has %d policies; gmem-policy loads files with one", object->path,
		     policies);
	return -1;
}

static int object_ops(struct object *object)
{
	char *name = ops_member(object, "name", REC_NAME_LEN);
	__u64 *cgroup = ops_member(object, "cgroup_id", sizeof(*cgroup));
	__u32 *flags = ops_member(object, "flags", sizeof(*flags));
	__u32 *abi = ops_member(object, "abi_version", sizeof(*abi));
	struct bpf_program *prog;

	if (!name || !cgroup || !flags || !abi)
		return fail(EINVAL, "%s: its struct gmem_policy_ops is not one that gmem-policy knows",
			    object->path);

	snprintf(object->name, sizeof(object->name), "%.*s", REC_NAME_LEN - 1, name);
	object->cgroup = *cgroup;
	object->flags = *flags;
	object->abi = *abi;
	bpf_object__for_each_program(prog, object->obj)
		object->sleepable |= !strncmp(bpf_program__section_name(prog), "struct_ops.s", 12);
	return pool_tunables(&object->tunables, object->btf, ops_type(object->btf),
			     bpf_map__initial_value(object->map, &(size_t){ 0 }));
}

int object_open(struct object *object, const char *path)
{
	memset(object, 0, sizeof(*object));
	log_begin();
	object->path = strdup(path);
	object->obj = bpf_object__open_file(path, NULL);
	if (!object->obj) {
		if (errno == ENOENT)
			return fail(ENOENT, "there is no file %s", path);
		if (errno == EACCES || errno == EPERM)
			return fail(errno, "%s cannot be opened: %s", path, strerror(errno));
		fail(EINVAL, "%s is no BPF object that libbpf can open", path);
		fail_log();
		return -1;
	}
	object->btf = bpf_object__btf(object->obj);
	if (!object->btf) {
		fail(EINVAL, "%s has no BTF", path);
		fail_hint("Compile it with -g.");
		return -1;
	}
	return object_maps(object) ?: object_ops(object);
}

void object_close(struct object *object)
{
	bpf_object__close(object->obj);
	values_free(&object->tunables);
	free(object->path);
}

void object_rename(struct object *object, const char *name)
{
	snprintf(object->name, sizeof(object->name), "%s", name);
	strncpy(ops_member(object, "name", REC_NAME_LEN), name, REC_NAME_LEN);
}

void object_scope(struct object *object, __u32 flags, __u64 cgroup)
{
	object->flags = flags;
	object->cgroup = cgroup;
	*(__u32 *)ops_member(object, "flags", sizeof(__u32)) = flags;
	*(__u64 *)ops_member(object, "cgroup_id", sizeof(__u64)) = cgroup;
}

/* Have the kernel verify the programs. Nothing is attached yet. */
int object_load(struct object *object)
{
	int err;

	if (!(bpf_map__map_flags(object->map) & BPF_F_LINK)) {
		fail(EOPNOTSUPP, "%s: its struct gmem_policy_ops is not attached by a link",
		     object->path);
		fail_hint("Put it into SEC(\".struct_ops.link\") instead of SEC(\".struct_ops\").");
		return -1;
	}

	err = bpf_object__load(object->obj);
	if (!err)
		return 0;
	/* Without them libbpf fails early, and for reasons that lead nowhere. */
	if (*not_privileged()) {
		fail(EPERM, "'%s' cannot be loaded: not permitted (%s)", object->name,
		     not_privileged());
		fail_hint("Run it as root, outside of containers.");
		return -1;
	}
	fail(-err, "the kernel refuses '%s': %s", object->name, strerror(-err));
	fail_log();
	if (object->sleepable)
		fail_hint("It has a program that may sleep (SEC(\"struct_ops.s/...\")): policies must not.");
	return -1;
}

/*
 * Give the kernel the value of the struct_ops map, which is what a link can then attach, or be
 * updated to. It has the layout of the running kernel's BTF. libbpf does this only as a part of
 * attaching, and has no compare-and-swap.
 */
int object_arm(struct object *object)
{
	const struct btf_type *ktype, *utype = ops_type(object->btf), *vtype;
	char *value, *kops, *uops = bpf_map__initial_value(object->map, &(size_t){ 0 });
	const struct btf_member *km, *um;
	struct btf *btf = btf__load_vmlinux_btf();
	__u32 i, zero = 0;
	int id, err = -1;

	value = calloc(1, bpf_map__value_size(object->map));
	id = btf ? btf__find_by_name_kind(btf, "bpf_struct_ops_gmem_policy_ops",
					  BTF_KIND_STRUCT) : -1;
	if (!value || id < 0) {
		fail(ENOENT, "the kernel's BTF has no bpf_struct_ops_gmem_policy_ops");
		goto out;
	}
	vtype = btf__type_by_id(btf, id);
	ktype = ops_type(btf);
	kops = value + find_member(btf, vtype, "data")->offset / 8;

	km = btf_members(ktype);
	for (i = 0; i < btf_vlen(ktype); i++, km++) {
		void *dst = kops + km->offset / 8, *src;

		um = find_member(object->btf, utype, btf__name_by_offset(btf, km->name_off));
		if (!um)
			continue;
		src = uops + um->offset / 8;
		if (btf_is_ptr(btf__type_by_id(btf, km->type))) {
			const struct bpf_program *prog = *(void **)src;

			*(unsigned long *)dst = prog ? bpf_program__fd(prog) : 0;
		} else {
			memcpy(dst, src, btf__resolve_size(btf, km->type));
		}
	}

	err = bpf_map_update_elem(bpf_map__fd(object->map), &zero, value, 0);
out:
	free(value);
	btf__free(btf);
	return err;
}
