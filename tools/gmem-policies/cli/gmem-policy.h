/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gmem-policy: what its parts have in common. */
#ifndef __GMEM_POLICY_CLI_H
#define __GMEM_POLICY_CLI_H

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "gmem-lib.h"
#include "introspect.h"

#define POLICY_ABI	1

/* Flags of struct gmem_policy_ops. */
#define FLAG_NAMED	BIT(0)
#define FLAG_ENFORCED	BIT(1)
#define FLAG_SHADOW	BIT(2)
#define FLAG_LARGE	BIT(3)	/* the policy's own; the others are the operator's */

/* Flags of an object. */
#define OBJ_MMAP	BIT(0)
#define OBJ_SHARED	BIT(1)
#define OBJ_HW_OWNED	BIT(2)

/* Of what is zeroed: what came from pools. */
#define ZEROED_POOL	4

/* More exit codes. */
enum {
	EXIT_TRIPPED	= 3,
	EXIT_TIMEOUT	= 4,
};

enum scope {
	SCOPE_BUILTIN,
	SCOPE_ENFORCED,
	SCOPE_NAMED,
	SCOPE_CGROUP,
	SCOPE_GLOBAL,
	SCOPE_MAX,
};

struct options {
	bool json;
	bool verbose;
	bool dry_run;
	bool all;
	bool names;
	const char *cgroup;
	const char *as;
	const char *flags;
	const char **sets;
	int nr_sets;
	double timeout;		/* seconds; negative: none was given */
	__u64 expect;		/* policy id; 0: none was given */
	const char *what;	/* the argument of the command: a name, a file, or a process id */
};

extern struct options opt;

/* The commands: each returns an exit code, or -1 after fail(). */
int cmd_list(void);
int cmd_load(void);
int cmd_replace(void);
int cmd_unload(void);
int cmd_status(void);
int cmd_show(void);
int cmd_check(void);
int cmd_wait(void);

/* out.c: values for people, tables */
const char *fmt_age(__u64 ns);

struct table;
struct table *table_new(const char *head, ...) __attribute__((sentinel));
void table_row(struct table *t, ...);
void table_print(struct table *t);
char *table_text(struct table *t);

__u64 boottime_ns(void);
const char *process_name(__u32 pid, char *buf, size_t size);
const char *user_name(__u32 uid);

/* kern.c: what the kernel says */
struct kern {
	struct policy_rec *policies;
	int nr_policies;
	struct obj_rec *objs;
	int nr_objs;
	struct pool_rec *pools;
	int nr_pools;
};

int kern_supported(void);
int kern_read(struct kern *kern);
int kern_read_policies(struct kern *kern);
void kern_free(struct kern *kern);
const struct policy_rec *kern_policy(const struct kern *kern, __u64 id);
const struct policy_rec *kern_attached(const struct kern *kern, const char *name);
const struct policy_rec *kern_holder(const struct kern *kern, const char *name, __u32 flags,
				     __u64 cgroup);

/* Position of a cgroup among those of an object, 0 is the nearest; -1 if it is none of them. */
int obj_cgroup_depth(const struct obj_rec *obj, __u64 cgroup);

/* describe.c: records for people and as JSON */
const char *policy_scope(const struct policy_rec *rec);
const char *policy_state(const struct policy_rec *rec);
const char *policy_loader(const struct policy_rec *rec);
const char *flags_text(__u32 flags);
json_object *policy_json(const struct kern *kern, const struct policy_rec *rec);
json_object *obj_json(const struct kern *kern, const struct obj_rec *obj);
json_object *loader_json(const struct policy_rec *rec);
const char *obj_scope(const struct kern *kern, const struct obj_rec *obj);
__u64 ahead_rate(const struct obj_rec *obj);
void policy_load(const struct kern *kern, const struct policy_rec *rec, int *objs, int *procs,
		 __u64 *bytes);

extern const char *const scope_names[SCOPE_MAX];
extern const char *const op_names[REC_OPS];
extern const char *const zeroed_names[REC_ZEROED];

/* cmd_status.c */
void print_policy(const struct kern *kern, const struct policy_rec *rec, bool detail);
void print_objs(const struct kern *kern, bool (*wanted)(const struct obj_rec *obj, __u64 arg),
		__u64 arg);

/* cmd_check.c */
bool kill_switch(void);
const char *not_privileged(void);

/* cgroup.c */
int cgroup_find(const char *path, __u64 *id);
const char *cgroup_name(__u64 id);

/* link.c: links and pins */
#define PIN_DIR		"/sys/fs/bpf/gmem"

int pin_prepare(void);
int pin_link(int fd, const char *name);
int pin_remove(const char *name, __u32 link_id);
int link_find(const struct policy_rec *rec, __u32 *link_id, bool *pinned);

/* wait.c */
int wait_settled(__u64 policy_id, double timeout);
int wait_attached(const char *name, __u32 map_id, struct policy_rec *rec, double timeout);
double now_s(void);

/* The member of a struct that has @name; NULL if it has none. */
const struct btf_member *find_member(const struct btf *btf, const struct btf_type *t,
				     const char *name);

/* values.c: tunables and counters, by BTF */
struct value {
	const char *name;
	const char *meaning;
	const struct btf *btf;
	__u32 type;
	void *data;
	void *initial;
	size_t size;
	__u64 max;		/* 0: what the type holds */
};

struct values {
	struct value *v;
	int nr;
};

int values_add(struct values *values, const struct btf *btf, const char *section, const char *tag,
	       void *data, size_t size);
int value_add(struct values *values, const struct btf *btf, __u32 type, const char *name,
	      const char *meaning, void *data, size_t size);
const struct value *value_find(const struct values *values, const char *name);
int values_set(struct values *values, const char *what, const char *assignment);
void values_free(struct values *values);
char *values_text(const struct values *values, bool current);
json_object *values_json(const struct values *values, bool defaults);
const char *value_text(const struct value *value);

/* pools.c: pools of zeroed memory */
int pool_tunables(struct values *values, const struct btf *btf, const struct btf_type *ops,
		  void *data);
void print_pools(const struct kern *kern);
json_object *pools_json(const struct kern *kern);

/* live.c: tunables and counters of a policy that is loaded */
struct live {
	struct values tunables;
	struct values counters;
	struct btf *btf[8];
	__u32 btf_id[8];
	void *data[32];
	int nr_btf;
	int nr_data;
};

void live_read(const struct policy_rec *rec, struct live *live);
void live_free(struct live *live);

/* object.c: a policy's object file */
struct object {
	char *path;
	struct bpf_object *obj;
	struct bpf_map *map;
	const struct btf *btf;
	const char *about;
	struct values tunables;
	char name[REC_NAME_LEN];
	__u32 flags;
	__u64 cgroup;
	__u32 abi;
	bool sleepable;
};

int object_open(struct object *object, const char *path);
int object_find(const char *name, char **path);
void object_rename(struct object *object, const char *name);
void object_scope(struct object *object, __u32 flags, __u64 cgroup);
int object_load(struct object *object);
int object_arm(struct object *object);
void object_close(struct object *object);
int object_dirs(int (*visit)(const char *path, void *arg), void *arg);
bool name_valid(const char *name);

#endif /* __GMEM_POLICY_CLI_H */
