// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* gmem-policy show: one policy, or one process and why its policies are what they are. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gmem-policy.h"

/*
 * One step of the search for the effective policy, in the kernel's order: what is enforced (nearest
 * cgroup first, then the host), what the VMM named, the nearest cgroup, the host, built in.
 */
struct chain {
	const struct kern *kern;
	const struct obj_rec *obj;
	bool taken;
	json_object *json;
	struct table *table;
};

static void chain_add(struct chain *c, const char *step, const char *where, const char *policy,
		      const char *verdict, const char *text)
{
	json_object *o;

	if (!c->json) {
		table_row(c->table, fmt("    %s", step), where, policy, text);
		return;
	}
	o = json_object_new_object();
	json_str(o, "step", step);
	json_str(o, "where", *where ? where : NULL);
	json_str(o, "policy", strcmp(policy, "-") ? policy : NULL);
	json_str(o, "verdict", verdict);
	json_str(o, "text", text);
	json_object_array_add(c->json, o);
}

static void chain_policy(struct chain *c, const char *step, const char *where,
			 const struct policy_rec *rec)
{
	const char *verdict, *text;

	if (rec->flags & FLAG_SHADOW) {
		verdict = "shadow";
		text = "a shadow: consulted, never applied";
	} else if (rec->id == c->obj->policy_id) {
		verdict = "effective";
		text = "<- effective";
		c->taken = true;
	} else if (rec->tripped) {
		verdict = "tripped";
		text = fmt("not taken: tripped, %s", rec->trip_reason);
	} else if (c->taken) {
		verdict = "not_reached";
		text = "not reached";
	} else if (!rec->walked) {
		verdict = "arriving";
		text = "not yet: it was loaded a moment ago";
	} else {
		verdict = "declined";
		text = "not taken: its init declined the object";
	}
	chain_add(c, step, where, rec->name, verdict, text);
}

/* All policies of one place; true if there was any. */
static bool chain_place(struct chain *c, const char *step, __u64 cgroup, __u32 enforced)
{
	const char *where = cgroup ? cgroup_name(cgroup) : "host";
	bool found = false;
	int i;

	for (i = 0; i < c->kern->nr_policies; i++) {
		const struct policy_rec *rec = &c->kern->policies[i];

		if (rec->detached || (rec->flags & FLAG_NAMED) || rec->cgroup_id != cgroup ||
		    (rec->flags & FLAG_ENFORCED) != enforced)
			continue;
		chain_policy(c, step, where, rec);
		found = true;
	}
	return found;
}

static bool chain_cgroups(struct chain *c, const char *step, __u32 enforced)
{
	bool found = false;
	__u32 i;

	for (i = 0; i < c->obj->nr_cgroups && i < REC_CGROUPS; i++)
		found |= chain_place(c, step, c->obj->cgroups[i], enforced);
	return found;
}

static void chain_named(struct chain *c)
{
	const struct policy_rec *rec = kern_attached(c->kern, c->obj->asked_name);

	if (!c->obj->asked_name[0])
		chain_add(c, "named", "", "-", "none", "the VMM named none");
	else if (rec && (rec->flags & FLAG_NAMED))
		chain_policy(c, "named", "by the VMM", rec);
	else
		chain_add(c, "named", "by the VMM", c->obj->asked_name, "none",
			  "not taken: not loaded as a named policy any more");
}

static void chain_walk(struct chain *c)
{
	bool found;

	found = chain_cgroups(c, "enforced", FLAG_ENFORCED);
	found |= chain_place(c, "enforced", 0, FLAG_ENFORCED);
	if (!found)
		chain_add(c, "enforced", "", "-", "none", "none, on its cgroups or on the host");
	chain_named(c);
	if (!chain_cgroups(c, "cgroup", 0))
		chain_add(c, "cgroup", cgroup_name(c->obj->cgroups[0]), "-", "none", "none, here or above");
	if (!chain_place(c, "global", 0, 0))
		chain_add(c, "global", "host", "-", "none", "none");
	chain_add(c, "builtin", "", "builtin", c->obj->policy_id ? "not_reached" : "effective",
		  c->obj->policy_id ? "not reached" : "<- effective");
}

static void show_obj(const struct kern *kern, const struct obj_rec *obj)
{
	struct chain c = { .kern = kern, .obj = obj };
	const char *text = "";
	char comm[32];
	int i;

	printf("object %llu of %s[%u]\n", obj->id, process_name(obj->tgid, comm, sizeof(comm)),
	       obj->tgid);
	printf("  cgroup     %s\n", cgroup_name(obj->cgroups[0]));
	printf("  memory     %s, %s resident, %s of it zeroed or written\n", fmt_size(obj->size),
	       fmt_size(obj->resident), fmt_size(obj->ready));
	for (i = 0; i < REC_ORDERS; i++) {
		if (obj->folios[i])
			text = fmt("%s%s%llu of order %d", text, *text ? ", " : "", obj->folios[i],
				   i);
	}
	printf("  folios     %s\n", *text ? text : "none");
	for (i = 0, text = ""; i < REC_ZEROED; i++)
		text = fmt("%s%s%s %s", text, i ? ", " : "", zeroed_names[i],
			   fmt_size(obj->zeroed[i]));
	printf("  zeroed     %s\n", text);
	printf("  decisions  %llu, %llu fitted, %llu clamped; %llu faults found no memory\n",
	       obj->decisions, obj->fits, obj->clamps, obj->faults);
	if (obj->prealloc_asked)
		printf("  ahead      %llu of %llu pages asked for were allocated\n",
		       obj->prealloc_done, obj->prealloc_asked);
	if (obj->ahead_total)
		printf("  populating %llu of %llu pages done, %s/s\n", obj->ahead_done,
		       obj->ahead_total, fmt_size(ahead_rate(obj)));
	if (obj->zeroed[ZEROED_POOL] || obj->pool_misses || obj->recycled)
		printf("  pools      %s taken, %llu folios were not there; %llu pages recycled\n",
		       fmt_size(obj->zeroed[ZEROED_POOL]), obj->pool_misses, obj->recycled);
	if (obj->fallbacks || obj->splits || obj->splits_failed || obj->rebuilds ||
	    obj->rebuilds_failed)
		printf("  large      %llu smaller for want of memory; %llu splits, %llu failed; %llu rebuilds, %llu failed\n",
		       obj->fallbacks, obj->splits, obj->splits_failed, obj->rebuilds,
		       obj->rebuilds_failed);
	if (obj->scrub_failed || obj->holes_dropped || obj->quiet_joined)
		printf("  trouble    %llu pages not scrubbed, %llu of holes not freed; %llu quiet ranges wait with another\n",
		       obj->scrub_failed, obj->holes_dropped, obj->quiet_joined);
	printf("  policy     %s\n", obj_scope(kern, obj));
	if (obj->shadow_id)
		printf("  shadow     %s\n", obj->shadow);
	printf("  why\n");
	c.table = table_new("    STEP", "WHERE", "POLICY", "VERDICT", NULL);
	chain_walk(&c);
	table_print(c.table);
}

static bool of_process(const struct obj_rec *obj, __u64 tgid)
{
	return obj->tgid == tgid;
}

static bool of_policy(const struct obj_rec *obj, __u64 id)
{
	return obj->policy_id == id || obj->shadow_id == id;
}

static json_object *objs_json(const struct kern *kern,
			      bool (*wanted)(const struct obj_rec *obj, __u64 arg), __u64 arg)
{
	json_object *list = json_object_new_array(), *o;
	int i;

	for (i = 0; i < kern->nr_objs; i++) {
		struct chain c = { .kern = kern, .obj = &kern->objs[i] };

		if (!wanted(c.obj, arg))
			continue;
		o = obj_json(kern, c.obj);
		c.json = json_object_new_array();
		chain_walk(&c);
		json_object_object_add(o, "chain", c.json);
		json_object_array_add(list, o);
	}
	return list;
}

static int show_policy(const struct kern *kern, const struct policy_rec *rec)
{
	json_object *root;

	if (opt.json) {
		root = json_root();
		json_object_object_add(root, "policy", policy_json(kern, rec));
		json_object_object_add(root, "objects", objs_json(kern, of_policy, rec->id));
		print_json(root);
		return EXIT_OK;
	}
	print_policy(kern, rec, true);
	if (rec->objects) {
		putchar('\n');
		print_objs(kern, of_policy, rec->id);
	}
	return EXIT_OK;
}

static int show_process(const struct kern *kern, const char *arg)
{
	char *end, comm[32];
	json_object *root;
	int i, nr = 0;
	__u32 pid;

	pid = strtoul(arg, &end, 10);
	if (!isdigit(*arg) || *end) {
		fail(ENOENT, "no policy called '%s' is loaded, and it is no PID either", arg);
		fail_hint("'gmem-policy status' shows policies and VMs.");
		return -1;
	}
	for (i = 0; i < kern->nr_objs; i++)
		nr += kern->objs[i].tgid == pid;
	if (!nr) {
		fail(ESRCH, "process %u (%s) has created no guest memory that is still there", pid,
		     process_name(pid, comm, sizeof(comm)));
		fail_hint("'gmem-policy status' shows which have.");
		return -1;
	}

	if (opt.json) {
		root = json_root();
		json_object_object_add(root, "objects", objs_json(kern, of_process, pid));
		print_json(root);
		return EXIT_OK;
	}
	for (i = 0, nr = 0; i < kern->nr_objs; i++) {
		if (kern->objs[i].tgid != pid)
			continue;
		if (nr++)
			putchar('\n');
		show_obj(kern, &kern->objs[i]);
	}
	return EXIT_OK;
}

int cmd_show(void)
{
	const struct policy_rec *rec;
	struct kern kern;
	int ret;

	if (kern_read(&kern))
		return -1;
	rec = kern_attached(&kern, opt.what);
	ret = rec ? show_policy(&kern, rec) : show_process(&kern, opt.what);
	kern_free(&kern);
	return ret;
}
