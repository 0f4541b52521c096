// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* gmem-policy list: the policies that can be loaded by name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gmem-policy.h"

struct list {
	json_object *json;
	char seen[1024];
	int nr;
};

static bool seen_before(struct list *list, const char *base)
{
	size_t used = strlen(list->seen);

	if (strstr(list->seen, fmt("/%s/", base)))
		return true;
	snprintf(list->seen + used, sizeof(list->seen) - used, "/%s/", base);
	return false;
}

static int list_one(const char *path, void *arg)
{
	const char *base = strrchr(path, '/') + 1;
	int len = strlen(base) - strlen(".bpf.o");
	const char *name = fmt("%.*s", len, base);
	struct list *list = arg;
	struct object object;
	json_object *o;
	char *text;

	/* What is found first is what "load" takes. */
	if (seen_before(list, name))
		return 0;
	if (opt.names && !opt.json) {
		puts(name);
		return 0;
	}

	if (object_open(&object, path)) {
		object_close(&object);
		return -1;
	}
	if (opt.json) {
		o = json_object_new_object();
		json_str(o, "name", name);
		json_str(o, "about", object.about);
		json_str(o, "file", path);
		json_num(o, "abi_version", object.abi);
		json_object_object_add(o, "tunables", values_json(&object.tunables, true));
		json_object_array_add(list->json, o);
	} else {
		text = values_text(&object.tunables, false);
		printf("%s%s - %s\n%s", list->nr ? "\n" : "", name, object.about,
		       object.tunables.nr ? text : "  (no tunables)\n");
		free(text);
	}
	list->nr++;
	object_close(&object);
	return 0;
}

int cmd_list(void)
{
	struct list list = { .json = json_object_new_array() };
	json_object *root;

	if (object_dirs(list_one, &list)) {
		json_object_put(list.json);
		return -1;
	}

	if (opt.json) {
		root = json_root();
		json_object_object_add(root, "policies", list.json);
		print_json(root);
		return EXIT_OK;
	}
	json_object_put(list.json);
	if (!list.nr && !opt.names)
		printf("no policies are installed; GMEM_POLICY_PATH says where to look\n");
	return EXIT_OK;
}
