/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The records that the iterator programs write and gmem-policy reads. */
#ifndef __INTROSPECT_H
#define __INTROSPECT_H

#define REC_NAME_LEN	32
#define REC_ORDERS	19
#define REC_OPS		4
#define REC_ZEROED	5
#define REC_CGROUPS	32

struct policy_rec {
	__u64 id;
	__u64 cgroup_id;
	__u64 attached_ns;
	__u64 tag;
	__u64 decisions[REC_OPS];
	__u64 fits;
	__u64 clamps;
	__u64 declines;
	__u32 map_id;
	__u32 flags;
	__u32 uid;
	__u32 pid;
	__u32 objects;
	__u8 tripped;
	__u8 detached;
	__u8 walked;
	char name[REC_NAME_LEN];
	char trip_reason[64];
	char comm[16];
};

struct obj_rec {
	__u64 id;
	__u64 size;
	__u64 cgroups[REC_CGROUPS];	/* that of the creator, then its ancestors; the root last */
	__u64 policy_id;
	__u64 shadow_id;
	__u64 resident;
	__u64 ready;
	__u64 folios[REC_ORDERS];
	__u64 ahead_total;
	__u64 ahead_done;
	__u64 ahead_began;
	__u64 zeroed[REC_ZEROED];
	__u64 decisions;
	__u64 fits;
	__u64 clamps;
	__u64 faults;
	__u64 prealloc_asked;
	__u64 prealloc_done;
	__u64 scrub_failed;
	__u64 quiet_joined;
	__u64 pool_misses;
	__u64 recycled;
	__u64 fallbacks;
	__u64 splits;
	__u64 splits_failed;
	__u64 holes_dropped;
	__u64 rebuilds;
	__u64 rebuilds_failed;
	__u64 cookie;
	__u32 nr_cgroups;
	__u32 flags;
	__u32 tgid;
	__u32 scope;
	char asked_name[REC_NAME_LEN];
	char policy[REC_NAME_LEN];
	char shadow[REC_NAME_LEN];
};

struct pool_rec {
	__u64 ready;
	__u64 dirty;
	__u64 low;
	__u64 high;
	__u64 taken;
	__u64 returned;
	__u64 missed;
	__u64 filled;
	__u64 recycled;
	__u64 given_back;
	__u32 nid;
	__u32 order;
	__u32 rate_mb;
	__u32 reserved;
};

#endif /* __INTROSPECT_H */
