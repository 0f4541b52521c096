// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Variables of a policy, by its BTF: tunables (.rodata) and counters (.bss). gmem_policy.bpf.h tags
 * them with what they mean. Data is that of an object that is not loaded yet, or a copy of a loaded
 * policy's map.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gmem-policy.h"

static const struct btf_type *resolve(const struct btf *btf, __u32 type, bool *is_volatile)
{
	const struct btf_type *t = btf__type_by_id(btf, type);

	while (t && (btf_is_mod(t) || btf_is_typedef(t))) {
		if (is_volatile && btf_is_volatile(t))
			*is_volatile = true;
		t = btf__type_by_id(btf, t->type);
	}
	return t;
}

static const struct btf_type *value_type(const struct value *v)
{
	return resolve(v->btf, v->type, NULL);
}

static bool is_string(const struct btf *btf, const struct btf_type *t)
{
	const struct btf_type *elem;

	if (!btf_is_array(t))
		return false;
	elem = resolve(btf, btf_array(t)->type, NULL);
	return elem && btf_is_int(elem) && elem->size == 1;
}

static bool is_enum(const struct btf_type *t)
{
	return btf_is_any_enum(t);
}

static bool is_bool(const struct btf_type *t)
{
	return btf_is_int(t) && (btf_int_encoding(t) & BTF_INT_BOOL);
}

static bool is_signed(const struct btf_type *t)
{
	return is_enum(t) ? btf_kflag(t) : btf_int_encoding(t) & BTF_INT_SIGNED;
}

static bool usable(const struct btf *btf, const struct btf_type *t)
{
	if (is_string(btf, t))
		return true;
	return (btf_is_int(t) || is_enum(t)) &&
	       (t->size == 1 || t->size == 2 || t->size == 4 || t->size == 8);
}

/* The text after "gmem:KIND:" in the tag of a variable; NULL if it has none. */
static const char *find_tag(const struct btf *btf, __u32 var, const char *kind)
{
	__u32 id, nr = btf__type_cnt(btf);

	for (id = 1; id < nr; id++) {
		const struct btf_type *t = btf__type_by_id(btf, id);
		const char *name;

		if (!btf_is_decl_tag(t) || t->type != var)
			continue;
		name = btf__name_by_offset(btf, t->name_off);
		if (!strncmp(name, "gmem:", 5) && !strncmp(name + 5, kind, strlen(kind)) &&
		    name[5 + strlen(kind)] == ':')
			return name + 5 + strlen(kind) + 1;
	}
	return NULL;
}

int value_add(struct values *values, const struct btf *btf, __u32 type, const char *name,
	      const char *meaning, void *data, size_t size)
{
	struct value *v = realloc(values->v, (values->nr + 1) * sizeof(*v));

	if (!v)
		return fail(ENOMEM, "out of memory");
	values->v = v;
	v += values->nr;
	*v = (struct value) {
		.name = name,
		.meaning = meaning,
		.btf = btf,
		.type = type,
		.data = data,
		.initial = malloc(size),
		.size = size,
	};
	if (!v->initial)
		return fail(ENOMEM, "out of memory");
	memcpy(v->initial, data, size);
	values->nr++;
	return 0;
}

const struct value *value_find(const struct values *values, const char *name)
{
	int i;

	for (i = 0; i < values->nr; i++) {
		if (!strcmp(values->v[i].name, name))
			return &values->v[i];
	}
	return NULL;
}

/*
 * Add the variables of @section. Counters must be tagged; a tunable that is not is taken for one if
 * it is "const volatile", so that a policy which does without gmem_policy.bpf.h can be tuned as
 * well.
 */
int values_add(struct values *values, const struct btf *btf, const char *section, const char *tag,
	       void *data, size_t size)
{
	const struct btf_var_secinfo *var;
	const struct btf_type *sec;
	__u32 i;
	int id;

	id = btf__find_by_name_kind(btf, section, BTF_KIND_DATASEC);
	if (id < 0)
		return 0;
	sec = btf__type_by_id(btf, id);
	var = btf_var_secinfos(sec);

	for (i = 0; i < btf_vlen(sec); i++, var++) {
		const struct btf_type *t = btf__type_by_id(btf, var->type), *type;
		const char *meaning = find_tag(btf, var->type, tag);
		bool is_volatile = false;

		type = resolve(btf, t->type, &is_volatile);
		if (!type || !usable(btf, type) || var->offset + var->size > size)
			continue;
		if (!meaning && (strcmp(tag, "tunable") || !is_volatile))
			continue;

		if (value_add(values, btf, t->type, btf__name_by_offset(btf, t->name_off),
			      meaning ?: "", (char *)data + var->offset, var->size))
			return -1;
	}
	return 0;
}

void values_free(struct values *values)
{
	int i;

	for (i = 0; i < values->nr; i++)
		free(values->v[i].initial);
	free(values->v);
}

/* ---- Integers and enums ---- */

static __u64 get_bits(const struct value *v, bool sign)
{
	__u64 bits = 0;

	memcpy(&bits, v->data, v->size);
	if (sign && v->size < 8 && bits >> (v->size * 8 - 1))
		bits |= ~0ULL << (v->size * 8);
	return bits;
}

static int nr_names(const struct btf_type *t)
{
	return btf_vlen(t);
}

static const char *enum_name(const struct btf *btf, const struct btf_type *t, int i, __u64 *bits)
{
	if (btf_is_enum64(t)) {
		*bits = btf_enum64_value(&btf_enum64(t)[i]);
		return btf__name_by_offset(btf, btf_enum64(t)[i].name_off);
	}
	*bits = is_signed(t) ? (__u64)(__s64)btf_enum(t)[i].val : (__u32)btf_enum(t)[i].val;
	return btf__name_by_offset(btf, btf_enum(t)[i].name_off);
}

/* The number of values is no value. */
static bool is_sentinel(const struct btf_type *t, int i, const char *name)
{
	size_t len = strlen(name);

	return i == nr_names(t) - 1 && len > 4 && !strcmp(name + len - 4, "_MAX");
}

/* Length of what the names of an enum begin with: GMEM_HOW_NOW may be written as "now". */
static size_t enum_prefix(const struct btf *btf, const struct btf_type *t)
{
	const char *first, *name;
	size_t len, same;
	__u64 bits;
	int i;

	if (nr_names(t) < 2)
		return 0;
	first = enum_name(btf, t, 0, &bits);
	len = strlen(first);
	for (i = 1; i < nr_names(t); i++) {
		name = enum_name(btf, t, i, &bits);
		for (same = 0; same < len && name[same] == first[same]; same++)
			;
		len = same;
	}
	while (len && first[len - 1] != '_')
		len--;
	return len;
}

static void lower(char *p)
{
	for (; *p; p++)
		*p = tolower(*p);
}

static const char *type_text(const struct value *v)
{
	const struct btf_type *t = value_type(v);
	char list[160] = "";
	const char *name;
	size_t prefix;
	__u64 bits;
	int i, len;

	if (is_string(v->btf, t))
		return fmt("string[%zu]", v->size - 1);
	if (is_bool(t))
		return "bool";
	if (!is_enum(t))
		return fmt("%c%zu", is_signed(t) ? 's' : 'u', v->size * 8);

	prefix = enum_prefix(v->btf, t);
	for (i = 0; i < nr_names(t); i++) {
		name = enum_name(v->btf, t, i, &bits);
		len = strlen(list);
		if (!is_sentinel(t, i, name))
			snprintf(list + len, sizeof(list) - len, "%s%s", i ? "|" : "",
				 name + prefix);
	}
	lower(list);
	return fmt("%s", list);
}

const char *value_text(const struct value *v)
{
	const struct btf_type *t = value_type(v);
	char name[64];
	__u64 bits, val;
	int i;

	if (is_string(v->btf, t))
		return fmt("\"%.*s\"", (int)v->size, (const char *)v->data);

	val = get_bits(v, is_signed(t));
	if (is_bool(t))
		return val ? "true" : "false";
	if (is_enum(t)) {
		for (i = 0; i < nr_names(t); i++) {
			snprintf(name, sizeof(name), "%s",
				 enum_name(v->btf, t, i, &bits) + enum_prefix(v->btf, t));
			lower(name);
			if (bits == val)
				return fmt("%s", name);
		}
	}
	return is_signed(t) ? fmt("%lld", (long long)val) : fmt("%llu", val);
}

static json_object *value_json(const struct value *v)
{
	const struct btf_type *t = value_type(v);
	__u64 val;

	if (is_string(v->btf, t))
		return json_object_new_string_len(v->data, strnlen(v->data, v->size));
	if (is_enum(t))
		return json_object_new_string(value_text(v));

	val = get_bits(v, is_signed(t));
	if (is_bool(t))
		return json_object_new_boolean(val);
	return is_signed(t) ? json_object_new_int64(val) : json_object_new_uint64(val);
}

/* ---- Setting ---- */

static const char *set_bool(bool *value, const char *text)
{
	static const char *const yes[] = { "true", "yes", "on", "1", "y" };
	static const char *const no[] = { "false", "no", "off", "0", "n" };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(yes); i++) {
		if (!strcasecmp(text, yes[i]) || !strcasecmp(text, no[i])) {
			*value = !strcasecmp(text, yes[i]);
			return NULL;
		}
	}
	return "it is true or false";
}

static const char *set_int(const struct value *v, const struct btf_type *t, __u64 *bits,
			   const char *text)
{
	int width = v->size * 8;
	__u64 max = v->max ?: width == 64 ? ~0ULL : (1ULL << width) - 1;
	__s64 smax = max >> 1, smin = -smax - 1, val;
	char *end;

	if (!isdigit(*text) && *text != '-')
		return "it is a number, decimal or 0x...";
	errno = 0;
	if (is_signed(t)) {
		val = strtoll(text, &end, 0);
		if (*end)
			return "it is a number, decimal or 0x...";
		if (errno || val < smin || val > smax)
			return fmt("it is from %lld to %lld", smin, smax);
		*bits = val;
		return NULL;
	}
	*bits = strtoull(text, &end, 0);
	if (*end)
		return "it is a number, decimal or 0x...";
	if (errno || *text == '-' || *bits > max)
		return fmt("it is from 0 to %llu", max);
	return NULL;
}

static const char *set_enum(const struct value *v, const struct btf_type *t, __u64 *bits,
			    const char *text)
{
	size_t prefix = enum_prefix(v->btf, t);
	int i;

	for (i = 0; i < nr_names(t); i++) {
		const char *name = enum_name(v->btf, t, i, bits);

		if (is_sentinel(t, i, name))
			continue;
		if (!strcmp(text, name) || !strcasecmp(text, name + prefix))
			return NULL;
	}
	return fmt("it is one of %s", type_text(v));
}

/* What is wrong with @text as a value; NULL if it was set. */
static const char *set_value(struct value *v, const char *text)
{
	const struct btf_type *t = value_type(v);
	const char *wrong;
	__u64 bits = 0;
	bool flag = false;

	if (is_string(v->btf, t)) {
		if (strlen(text) >= v->size)
			return fmt("it has at most %zu characters", v->size - 1);
		memset(v->data, 0, v->size);
		memcpy(v->data, text, strlen(text));
		return NULL;
	}

	if (is_bool(t)) {
		wrong = set_bool(&flag, text);
		bits = flag;
	} else if (is_enum(t)) {
		wrong = set_enum(v, t, &bits, text);
	} else {
		wrong = set_int(v, t, &bits, text);
	}
	if (!wrong)
		memcpy(v->data, &bits, v->size);
	return wrong;
}

/* As a table: with the defaults, or with what they are set to now. */
char *values_text(const struct values *values, bool current)
{
	struct table *t =
		table_new("  TUNABLE", "TYPE", current ? "VALUE" : "DEFAULT", "MEANING", NULL);
	int i;

	for (i = 0; i < values->nr; i++) {
		struct value v = values->v[i];

		if (!current)
			v.data = v.initial;
		if (is_enum(value_type(&v)))
			table_row(t, fmt("  %s", v.name), "enum", value_text(&v),
				  fmt("%s (%s)", v.meaning, type_text(&v)));
		else
			table_row(t, fmt("  %s", v.name), type_text(&v), value_text(&v), v.meaning);
	}
	return table_text(t);
}

json_object *values_json(const struct values *values, bool defaults)
{
	json_object *list = json_object_new_array();
	int i;

	for (i = 0; i < values->nr; i++) {
		struct value v = values->v[i];
		json_object *o = json_object_new_object();

		json_str(o, "name", v.name);
		json_str(o, "type", type_text(&v));
		json_object_object_add(o, "value", value_json(&v));
		v.data = v.initial;
		if (defaults)
			json_object_object_add(o, "default", value_json(&v));
		json_str(o, "meaning", v.meaning);
		json_object_array_add(list, o);
	}
	return list;
}

static int fail_values(const struct values *values, const char *what)
{
	if (values->nr)
		fail_text(values_text(values, false));
	else
		fail_hint("%s has no tunables.", what);
	fail_json("tunables", values_json(values, true));
	return -1;
}

/* Carry out one --set NAME=VALUE for the policy @what. */
int values_set(struct values *values, const char *what, const char *assignment)
{
	size_t len = strcspn(assignment, "=");
	const char *wrong;
	int i;

	if (!assignment[len] || !len) {
		fail(EINVAL, "--set %s: it is written NAME=VALUE", assignment);
		return fail_values(values, what);
	}

	for (i = 0; i < values->nr; i++) {
		struct value *v = &values->v[i];

		if (strlen(v->name) != len || strncmp(v->name, assignment, len))
			continue;
		wrong = set_value(v, assignment + len + 1);
		if (!wrong)
			return 0;
		fail(EINVAL, "--set %s: %s", assignment, wrong);
		return fail_values(values, what);
	}
	fail(ENOENT, "%s has no tunable '%.*s'", what, (int)len, assignment);
	return fail_values(values, what);
}
