// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* JSON: all that is printed begins with the version of its schema. */
#include "gmem-lib.h"

json_object *json_root(void)
{
	json_object *root = json_object_new_object();

	json_num(root, "schema", tool.json_schema);
	return root;
}

/* @root is freed. */
void print_json(json_object *root)
{
	puts(json_object_to_json_string_ext(root, tool.json_flags |
							  JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(root);
}

void json_str(json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, value ? json_object_new_string(value) : NULL);
}

void json_num(json_object *o, const char *key, __u64 value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

void json_int(json_object *o, const char *key, __s64 value)
{
	json_object_object_add(o, key, json_object_new_int64(value));
}

void json_real(json_object *o, const char *key, double value)
{
	json_object_object_add(o, key, json_object_new_double(value));
}

void json_flag(json_object *o, const char *key, bool value)
{
	json_object_object_add(o, key, json_object_new_boolean(value));
}
