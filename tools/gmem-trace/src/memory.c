// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * gmem-trace memory: what backs the memory of VMs. Private memory is guest_memfd's, and the
 * kernel's iterator over its objects counts it. Shared memory is the VMM's, mapped at the same
 * guest addresses: which of it is there, the VMM's page tables tell. Which private pages are there
 * is not told page by page, so that what is backed by both is known within limits only.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/fs.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "gmem-trace.h"
#include "memory.h"
#include "memory.skel.h"

static struct memory_bpf *skel;
static bool has_objs, has_slots, has_pools;

#define MAX_VMS_EACH	64	/* that are told apart, of a process */

struct vm_memory {
	const struct mem_obj *objs;	/* of all VMs */
	int nr_objs;
	__u64 size;
	__u64 resident;
	__u64 ready;
	__u64 folios[MEM_ORDERS];
	__u64 shared_size;
	__u64 shared;
	bool shared_known;
	__u64 vms[MAX_VMS_EACH];	/* whose memslots were looked at */
	int nr_vms;
};

/* ---- Reading ---- */

/* All records of an iterator: their number, or -1. */
static int read_iter(int iter, void **recs, size_t size)
{
	size_t len = 0, room = 0;
	char *buf = NULL;
	ssize_t got;

	*recs = NULL;
	if (iter < 0)
		return -1;
	do {
		if (room - len < 65536) {
			room = 2 * room + 65536;
			buf = realloc(buf, room);
			if (!buf)
				abort();
		}
		got = read(iter, buf + len, room - len);
		if (got > 0)
			len += got;
	} while (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)));
	close(iter);
	*recs = buf;
	return got < 0 ? -1 : (int)(len / size);
}

/* Memslots of the VM that the process has as @fd. */
static int read_slots(__u32 pid, __u32 fd, struct mem_slot **slots)
{
	union bpf_iter_link_info info = { .task.tid = pid };
	struct bpf_link *link;
	int nr;

	/* Its padding, too, is zeroed by that. */
	LIBBPF_OPTS(bpf_iter_attach_opts, opts, .link_info = &info,
		    .link_info_len = sizeof(info));

	*slots = NULL;
	skel->bss->vm_fd = fd;
	link = bpf_program__attach_iter(skel->progs.dump_slots, &opts);
	if (!link)
		return -1;
	nr = read_iter(bpf_iter_create(bpf_link__fd(link)), (void **)slots, sizeof(**slots));
	bpf_link__destroy(link);
	return nr;
}

/*
 * Bytes of [@start, @start + @len) that the process has in memory or in swap; -1 if unknown. One
 * that is dying has given back its memory, though its descriptors may still be there.
 */
static __s64 mapped_bytes(int pagemap, __u64 start, __u64 len)
{
	struct page_region regions[256];
	struct pm_scan_arg arg = {
		.size = sizeof(arg), .start = start, .end = start + len,
		.vec = (unsigned long)regions, .vec_len = ARRAY_SIZE(regions),
		.category_inverted = PAGE_IS_PFNZERO,
		.category_mask = PAGE_IS_PFNZERO,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_PRESENT,
	};
	__s64 bytes = 0;
	int i, nr;

	while (arg.start < arg.end) {
		nr = ioctl(pagemap, PAGEMAP_SCAN, &arg);
		if (nr < 0)
			return errno == ESRCH ? 0 : -1;
		for (i = 0; i < nr; i++)
			bytes += regions[i].end - regions[i].start;
		if (arg.walk_end <= arg.start)
			break;
		arg.start = arg.walk_end;
	}
	return bytes;
}

/* A VM may have several descriptors. */
static bool is_new_vm(struct vm_memory *mem, __u64 vm)
{
	int i;

	for (i = 0; i < mem->nr_vms; i++) {
		if (mem->vms[i] == vm)
			return false;
	}
	if (mem->nr_vms < MAX_VMS_EACH)
		mem->vms[mem->nr_vms++] = vm;
	return true;
}

static void add_shared(struct vm_memory *mem, __u32 pid, __u32 fd)
{
	int pagemap = open(fmt("/proc/%u/pagemap", pid), O_RDONLY | O_CLOEXEC);
	struct mem_slot *slots;
	__s64 bytes;
	int i, nr;

	if (pagemap < 0 && (errno == ESRCH || errno == ENOENT))
		return;
	nr = read_slots(pid, fd, &slots);
	mem->shared_known &= nr >= 0 && pagemap >= 0;
	if (nr > 0 && !is_new_vm(mem, slots[0].vm))
		nr = 0;
	for (i = 0; i < nr; i++) {
		bytes = mapped_bytes(pagemap, slots[i].hva, slots[i].pages * PAGE_BYTES);
		mem->shared_size += slots[i].pages * PAGE_BYTES;
		if (bytes < 0)
			mem->shared_known = false;
		else
			mem->shared += bytes;
	}
	free(slots);
	if (pagemap >= 0)
		close(pagemap);
}

/* The VMs of a process, by its descriptors; false if it has none. */
static bool read_vms(struct vm_memory *mem, __u32 pid)
{
	DIR *dir = opendir(fmt("/proc/%u/fd", pid));
	char target[64];
	struct dirent *d;
	bool found = false;
	ssize_t len;

	while (dir && (d = readdir(dir))) {
		len = readlinkat(dirfd(dir), d->d_name, target, sizeof(target) - 1);
		if (len < 0)
			continue;
		target[len] = '\0';
		if (strcmp(target, "anon_inode:kvm-vm"))
			continue;
		found = true;
		if (has_slots)
			add_shared(mem, pid, strtoul(d->d_name, NULL, 10));
	}
	if (dir)
		closedir(dir);
	return found;
}

static bool read_memory(struct vm_memory *mem, __u32 pid, const struct mem_obj *objs, int nr)
{
	bool found = false;
	int i, o;

	*mem = (struct vm_memory) { .objs = objs, .nr_objs = nr, .shared_known = has_slots };
	for (i = 0; i < nr; i++) {
		if (objs[i].tgid != pid)
			continue;
		found = true;
		mem->size += objs[i].size;
		mem->resident += objs[i].resident;
		mem->ready += objs[i].ready;
		for (o = 0; o < MEM_ORDERS; o++)
			mem->folios[o] += objs[i].folios[o];
	}
	return read_vms(mem, pid) || found;
}

/*
 * Pages that are backed twice, at least: if so much of the slots is private, and so much shared,
 * that both do not fit beside each other. Files may be larger than what is bound of them.
 */
static __u64 doubly_min(const struct vm_memory *mem)
{
	__u64 unbound = mem->size > mem->shared_size ? mem->size - mem->shared_size : 0;
	__u64 both = mem->resident + mem->shared;

	return both > mem->shared_size + unbound ? both - mem->shared_size - unbound : 0;
}

static __u64 doubly_max(const struct vm_memory *mem)
{
	return mem->resident < mem->shared ? mem->resident : mem->shared;
}

static int read_pools(struct mem_pool **pools)
{
	*pools = NULL;
	if (!has_pools)
		return 0;
	return read_iter(bpf_iter_create(bpf_link__fd(skel->links.dump_pools)), (void **)pools,
			 sizeof(**pools));
}

/* ---- Showing ---- */

static __u64 pool_bytes(const struct mem_pool *pool, __u64 folios)
{
	return folios * (PAGE_BYTES << (pool->order & 31));
}

static json_object *pools_json(const struct mem_pool *pools, int nr)
{
	json_object *a = json_object_new_array(), *o;

	for (; nr-- > 0; pools++) {
		o = json_object_new_object();
		json_num(o, "node", pools->node);
		json_num(o, "order", pools->order);
		json_num(o, "ready_bytes", pool_bytes(pools, pools->ready));
		json_num(o, "dirty_bytes", pool_bytes(pools, pools->dirty));
		json_num(o, "high_bytes", pool_bytes(pools, pools->high));
		json_object_array_add(a, o);
	}
	return a;
}

/* Those that have something, or may have. */
static void print_pools(const struct mem_pool *pools, int nr)
{
	bool headed = false;

	for (; nr-- > 0; pools++) {
		if (!pools->ready && !pools->dirty && !pools->high)
			continue;
		if (!headed)
			printf("\nPools of this host, for VMs to come\n");
		headed = true;
		printf("  node %-3u %9s zeroed of at most %s, in folios of %s; %s to be zeroed\n",
		       pools->node, fmt_size(pool_bytes(pools, pools->ready)),
		       fmt_size(pool_bytes(pools, pools->high)),
		       fmt_size(PAGE_BYTES << (pools->order & 31)),
		       fmt_size(pool_bytes(pools, pools->dirty)));
	}
}

static json_object *folios_json(const __u64 *folios)
{
	json_object *a = json_object_new_array(), *o;
	int i;

	for (i = 0; i < MEM_ORDERS; i++) {
		if (!folios[i])
			continue;
		o = json_object_new_object();
		json_num(o, "order", i);
		json_num(o, "folios", folios[i]);
		json_num(o, "bytes", folios[i] * (PAGE_BYTES << i));
		json_object_array_add(a, o);
	}
	return a;
}

static json_object *memory_json(const struct vm_info *vm, const struct vm_memory *mem)
{
	json_object *o = json_object_new_object(), *objs, *obj;
	int i;

	vm_json(o, vm);
	if (has_objs) {
		json_num(o, "private_size", mem->size);
		json_num(o, "private_bytes", mem->resident);
		json_num(o, "private_ready_bytes", mem->ready);
		json_object_object_add(o, "folios", folios_json(mem->folios));
		objs = json_object_new_array();
		for (i = 0; i < mem->nr_objs; i++) {
			if (mem->objs[i].tgid != vm->tgid)
				continue;
			obj = json_object_new_object();
			json_num(obj, "id", mem->objs[i].id);
			json_num(obj, "size", mem->objs[i].size);
			json_num(obj, "bytes", mem->objs[i].resident);
			json_object_array_add(objs, obj);
		}
		json_object_object_add(o, "objects", objs);
	}
	if (mem->shared_known) {
		json_num(o, "shared_size", mem->shared_size);
		json_num(o, "shared_bytes", mem->shared);
	}
	if (has_objs && mem->shared_known) {
		json_num(o, "doubly_bytes_min", doubly_min(mem));
		json_num(o, "doubly_bytes_max", doubly_max(mem));
	}
	return o;
}

static void print_memory(const struct vm_info *vm, const struct vm_memory *mem)
{
	int i;

	printf("\nVM %s\n", vm_title(vm));
	if (has_objs) {
		printf("  private  %9s of %s in guest_memfd; %s zeroed or written\n",
		       fmt_size(mem->resident), fmt_size(mem->size), fmt_size(mem->ready));
		for (i = 0; i < MEM_ORDERS; i++) {
			if (mem->folios[i])
				printf("           %9llu folios of %s\n", mem->folios[i],
				       fmt_size(PAGE_BYTES << i));
		}
	} else {
		printf("  private  not known\n");
	}
	if (mem->shared_known)
		printf("  shared   %9s of %s that the VMM has mapped at the same place\n",
		       fmt_size(mem->shared), fmt_size(mem->shared_size));
	else
		printf("  shared   not known\n");
	if (!has_objs || !mem->shared_known)
		return;
	if (doubly_min(mem) == doubly_max(mem))
		printf("  doubly   %9s backed by both\n", fmt_size(doubly_max(mem)));
	else
		printf("  doubly   %9s to %s backed by both\n", fmt_size(doubly_min(mem)),
		       fmt_size(doubly_max(mem)));
}

static json_object *lacks(void)
{
	json_object *a = json_object_new_array();

	if (!has_objs)
		json_object_array_add(a, json_object_new_string("private memory"));
	if (!has_slots)
		json_object_array_add(a, json_object_new_string("shared memory"));
	if (!has_pools)
		json_object_array_add(a, json_object_new_string("pools"));
	return a;
}

static int nr_reported;

static void report_process(__u32 pid, const struct mem_obj *objs, int nr_objs, json_object *vms)
{
	const struct vm_info *vm;
	struct vm_memory mem;

	if (opt.pid && pid != opt.pid)
		return;
	if (!read_memory(&mem, pid, objs, nr_objs))
		return;
	vm = vm_info(pid, NULL);
	if (!vm->wanted)
		return;
	nr_reported++;
	if (opt.json)
		json_object_array_add(vms, memory_json(vm, &mem));
	else
		print_memory(vm, &mem);
}

typedef void (*process_fn)(__u32 pid, const struct mem_obj *objs, int nr_objs, json_object *vms);

/* Call @fn for each process, with the objects of all of them. */
static int walk_processes(process_fn fn, json_object *vms)
{
	struct mem_obj *objs = NULL;
	struct dirent *d;
	int nr_objs = 0, err = 0;
	DIR *proc;

	if (has_objs)
		nr_objs = read_iter(bpf_iter_create(bpf_link__fd(skel->links.dump_objs)),
				    (void **)&objs, sizeof(*objs));
	proc = opendir("/proc");
	if (nr_objs < 0 || !proc)
		err = fail(errno, "guest memory cannot be listed: %s", strerror(errno));
	while (!err && (d = readdir(proc))) {
		if (*d->d_name >= '1' && *d->d_name <= '9')
			fn(strtoul(d->d_name, NULL, 10), objs, nr_objs, vms);
	}
	if (proc)
		closedir(proc);
	free(objs);
	vms_refresh();
	return err;
}

static int report(__u64 interval_ns)
{
	json_object *root, *vms = json_object_new_array();
	struct mem_pool *pools;
	int nr_pools;

	if (!opt.json)
		print_time();
	nr_reported = 0;
	if (walk_processes(report_process, vms)) {
		json_object_put(vms);
		return -1;
	}
	nr_pools = read_pools(&pools);
	if (!opt.json) {
		json_object_put(vms);
		if (!nr_reported)
			printf("No VM here has guest memory%s.\n",
			       opt.pid || opt.vm || opt.cgroup ? " and is asked for" : "");
		print_pools(pools, nr_pools);
		free(pools);
		fflush(stdout);
		return 0;
	}
	root = json_report("memory", interval_ns);
	json_object_object_add(root, "vms", vms);
	if (has_pools)
		json_object_object_add(root, "pools", pools_json(pools, nr_pools));
	free(pools);
	json_object_object_add(root, "cannot_show", lacks());
	json_line(root);
	return 0;
}

static memory_fn sample_fn;

static void sample_process(__u32 pid, const struct mem_obj *objs, int nr_objs,
			   json_object *vms __attribute__((unused)))
{
	struct memory_use use;
	struct vm_memory mem;

	if ((opt.pid && pid != opt.pid) || !read_memory(&mem, pid, objs, nr_objs))
		return;
	use = (struct memory_use) {
		.private_known = has_objs,
		.shared_known = mem.shared_known,
		.private_size = mem.size,
		.private = mem.resident,
		.shared_size = mem.shared_size,
		.shared = mem.shared,
		.doubly_min = doubly_min(&mem),
		.doubly_max = doubly_max(&mem),
	};
	sample_fn(vm_info(pid, NULL), &use);
}

/* Tell @fn of each VM. */
int memory_sample(memory_fn fn)
{
	sample_fn = fn;
	return walk_processes(sample_process, NULL);
}

/* What this kernel tells of VMs, whether there are any or not. */
void memory_known(bool *private, bool *shared)
{
	*private = has_objs;
	*shared = has_slots;
}

/* Tell @fn of each pool of this host. */
void memory_pools(pool_fn fn)
{
	struct mem_pool *pools;
	int i, nr = read_pools(&pools);

	for (i = 0; i < nr; i++)
		fn(pools[i].node, pools[i].order, pool_bytes(&pools[i], pools[i].ready),
		   pool_bytes(&pools[i], pools[i].dirty));
	free(pools);
}

/* ---- Setting up ---- */

static bool has_type(const struct btf *btf, const char *name, __u32 kind)
{
	return btf && btf__find_by_name_kind(btf, name, kind) > 0;
}

int memory_open(void)
{
	struct btf *btf, *kvm;
	int err;

	/* Written to before it is known: see rig.rst on emulated machines and what they forget. */
	has_objs = false;
	has_slots = false;
	has_pools = false;
	log_begin();
	btf = btf__load_vmlinux_btf();
	kvm = btf ? btf__load_module_btf("kvm", btf) : NULL;
	has_objs = has_type(btf, "bpf_iter_gmem_obj", BTF_KIND_FUNC);
	has_slots = has_type(btf, "kvm_memslots", BTF_KIND_STRUCT) ||
		    has_type(kvm, "kvm_memslots", BTF_KIND_STRUCT);
	has_pools = has_type(btf, "bpf_iter_gmem_pool", BTF_KIND_FUNC);
	btf__free(kvm);
	btf__free(btf);
	if (!has_objs && !has_slots)
		return fail(EOPNOTSUPP, "this kernel tells nothing of guest memory");

	skel = memory_bpf__open();
	if (!skel)
		return fail_load(-errno);
	bpf_program__set_autoload(skel->progs.dump_objs, has_objs);
	bpf_program__set_autoload(skel->progs.dump_pools, has_pools);
	bpf_program__set_autoload(skel->progs.dump_slots, has_slots);
	bpf_program__set_autoattach(skel->progs.dump_slots, false);
	err = memory_bpf__load(skel);
	if (!err)
		err = memory_bpf__attach(skel);
	if (err)
		return fail_load(err);
	/* What libbpf says from now on is not of loading, and would pile up. */
	libbpf_set_print(NULL);
	return 0;
}

void memory_close(void)
{
	memory_bpf__destroy(skel);
	skel = NULL;
}

int cmd_memory(void)
{
	__u64 n, start, last, now;
	int ret = memory_open();

	if (!has_objs)
		fprintf(stderr, "gmem-trace: this kernel does not tell: private memory\n");
	if (!has_slots)
		fprintf(stderr, "gmem-trace: this kernel does not tell: shared memory\n");
	if (!has_pools)
		fprintf(stderr, "gmem-trace: this kernel does not tell: pools\n");
	start = now_ns();
	last = start;
	catch_signals();
	for (n = 0; !ret; ) {
		now = now_ns();
		ret = report(now - last);
		last = now;
		if (!opt.interval || opt.once || ++n == opt.count)
			break;
		nap(start + n * opt.interval * NSEC_PER_SEC);
		if (stopped() || (opt.duration && now_ns() - start > opt.duration * NSEC_PER_SEC))
			break;
	}
	memory_close();
	return ret;
}
