// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* gmem-policy status: what is loaded, what pools hold, and who decides for every object. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gmem-policy.h"

static const char *ahead_text(const struct obj_rec *obj)
{
	if (!obj->ahead_total)
		return "";
	return fmt(", populating: %llu %% of %s, %s/s", obj->ahead_done * 100 / obj->ahead_total,
		   fmt_size(obj->ahead_total * sysconf(_SC_PAGESIZE)), fmt_size(ahead_rate(obj)));
}

static const char *pool_text(const struct obj_rec *obj)
{
	if (!obj->zeroed[ZEROED_POOL] && !obj->pool_misses)
		return "";
	return fmt(", %s from pools, %llu misses", fmt_size(obj->zeroed[ZEROED_POOL]),
		   obj->pool_misses);
}

#define INDENT	13

/* NAME=VALUE of all, wrapped */
static void print_values(const char *what, const struct values *values)
{
	char *text = NULL;
	size_t size;
	FILE *f;
	int i;

	if (!values->nr)
		return;
	f = open_memstream(&text, &size);
	if (!f)
		abort();
	for (i = 0; i < values->nr; i++)
		fprintf(f, "%s%s=%s", i ? " " : "", values->v[i].name, value_text(&values->v[i]));
	fclose(f);
	printf("  %-*s", INDENT - 2, what);
	print_wrapped(stdout, text, INDENT, screen_width() - INDENT);
	free(text);
}

void print_policy(const struct kern *kern, const struct policy_rec *rec, bool detail)
{
	int i, objs, procs;
	const char *text;
	struct live live;
	__u64 bytes;

	policy_load(kern, rec, &objs, &procs, &bytes);
	printf("%s: %s\n", rec->name, policy_state(rec));
	printf("  scope      %s\n", policy_scope(rec));
	printf("  loaded     %s ago by %s\n", fmt_age(boottime_ns() - rec->attached_ns),
	       policy_loader(rec));
	printf("  %s    %d object%s of %d process%s, %s in memory\n",
	       rec->flags & FLAG_SHADOW ? "shadows" : "decides", objs, objs == 1 ? "" : "s", procs,
	       procs == 1 ? "" : "es", fmt_size(bytes));

	for (i = 0, text = ""; i < REC_OPS; i++)
		text = fmt("%s%s%s %llu", text, i ? ", " : "", op_names[i], rec->decisions[i]);
	printf("  decisions  %s\n", text);
	printf("%*s%llu fitted, %llu clamped; %llu objects declined\n", INDENT, "", rec->fits,
	       rec->clamps, rec->declines);
	if (detail)
		printf("  id         %llu; struct_ops map %u, tag %016llx\n", rec->id, rec->map_id,
		       rec->tag);

	live_read(rec, &live);
	print_values("tunables", &live.tunables);
	if (!detail)
		print_values("counters", &live.counters);
	for (i = 0; detail && i < live.counters.nr; i++)
		printf("  %-10s %14s  %-20s %s\n", i ? "" : "counters",
		       value_text(&live.counters.v[i]), live.counters.v[i].name,
		       live.counters.v[i].meaning);
	live_free(&live);
}

/* Memory in folios of at least 2M. */
static __u64 huge_bytes(const struct obj_rec *obj)
{
	__u64 bytes = 0;
	int order;

	for (order = 9; order < REC_ORDERS; order++)
		bytes += obj->folios[order] << (order + 12);
	return bytes;
}

void print_objs(const struct kern *kern, bool (*wanted)(const struct obj_rec *obj, __u64 arg),
		__u64 arg)
{
	struct table *t =
		table_new(">OBJECT", ">PID", "COMMAND", ">SIZE", ">RESIDENT", ">IN 2M", "POLICY",
			  NULL);
	char comm[32];
	int i;

	for (i = 0; i < kern->nr_objs; i++) {
		const struct obj_rec *obj = &kern->objs[i];

		if (wanted && !wanted(obj, arg))
			continue;
		table_row(t, fmt("%llu", obj->id), fmt("%u", obj->tgid),
			  process_name(obj->tgid, comm, sizeof(comm)), fmt_size(obj->size),
			  fmt_size(obj->resident), fmt_size(huge_bytes(obj)),
			  fmt("%s%s%s%s%s", obj_scope(kern, obj),
			      obj->shadow_id ? ", shadow " : "", obj->shadow_id ? obj->shadow : "",
			      ahead_text(obj), pool_text(obj)));
	}
	table_print(t);
}

static void print_status(const struct kern *kern)
{
	int i;

	for (i = 0; i < kern->nr_policies; i++) {
		print_policy(kern, &kern->policies[i], false);
		putchar('\n');
	}
	if (!kern->nr_policies)
		printf("no policy is loaded\n\n");
	print_pools(kern);
	if (kern->nr_objs)
		print_objs(kern, NULL, 0);
	else
		printf("no guest memory: no VM on this host uses guest_memfd\n");
}

int cmd_status(void)
{
	json_object *root, *list;
	struct kern kern;
	int i;

	if (kern_read(&kern))
		return -1;

	if (opt.names && !opt.json) {
		for (i = 0; i < kern.nr_policies; i++) {
			if (!kern.policies[i].detached)
				puts(kern.policies[i].name);
		}
	} else if (opt.json) {
		root = json_root();
		list = json_object_new_array();
		for (i = 0; i < kern.nr_policies; i++)
			json_object_array_add(list, policy_json(&kern, &kern.policies[i]));
		json_object_object_add(root, "policies", list);
		json_object_object_add(root, "pools", pools_json(&kern));
		list = json_object_new_array();
		for (i = 0; i < kern.nr_objs; i++)
			json_object_array_add(list, obj_json(&kern, &kern.objs[i]));
		json_object_object_add(root, "objects", list);
		print_json(root);
	} else {
		print_status(&kern);
	}
	kern_free(&kern);
	return EXIT_OK;
}
