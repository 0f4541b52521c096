// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Policies and objects, for people and as JSON. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gmem-policy.h"

const char *const scope_names[SCOPE_MAX] = { "builtin", "enforced", "named", "cgroup", "global" };
const char *const op_names[REC_OPS] = { "alloc", "prealloc", "convert", "free" };
const char *const zeroed_names[REC_ZEROED] = { "first_use", "alloc", "ahead", "free", "pool" };

static const struct {
	__u32 flag;
	const char *name;
} policy_flags[] = {
	{ FLAG_NAMED, "named" },
	{ FLAG_ENFORCED, "enforced" },
	{ FLAG_SHADOW, "shadow" },
	{ FLAG_LARGE, "large" },
}, obj_flags[] = {
	{ OBJ_MMAP, "mmap" },
	{ OBJ_SHARED, "shared" },
	{ OBJ_HW_OWNED, "hw_owned" },
};

const char *flags_text(__u32 flags)
{
	const char *text = "";
	size_t i;

	for (i = 0; i < ARRAY_SIZE(policy_flags); i++) {
		if (flags & policy_flags[i].flag)
			text = fmt("%s%s%s", text, *text ? "," : "", policy_flags[i].name);
	}
	return text;
}

const char *policy_scope(const struct policy_rec *rec)
{
	const char *where = rec->cgroup_id ? cgroup_name(rec->cgroup_id) : "global";
	const char *flags = flags_text(rec->flags & ~FLAG_LARGE);

	if (rec->flags & FLAG_NAMED)
		return "named";
	return *flags ? fmt("%s, %s", where, flags) : where;
}

const char *policy_state(const struct policy_rec *rec)
{
	if (rec->tripped)
		return fmt("tripped: %s", rec->trip_reason);
	if (rec->detached)
		return "leaving";
	return rec->walked ? "active" : "arriving";
}

const char *policy_loader(const struct policy_rec *rec)
{
	return fmt("%s with %s[%u]", user_name(rec->uid), rec->comm, rec->pid);
}

/* Objects under a policy (or shadowed by it), processes that they belong to, and memory in them. */
void policy_load(const struct kern *kern, const struct policy_rec *rec, int *objs, int *procs,
		 __u64 *bytes)
{
	int i, j;

	*objs = 0;
	*procs = 0;
	*bytes = 0;
	for (i = 0; i < kern->nr_objs; i++) {
		const struct obj_rec *obj = &kern->objs[i];

		if (obj->policy_id != rec->id && obj->shadow_id != rec->id)
			continue;
		(*objs)++;
		*bytes += obj->resident;
		for (j = 0; j < i; j++) {
			const struct obj_rec *other = &kern->objs[j];

			if (other->tgid == obj->tgid &&
			    (other->policy_id == rec->id || other->shadow_id == rec->id))
				break;
		}
		if (j == i)
			(*procs)++;
	}
}

/* How fast background work of an object goes, bytes/s. */
__u64 ahead_rate(const struct obj_rec *obj)
{
	__u64 ns = boottime_ns() - obj->ahead_began;

	return obj->ahead_began && ns ? obj->ahead_done * sysconf(_SC_PAGESIZE) * 1e9 / ns : 0;
}

/* The effective policy of an object, and why it is. */
const char *obj_scope(const struct kern *kern, const struct obj_rec *obj)
{
	const struct policy_rec *rec = kern_policy(kern, obj->policy_id);
	enum scope scope = obj->scope < SCOPE_MAX ? obj->scope : SCOPE_BUILTIN;

	if (!obj->policy_id)
		return "builtin";
	if (rec && rec->cgroup_id)
		return fmt("%s (%s %s)", obj->policy, scope == SCOPE_ENFORCED ? "enforced," : "cgroup",
			   cgroup_name(rec->cgroup_id));
	return fmt("%s (%s)", obj->policy, scope_names[scope]);
}

static json_object *cgroup_json(__u64 id)
{
	json_object *o;

	if (!id)
		return NULL;
	o = json_object_new_object();
	json_num(o, "id", id);
	json_str(o, "path", cgroup_name(id));
	return o;
}

json_object *loader_json(const struct policy_rec *rec)
{
	json_object *o = json_object_new_object();

	json_num(o, "uid", rec->uid);
	json_str(o, "user", user_name(rec->uid));
	json_num(o, "pid", rec->pid);
	json_str(o, "comm", rec->comm);
	return o;
}

json_object *policy_json(const struct kern *kern, const struct policy_rec *rec)
{
	json_object *o = json_object_new_object(), *list, *part;
	int i, objs, procs;
	struct live live;
	__u64 bytes;

	json_str(o, "name", rec->name);
	json_num(o, "id", rec->id);
	json_str(o, "state", rec->tripped ? "tripped" : policy_state(rec));
	json_str(o, "trip_reason", rec->tripped ? rec->trip_reason : NULL);
	json_str(o, "scope", rec->flags & FLAG_NAMED ? "named" : rec->cgroup_id ? "cgroup" : "global");
	json_object_object_add(o, "cgroup", cgroup_json(rec->cgroup_id));
	list = json_object_new_array();
	for (i = 0; i < (int)ARRAY_SIZE(policy_flags); i++) {
		if (rec->flags & policy_flags[i].flag)
			json_object_array_add(list, json_object_new_string(policy_flags[i].name));
	}
	json_object_object_add(o, "flags", list);
	json_num(o, "age_ms", (boottime_ns() - rec->attached_ns) / 1000000);
	json_object_object_add(o, "loaded_by", loader_json(rec));
	json_num(o, "map_id", rec->map_id);
	json_str(o, "tag", fmt("%016llx", rec->tag));

	if (kern->objs || !rec->objects) {
		policy_load(kern, rec, &objs, &procs, &bytes);
		json_num(o, "objects", objs);
		json_num(o, "processes", procs);
		json_num(o, "bytes", bytes);
	} else {
		json_num(o, "objects", rec->objects);
	}

	part = json_object_new_object();
	for (i = 0; i < REC_OPS; i++)
		json_num(part, op_names[i], rec->decisions[i]);
	json_object_object_add(o, "decisions", part);
	json_num(o, "fits", rec->fits);
	json_num(o, "clamps", rec->clamps);
	json_num(o, "declines", rec->declines);

	live_read(rec, &live);
	json_object_object_add(o, "tunables", values_json(&live.tunables, false));
	json_object_object_add(o, "counters", values_json(&live.counters, false));
	live_free(&live);
	return o;
}

json_object *obj_json(const struct kern *kern, const struct obj_rec *obj)
{
	const struct policy_rec *rec = kern_policy(kern, obj->policy_id);
	json_object *o = json_object_new_object(), *list, *part;
	char comm[32];
	int i;

	json_num(o, "id", obj->id);
	json_num(o, "tgid", obj->tgid);
	json_str(o, "comm", process_name(obj->tgid, comm, sizeof(comm)));
	json_object_object_add(o, "cgroup", cgroup_json(obj->cgroups[0]));
	json_num(o, "size", obj->size);
	json_num(o, "resident", obj->resident);
	json_num(o, "ready", obj->ready);
	list = json_object_new_array();
	for (i = 0; i < (int)ARRAY_SIZE(obj_flags); i++) {
		if (obj->flags & obj_flags[i].flag)
			json_object_array_add(list, json_object_new_string(obj_flags[i].name));
	}
	json_object_object_add(o, "flags", list);

	json_str(o, "policy", obj->policy_id ? obj->policy : "builtin");
	json_num(o, "policy_id", obj->policy_id);
	json_str(o, "scope", scope_names[obj->scope < SCOPE_MAX ? obj->scope : SCOPE_BUILTIN]);
	json_object_object_add(o, "scope_cgroup", rec ? cgroup_json(rec->cgroup_id) : NULL);
	json_str(o, "shadow", obj->shadow_id ? obj->shadow : NULL);
	json_str(o, "asked_name", obj->asked_name[0] ? obj->asked_name : NULL);
	json_num(o, "cookie", obj->cookie);

	part = json_object_new_object();
	for (i = 0; i < REC_ORDERS; i++) {
		if (obj->folios[i])
			json_num(part, fmt("%d", i), obj->folios[i]);
	}
	json_object_object_add(o, "folios_by_order", part);
	part = json_object_new_object();
	for (i = 0; i < REC_ZEROED; i++)
		json_num(part, zeroed_names[i], obj->zeroed[i]);
	json_object_object_add(o, "zeroed", part);
	json_num(o, "faults", obj->faults);
	json_num(o, "decisions", obj->decisions);
	json_num(o, "fits", obj->fits);
	json_num(o, "clamps", obj->clamps);
	json_num(o, "scrub_failed", obj->scrub_failed);
	json_num(o, "quiet_joined", obj->quiet_joined);
	json_num(o, "pool_misses", obj->pool_misses);
	json_num(o, "recycled", obj->recycled);
	json_num(o, "fallbacks", obj->fallbacks);
	json_num(o, "splits", obj->splits);
	json_num(o, "splits_failed", obj->splits_failed);
	json_num(o, "holes_dropped", obj->holes_dropped);
	json_num(o, "rebuilds", obj->rebuilds);
	json_num(o, "rebuilds_failed", obj->rebuilds_failed);

	part = json_object_new_object();
	json_num(part, "asked_pages", obj->prealloc_asked);
	json_num(part, "done_pages", obj->prealloc_done);
	json_num(part, "background_total", obj->ahead_total);
	json_num(part, "background_done", obj->ahead_done);
	json_num(part, "background_bytes_per_s", ahead_rate(obj));
	json_object_object_add(o, "ahead", part);
	return o;
}
