// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* gmem-policy unload and wait. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "gmem-policy.h"

/* Of @rec that was detached; @ret is how waiting for it ended. */
static void tell_unloaded(const struct policy_rec *rec, __u32 link_id, bool pinned, int ret,
			  json_object *done)
{
	json_object *o;

	if (opt.json) {
		o = json_object_new_object();
		json_str(o, "name", rec->name);
		json_num(o, "id", rec->id);
		json_flag(o, "pinned", pinned);
		json_flag(o, "settled", ret == EXIT_OK);
		json_object_object_add(o, "loaded_by", loader_json(rec));
		json_object_array_add(done, o);
		return;
	}

	printf("unloaded '%s' (scope: %s)\n", rec->name, policy_scope(rec));
	if (!pinned)
		printf("It was not pinned in " PIN_DIR ": link %u is held elsewhere, now without effect.\n",
		       link_id);
	if (ret == EXIT_TIMEOUT)
		printf("Objects are still leaving it; 'gmem-policy status' shows how many.\n");
}

static int unload(const struct policy_rec *rec, json_object *done)
{
	int fd, ret, pin;
	__u32 link_id;
	bool pinned;

	fd = link_find(rec, &link_id, &pinned);
	if (fd < 0)
		return -1;
	ret = bpf_link_detach(fd);
	if (ret)
		fail(errno, "'%s' cannot be detached: %s", rec->name, strerror(errno));
	close(fd);
	if (ret)
		return -1;

	/* A pin that stays is a failure, but not one to leave the rest undone for. */
	pin = pin_remove(rec->name, link_id);
	ret = wait_settled(rec->id, opt.timeout);
	if (ret >= 0)
		tell_unloaded(rec, link_id, pinned, ret, done);
	return pin < 0 ? pin : ret;
}

/* One that fails does not keep the others. The first failure is reported, with all names. */
static int unload_all(const struct kern *kern, json_object *done)
{
	json_object *failed = json_object_new_array();
	int i, one, ret = EXIT_OK, nr = 0;
	char *text;

	for (i = 0; i < kern->nr_policies; i++) {
		if (kern->policies[i].detached)
			continue;
		one = unload(&kern->policies[i], done);
		if (one < 0)
			json_object_array_add(failed,
					      json_object_new_string(kern->policies[i].name));
		if (one && ret >= 0)
			ret = one;
		nr++;
	}
	if (ret < 0) {
		if (asprintf(&text, "  failed: %s\n", json_object_to_json_string(failed)) >= 0)
			fail_text(text);
		fail_json("failed", failed);
	} else {
		json_object_put(failed);
	}
	if (!nr && !opt.json)
		printf("no policy is loaded\n");
	return ret;
}

static int unload_name(const struct kern *kern, json_object *done)
{
	const struct policy_rec *rec = kern_attached(kern, opt.what);
	int pin;

	if (rec)
		return unload(rec, done);
	pin = name_valid(opt.what) ? pin_remove(opt.what, 0) : 0;
	if (pin > 0) {
		if (!opt.json)
			printf("'%s' was detached by other means; its pin is removed\n", opt.what);
		return EXIT_OK;
	}
	if (!pin) {
		fail(ENOENT, "no policy called '%s' is loaded", opt.what);
		fail_hint("'gmem-policy status' shows what is.");
	}
	return -1;
}

int cmd_unload(void)
{
	json_object *root, *done;
	struct kern kern;
	int ret;

	if (!!opt.what == opt.all)
		return usage_error("usage: gmem-policy unload NAME|--all");
	if (kern_read_policies(&kern))
		return -1;

	done = json_object_new_array();
	ret = opt.all ? unload_all(&kern, done) : unload_name(&kern, done);
	kern_free(&kern);

	/* What was unloaded before, or in spite of, a failure is told with it. */
	if (ret < 0 && json_object_array_length(done)) {
		fail_json("unloaded", done);
		return ret;
	}
	if (!opt.json || ret < 0) {
		json_object_put(done);
		return ret;
	}
	root = json_root();
	json_object_object_add(root, "unloaded", done);
	print_json(root);
	return ret;
}

/* What became of the policy @name: an exit code, or -2 while it is loaded and well. */
static int look(const char *name, char *reason, size_t size, bool *seen)
{
	const struct policy_rec *rec;
	struct kern kern;
	int ret = -2;

	if (kern_read_policies(&kern))
		return -1;
	rec = kern_attached(&kern, name);
	if (!rec) {
		ret = EXIT_OK;
	} else {
		*seen = true;
		if (rec->tripped) {
			snprintf(reason, size, "%s", rec->trip_reason);
			ret = EXIT_TRIPPED;
		}
	}
	kern_free(&kern);
	return ret;
}

int cmd_wait(void)
{
	static const char *const results[] = {
		[EXIT_OK] = "unloaded", [EXIT_TRIPPED] = "tripped", [EXIT_TIMEOUT] = "timeout",
	};
	double begin = now_s();
	char reason[64] = "";
	bool seen = false;
	json_object *root, *o;
	int ret;

	for (;;) {
		ret = look(opt.what, reason, sizeof(reason), &seen);
		if (ret == -1)
			return ret;
		if (!seen) {
			fail(ENOENT, "no policy called '%s' is loaded", opt.what);
			fail_hint("'gmem-policy status' shows what is.");
			return -1;
		}
		if (ret != -2)
			break;
		if (opt.timeout >= 0 && now_s() - begin >= opt.timeout) {
			ret = EXIT_TIMEOUT;
			break;
		}
		usleep(200000);
	}

	if (opt.json) {
		root = json_root();
		o = json_object_new_object();
		json_str(o, "name", opt.what);
		json_str(o, "result", results[ret]);
		json_str(o, "reason", ret == EXIT_TRIPPED ? reason : NULL);
		json_object_object_add(root, "wait", o);
		print_json(root);
	} else if (ret == EXIT_TRIPPED) {
		printf("'%s' was tripped: %s\n", opt.what, reason);
	} else {
		printf("'%s': %s\n", opt.what, results[ret]);
	}
	return ret;
}
