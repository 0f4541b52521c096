// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Tunables and counters of a policy that is loaded. Its struct_ops map tells its programs and what
 * it wants in pools, the programs tell their maps, and those have BTF.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "gmem-policy.h"

#define MAX_PROGS	16
#define MAX_MAPS	64

struct ids {
	__u32 id[MAX_MAPS];
	unsigned int nr;
};

static void note_id(struct ids *ids, __u32 id)
{
	unsigned int i;

	for (i = 0; i < ids->nr; i++) {
		if (ids->id[i] == id)
			return;
	}
	if (ids->nr < ARRAY_SIZE(ids->id))
		ids->id[ids->nr++] = id;
}

/* Maps that a program uses. */
static void prog_maps(__u32 prog_id, struct ids *maps)
{
	__u32 ids[MAX_MAPS] = {}, i, len = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = { .nr_map_ids = ARRAY_SIZE(ids),
				      .map_ids = (unsigned long)ids };
	int fd = bpf_prog_get_fd_by_id(prog_id);

	if (fd < 0)
		return;
	if (!bpf_prog_get_info_by_fd(fd, &info, &len)) {
		for (i = 0; i < info.nr_map_ids && i < ARRAY_SIZE(ids); i++)
			note_id(maps, ids[i]);
	}
	close(fd);
}

/*
 * The kernel keeps the ids of the programs where the struct has the ops. Its other members (*@data)
 * are as they were loaded. Returns the type of the struct; NULL if it cannot be read.
 */
static const struct btf_type *ops_read(__u32 map_id, struct ids *progs, struct live *live,
				       char **data)
{
	struct btf *btf = btf__load_vmlinux_btf();
	int fd = bpf_map_get_fd_by_id(map_id);
	const struct btf_type *ops = NULL, *wrap;
	const struct btf_member *m;
	struct bpf_map_info info = {};
	__u32 len = sizeof(info), zero = 0, i;
	char *value;
	int id, wrap_id;

	live->btf[live->nr_btf++] = btf;
	if (!btf || fd < 0 || bpf_map_get_info_by_fd(fd, &info, &len))
		goto out;
	id = btf__find_by_name_kind(btf, "gmem_policy_ops", BTF_KIND_STRUCT);
	wrap_id = btf__find_by_name_kind(btf, "bpf_struct_ops_gmem_policy_ops", BTF_KIND_STRUCT);
	value = calloc(1, info.value_size);
	live->data[live->nr_data++] = value;
	if (!value || id < 0 || wrap_id < 0 || bpf_map_lookup_elem(fd, &zero, value))
		goto out;

	wrap = btf__type_by_id(btf, wrap_id);
	ops = btf__type_by_id(btf, id);
	*data = value + btf_members(wrap)[btf_vlen(wrap) - 1].offset / 8;
	m = btf_members(ops);
	for (i = 0; i < btf_vlen(ops); i++, m++) {
		const struct btf_type *t = btf__type_by_id(btf, m->type);
		__u64 prog_id;

		if (!btf_is_ptr(t))
			continue;
		memcpy(&prog_id, *data + m->offset / 8, sizeof(prog_id));
		if (prog_id)
			note_id(progs, prog_id);
	}
out:
	if (fd >= 0)
		close(fd);
	return ops;
}

static struct btf *live_btf(struct live *live, __u32 id)
{
	int i;

	for (i = 0; i < live->nr_btf; i++) {
		if (live->btf_id[i] == id)
			return live->btf[i];
	}
	if (live->nr_btf == ARRAY_SIZE(live->btf))
		return NULL;
	live->btf[live->nr_btf] = btf__load_from_kernel_by_id(id);
	if (!live->btf[live->nr_btf])
		return NULL;
	live->btf_id[live->nr_btf] = id;
	return live->btf[live->nr_btf++];
}

static void map_values(__u32 map_id, struct live *live)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info), zero = 0;
	const struct btf_type *t;
	const char *section;
	struct btf *btf;
	void *data;
	int fd = bpf_map_get_fd_by_id(map_id);

	if (fd < 0)
		return;
	if (bpf_map_get_info_by_fd(fd, &info, &len) || !info.btf_id || !info.btf_value_type_id ||
	    info.type != BPF_MAP_TYPE_ARRAY || live->nr_data == ARRAY_SIZE(live->data))
		goto out;
	btf = live_btf(live, info.btf_id);
	t = btf ? btf__type_by_id(btf, info.btf_value_type_id) : NULL;
	if (!t || !btf_is_datasec(t))
		goto out;

	data = calloc(1, info.value_size);
	live->data[live->nr_data++] = data;
	if (!data || bpf_map_lookup_elem(fd, &zero, data))
		goto out;

	section = btf__name_by_offset(btf, t->name_off);
	if (!strncmp(section, ".rodata", 7))
		values_add(&live->tunables, btf, section, "tunable", data, info.value_size);
	else
		values_add(&live->counters, btf, section, "counter", data, info.value_size);
out:
	close(fd);
}

/* What cannot be read is left out: the policy may be unloaded at any time. */
void live_read(const struct policy_rec *rec, struct live *live)
{
	struct ids progs = {}, maps = {};
	const struct btf_type *ops;
	unsigned int i;
	char *data;

	memset(live, 0, sizeof(*live));
	ops = ops_read(rec->map_id, &progs, live, &data);
	for (i = 0; i < progs.nr; i++)
		prog_maps(progs.id[i], &maps);
	for (i = 0; i < maps.nr; i++)
		map_values(maps.id[i], live);
	if (ops)
		pool_tunables(&live->tunables, live->btf[0], ops, data);
}

void live_free(struct live *live)
{
	int i;

	values_free(&live->tunables);
	values_free(&live->counters);
	for (i = 0; i < live->nr_data; i++)
		free(live->data[i]);
	for (i = 0; i < live->nr_btf; i++)
		btf__free(live->btf[i]);
}
