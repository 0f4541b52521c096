// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Pools of zeroed memory: what a policy wants in them, which are members of its struct
 * gmem_policy_ops and set like tunables; and what is in them.
 */
#include <string.h>

#include "gmem-policy.h"

static const struct {
	const char *name;
	const char *meaning;
	__u64 max;
} pool_members[] = {
	{ "pool_small_mb", "zeroed single pages kept ready on each node, MiB", 0 },
	{ "pool_large_mb", "zeroed folios of 2M kept ready on each node, MiB", 0 },
	{ "pool_low_percent", "fill up again below this part of that; 0: 75", 100 },
	{ "pool_rate_mb", "fill at most so many MiB/s on a node; 0: no limit", 0 },
};

/*
 * Add what a policy wants in pools, if it wants anything: any of these members is not 0. @data is
 * its struct gmem_policy_ops, of the type @ops.
 */
int pool_tunables(struct values *values, const struct btf *btf, const struct btf_type *ops,
		  void *data)
{
	const struct btf_member *m[ARRAY_SIZE(pool_members)];
	__u32 value, wanted = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(m); i++) {
		m[i] = find_member(btf, ops, pool_members[i].name);
		if (!m[i] || btf__resolve_size(btf, m[i]->type) != sizeof(value))
			return 0;
		memcpy(&value, (char *)data + m[i]->offset / 8, sizeof(value));
		wanted |= value;
	}
	for (i = 0; wanted && i < ARRAY_SIZE(m); i++) {
		if (value_add(values, btf, m[i]->type, pool_members[i].name,
			      pool_members[i].meaning, (char *)data + m[i]->offset / 8,
			      sizeof(value)))
			return -1;
		values->v[values->nr - 1].max = pool_members[i].max;
	}
	return 0;
}

static __u64 bytes(const struct pool_rec *pool, __u64 folios)
{
	return folios << (pool->order + 12);
}

/* One that nobody wants any more, and that is empty, only has a history. */
static bool in_use(const struct pool_rec *pool)
{
	return pool->high || pool->ready || pool->dirty;
}

void print_pools(const struct kern *kern)
{
	struct table *t = NULL;
	int i;

	for (i = 0; i < kern->nr_pools; i++) {
		const struct pool_rec *pool = &kern->pools[i];

		if (!in_use(pool))
			continue;
		if (!t)
			t = table_new("POOL", ">READY", ">DIRTY", ">LOW - HIGH", ">RATE", ">TAKEN",
				      ">MISSED", ">FILLED", ">RECYCLED", ">GIVEN BACK", NULL);
		table_row(t, fmt("node %u, %s", pool->nid, fmt_size(bytes(pool, 1))),
			  fmt_size(bytes(pool, pool->ready)), fmt_size(bytes(pool, pool->dirty)),
			  fmt("%s - %s", fmt_size(bytes(pool, pool->low)),
			      fmt_size(bytes(pool, pool->high))),
			  pool->rate_mb ? fmt("%u MiB/s", pool->rate_mb) : "idle",
			  fmt("%llu", pool->taken), fmt("%llu", pool->missed),
			  fmt("%llu", pool->filled), fmt("%llu", pool->recycled),
			  fmt("%llu", pool->given_back));
	}
	if (!t)
		return;
	table_print(t);
	putchar('\n');
}

json_object *pools_json(const struct kern *kern)
{
	json_object *list = json_object_new_array(), *o;
	int i;

	for (i = 0; i < kern->nr_pools; i++) {
		const struct pool_rec *pool = &kern->pools[i];

		o = json_object_new_object();
		json_num(o, "node", pool->nid);
		json_num(o, "order", pool->order);
		json_num(o, "ready", bytes(pool, pool->ready));
		json_num(o, "dirty", bytes(pool, pool->dirty));
		json_num(o, "low", bytes(pool, pool->low));
		json_num(o, "high", bytes(pool, pool->high));
		json_num(o, "rate_mib", pool->rate_mb);
		json_num(o, "taken", pool->taken);
		json_num(o, "returned", pool->returned);
		json_num(o, "missed", pool->missed);
		json_num(o, "filled", pool->filled);
		json_num(o, "recycled", pool->recycled);
		json_num(o, "given_back", pool->given_back);
		json_object_array_add(list, o);
	}
	return list;
}
