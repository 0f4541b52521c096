// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* gmem-policy load and replace. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "gmem-policy.h"

static int parse_flags(const char *text, __u32 *flags)
{
	char *copy = strdup(text), *p, *save;
	int ret = 0;

	for (p = strtok_r(copy, ",", &save); p && !ret; p = strtok_r(NULL, ",", &save)) {
		if (!strcmp(p, "named"))
			*flags |= FLAG_NAMED;
		else if (!strcmp(p, "enforced"))
			*flags |= FLAG_ENFORCED;
		else if (!strcmp(p, "shadow"))
			*flags |= FLAG_SHADOW;
		else
			ret = fail(EINVAL, "--flags %s: '%s' is none of named, enforced, shadow",
				   text, p);
	}
	free(copy);
	return ret;
}

static int check_flags(__u32 flags, __u64 cgroup)
{
	if ((flags & FLAG_NAMED) && cgroup)
		return fail(EINVAL, "a named policy has no cgroup: VMMs ask for it by name");
	if ((flags & FLAG_NAMED) && (flags & (FLAG_ENFORCED | FLAG_SHADOW)))
		return fail(EINVAL, "a named policy is neither enforced nor a shadow");
	if ((flags & FLAG_ENFORCED) && (flags & FLAG_SHADOW))
		return fail(EINVAL, "a shadow is never applied, so it cannot be enforced");
	return 0;
}

/*
 * A policy that decides orders only if its tunable "large" says so is not made to pay for finding
 * out which fit when it does not.
 */
static void large_if_wanted(struct object *object)
{
	const struct value *large = value_find(&object->tunables, "large");

	if (large && large->size == sizeof(bool) && !*(bool *)large->data)
		object->flags &= ~FLAG_LARGE;
}

/* A number would be taken for a process, and "builtin" for what is there without a policy. */
static int check_name(const char *name)
{
	if (name_valid(name) && strcmp(name, "builtin") && name[strspn(name, "0123456789")])
		return 0;
	fail(EINVAL, "'%s' is no name for a policy", name);
	fail_hint("A name has 1 to %d letters, digits and '_', and is neither a number nor 'builtin'.%s",
		  REC_NAME_LEN - 1, opt.as ? "" : " To give it another: --as NAME.");
	return -1;
}

static int open_policy(struct object *object, const char *name)
{
	char *path, base[256];
	const char *as = opt.as;
	int i, ret;

	if (object_find(name, &path))
		return -1;
	ret = object_open(object, path);
	if (!ret && !as && !object->name[0]) {
		snprintf(base, sizeof(base), "%s",
			 strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
		base[strcspn(base, ".")] = '\0';
		as = base;
	}
	free(path);
	if (!ret)
		ret = check_name(as ?: object->name);
	if (!ret && as)
		object_rename(object, as);

	for (i = 0; i < opt.nr_sets && !ret; i++)
		ret = values_set(&object->tunables, fmt("policy '%s'", object->name), opt.sets[i]);
	if (!ret)
		large_if_wanted(object);
	return ret;
}

static const char *scope_text(__u32 flags, __u64 cgroup)
{
	struct policy_rec rec = { .flags = flags, .cgroup_id = cgroup };

	return policy_scope(&rec);
}

static int fail_held(const struct kern *kern, const struct object *object,
		     const struct policy_rec *held)
{
	const char *age = fmt_age(boottime_ns() - held->attached_ns);
	/* of those with another name: none is called "" */
	const struct policy_rec *placed = kern_holder(kern, "", object->flags, object->cgroup);

	if (!strcmp(held->name, object->name)) {
		fail(EEXIST, "a policy called '%s' is loaded already (scope: %s), by %s, %s ago",
		     held->name, policy_scope(held), policy_loader(held), age);
		fail_hint("To swap it: gmem-policy replace %s. To remove it: gmem-policy unload %s.%s",
			  held->name, held->name,
			  placed ? "" : " To load this one under another name: --as NAME.");
	} else {
		fail(EEXIST, "the scope '%s' has a policy already: '%s', loaded by %s, %s ago",
		     scope_text(object->flags & FLAG_SHADOW, object->cgroup), held->name,
		     policy_loader(held), age);
		fail_hint("To swap it: gmem-policy replace POLICY --as %s. To remove it: gmem-policy unload %s.",
			  held->name, held->name);
	}
	return -1;
}

static int fail_permission(const struct object *object, const char *verb)
{
	const char *why = not_privileged();

	fail(EPERM, "'%s' was not %s: not permitted%s", object->name, verb,
	     *why ? fmt(" (%s)", why) : "");
	fail_hint("It takes CAP_BPF and CAP_SYS_ADMIN in the initial user namespace.");
	return -1;
}

/* What the kernel may find wrong in a struct gmem_policy_ops. */
static int fail_ops(const struct object *object)
{
	const struct value *low = value_find(&object->tunables, "pool_low_percent");

	fail(EINVAL, "'%s' was not attached: the kernel does not accept its name ('%s'), flags (%s%s) or pool_low_percent (%s)",
	     object->name, object->name, *flags_text(object->flags) ? flags_text(object->flags) :
	     "none", object->cgroup ? ", with a cgroup" : "", low ? value_text(low) : "0");
	fail_hint("A name has 1 to %d letters, digits and '_', and is not 'builtin'. named excludes enforced, shadow and a cgroup; enforced excludes shadow. pool_low_percent is from 0 to 100.",
		  REC_NAME_LEN - 1);
	return -1;
}

/* Why the kernel did not attach @object. */
static int fail_attach(const struct object *object, int err)
{
	const struct policy_rec *held;
	struct kern kern;

	switch (err) {
	case EPERM:
		return fail_permission(object, "attached");
	case EINVAL:
		return fail_ops(object);
	case EBUSY:
		fail(err, "'%s' was not attached: the kernel is still busy with its struct_ops map",
		     object->name);
		fail_hint("Try again.");
		return -1;
	case EACCES:
		fail(err, "'%s' was not attached: policies are switched off on this host",
		     object->name);
		fail_hint("The kernel was booted with gmem_bpf=off; boot it without.");
		return -1;
	case EOPNOTSUPP:
		fail(err, "'%s' was not attached: the kernel does not know its abi_version (%u) or flags (0x%x)",
		     object->name, object->abi, object->flags);
		fail_hint("Compile it with this kernel's gmem_policy.bpf.h; this gmem-policy is for ABI %d.",
			  POLICY_ABI);
		return -1;
	case ENOENT:
		return fail(err, "'%s' was not attached: there is no cgroup %llu", object->name,
			    object->cgroup);
	case EEXIST:
		if (kern_read_policies(&kern))
			return -1;
		held = kern_holder(&kern, object->name, object->flags, object->cgroup);
		if (held)
			fail_held(&kern, object, held);
		else
			fail(err, "'%s' was not attached: its name or scope was taken a moment ago; try again",
			     object->name);
		kern_free(&kern);
		return -1;
	default:
		return fail(err, "'%s' was not attached: %s", object->name, strerror(err));
	}
}

/* ---- Dry run ---- */

/* As the kernel ranks policies for an object; 0 if the object is not in scope. */
static unsigned int rank(const struct obj_rec *obj, const char *name, __u32 flags, __u64 cgroup)
{
	unsigned int depth = 0;
	int above;

	if (flags & FLAG_NAMED)
		return strcmp(name, obj->asked_name) ? 0 : 1U << 16;
	if (cgroup) {
		above = obj_cgroup_depth(obj, cgroup);
		if (above < 0)
			return 0;
		depth = obj->nr_cgroups - above;
	}
	return (flags & FLAG_ENFORCED ? 1U << 24 : 1) + depth;
}

static unsigned int rank_of(const struct kern *kern, const struct obj_rec *obj, __u64 policy_id)
{
	const struct policy_rec *rec = kern_policy(kern, policy_id);

	return rec ? rank(obj, rec->name, rec->flags, rec->cgroup_id) : 0;
}

/* What loading would change for @obj; NULL if it is not in scope. */
static const char *effect(const struct kern *kern, const struct object *object,
			  const struct obj_rec *obj, const struct policy_rec *old, bool *affected)
{
	unsigned int mine = rank(obj, object->name, object->flags, object->cgroup);
	bool shadow = object->flags & FLAG_SHADOW;
	__u64 now = shadow ? obj->shadow_id : obj->policy_id;

	*affected = false;
	if (!mine)
		return NULL;
	if (old)
		*affected = now == old->id || (old->tripped && mine > rank_of(kern, obj, now));
	else
		*affected = mine > rank_of(kern, obj, now);

	if (!*affected)
		return shadow ? fmt("keeps its shadow %s", obj->shadow) :
				fmt("keeps %s", obj_scope(kern, obj));
	return shadow ? fmt("shadowed beside %s", obj->policy) :
			fmt("%s -> %s", obj->policy, object->name);
}

static void dry_run_json(const struct kern *kern, struct object *object,
			 const struct policy_rec *old)
{
	json_object *root = json_root(), *o = json_object_new_object(),
		    *list = json_object_new_array();
	bool affected;
	int i;

	json_str(o, "name", object->name);
	json_str(o, "file", object->path);
	json_str(o, "scope", scope_text(object->flags, object->cgroup));
	json_str(o, "verifier", "accepted");
	json_str(o, "replaces", old ? old->name : NULL);
	json_object_object_add(o, "tunables", values_json(&object->tunables, true));
	for (i = 0; i < kern->nr_objs; i++) {
		const struct obj_rec *obj = &kern->objs[i];
		const char *what = effect(kern, object, obj, old, &affected);
		json_object *entry;

		if (!what)
			continue;
		entry = obj_json(kern, obj);
		json_flag(entry, "affected", affected);
		json_str(entry, "effect", what);
		json_object_array_add(list, entry);
	}
	json_object_object_add(o, "objects", list);
	json_object_object_add(root, "dry_run", o);
	print_json(root);
}

static void dry_run_text(const struct kern *kern, struct object *object,
			 const struct policy_rec *old)
{
	struct table *t =
		table_new(">  OBJECT", ">PID", "COMMAND", ">SIZE", ">RESIDENT", "EFFECT", NULL);
	int i, in_scope = 0, nr_affected = 0;
	char comm[32], *text;
	bool affected;

	printf("%s '%s' from %s\n", old ? "replacement of" : "policy", object->name, object->path);
	printf("  verifier   accepted\n");
	printf("  scope      %s\n", scope_text(object->flags, object->cgroup));
	if (object->tunables.nr) {
		text = values_text(&object->tunables, true);
		printf("\n%s", text);
		free(text);
	}

	for (i = 0; i < kern->nr_objs; i++) {
		const struct obj_rec *obj = &kern->objs[i];
		const char *what = effect(kern, object, obj, old, &affected);

		if (!what)
			continue;
		in_scope++;
		nr_affected += affected;
		table_row(t, fmt("%llu", obj->id), fmt("%u", obj->tgid),
			  process_name(obj->tgid, comm, sizeof(comm)), fmt_size(obj->size),
			  fmt_size(obj->resident), what);
	}
	text = table_text(t);
	printf("\n%d of %d guest memory objects in scope, %d would come under it\n", in_scope,
	       kern->nr_objs, nr_affected);
	if (in_scope)
		printf("%s", text);
	free(text);
	printf("\nNothing was attached (--dry-run).\n");
}

static int dry_run(struct object *object, const struct policy_rec *old)
{
	const struct policy_rec *held;
	struct kern kern;
	int ret = 0;

	if (kill_switch())
		return fail_attach(object, EACCES);
	if (object_arm(object))
		return fail_attach(object, errno);
	if (kern_read(&kern))
		return -1;
	held = old ? NULL : kern_holder(&kern, object->name, object->flags, object->cgroup);
	if (held)
		ret = fail_held(&kern, object, held);
	else if (opt.json)
		dry_run_json(&kern, object, old);
	else
		dry_run_text(&kern, object, old);
	kern_free(&kern);
	return ret;
}

/* ---- Attach and replace ---- */

/* It is attached and pinned, whatever cannot be read now. */
static int fail_shown(const struct object *object, const char *verb)
{
	char *text;

	fail_json(verb, json_object_new_string(object->name));
	if (asprintf(&text, "  '%s' is %s all the same; 'gmem-policy unload %s' removes it.\n",
		     object->name, verb, object->name) >= 0)
		fail_text(text);
	return -1;
}

/* Wait until the policy is where it should be, and say so. */
static int finish(const struct object *object, const char *verb)
{
	struct bpf_map_info info = {};
	struct policy_rec rec = {};
	__u32 len = sizeof(info);
	struct kern kern;
	json_object *root;
	int ret;

	if (bpf_map_get_info_by_fd(bpf_map__fd(object->map), &info, &len)) {
		fail(errno, "the map of '%s' cannot be read: %s", object->name, strerror(errno));
		return fail_shown(object, verb);
	}
	ret = wait_attached(object->name, info.id, &rec, opt.timeout);
	if (ret < 0)
		return rec.detached ? ret : fail_shown(object, verb);

	if (opt.json) {
		if (kern_read(&kern))
			return fail_shown(object, verb);
		root = json_root();
		json_object_object_add(root, verb, policy_json(&kern, &rec));
		print_json(root);
		kern_free(&kern);
		return ret;
	}
	printf("%s '%s' (scope: %s), %s %u guest memory object%s\n", verb, object->name,
	       policy_scope(&rec),
	       rec.flags & FLAG_SHADOW ? "beside the policies of" : "effective for", rec.objects,
	       rec.objects == 1 ? "" : "s");
	if (ret == EXIT_TRIPPED)
		printf("It was disabled at once: %s. 'gmem-policy unload %s' removes it.\n",
		       rec.trip_reason, object->name);
	if (ret == EXIT_TIMEOUT)
		printf("Not all were reached yet; 'gmem-policy status' shows how far the kernel is.\n");
	return ret;
}

static int attach(struct object *object)
{
	int fd, ret;

	if (pin_prepare())
		return -1;
	if (object_arm(object))
		return fail_attach(object, errno);
	fd = bpf_link_create(bpf_map__fd(object->map), 0, BPF_STRUCT_OPS, NULL);
	if (fd < 0)
		return fail_attach(object, errno);

	/* Unless it is pinned, the policy goes with the last file descriptor of its link. */
	ret = pin_link(fd, object->name);
	close(fd);
	return ret ?: finish(object, "loaded");
}

int cmd_load(void)
{
	struct object object = {};
	__u64 cgroup;
	__u32 flags;
	int ret;

	ret = open_policy(&object, opt.what);
	if (ret)
		goto out;

	flags = object.flags;
	cgroup = object.cgroup;
	ret = -1;
	if (opt.flags) {
		flags &= FLAG_LARGE;
		if (parse_flags(opt.flags, &flags))
			goto out;
	}
	if (opt.cgroup && cgroup_find(opt.cgroup, &cgroup))
		goto out;
	if (check_flags(flags, cgroup) || kern_supported())
		goto out;
	object_scope(&object, flags, cgroup);

	ret = object_load(&object);
	if (!ret)
		ret = opt.dry_run ? dry_run(&object, NULL) : attach(&object);
out:
	object_close(&object);
	return ret;
}

static int swap(struct object *object, const struct policy_rec *old)
{
	DECLARE_LIBBPF_OPTS(bpf_link_update_opts, opts, .flags = BPF_F_REPLACE);
	int link, old_map, err;
	__u32 link_id;
	bool pinned;

	if (object_arm(object))
		return fail_attach(object, errno);
	link = link_find(old, &link_id, &pinned);
	if (link < 0)
		return -1;
	old_map = bpf_map_get_fd_by_id(old->map_id);
	opts.old_map_fd = old_map;
	err = old_map < 0 || bpf_link_update(link, bpf_map__fd(object->map), &opts) ? errno : 0;
	if (old_map >= 0)
		close(old_map);
	close(link);

	if (err == EPERM && *not_privileged())
		return fail_permission(object, "replaced");
	if (err == EPERM || err == ENOENT || err == ENOLINK)
		return fail(EBUSY, "'%s' was replaced or unloaded by someone else; nothing was changed",
			    old->name);
	return err ? fail_attach(object, err) : finish(object, "replaced");
}

int cmd_replace(void)
{
	struct kern kern = {};
	const struct policy_rec *old;
	struct object object = {};
	int ret;

	ret = open_policy(&object, opt.what);
	if (ret)
		goto out;

	ret = kern_read_policies(&kern);
	if (ret)
		goto out;
	old = kern_attached(&kern, object.name);
	if (!old) {
		ret = fail(ENOENT, "no policy called '%s' is loaded", object.name);
		fail_hint("'gmem-policy status' shows what is; --as NAME says which to replace.");
		goto out;
	}
	if (opt.expect && opt.expect != old->id) {
		ret = fail(EBUSY, "'%s' is policy %llu now, not %llu as expected; nothing was changed",
			   old->name, old->id, opt.expect);
		goto out;
	}

	object_scope(&object, (old->flags & ~FLAG_LARGE) | (object.flags & FLAG_LARGE),
		     old->cgroup_id);
	ret = object_load(&object);
	if (!ret)
		ret = opt.dry_run ? dry_run(&object, old) : swap(&object, old);
out:
	kern_free(&kern);
	object_close(&object);
	return ret;
}
