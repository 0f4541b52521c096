// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Waiting for the kernel to have moved all objects, with progress where it takes long. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gmem-policy.h"

#define TIMEOUT_DEFAULT	60.0

struct wait {
	double begin;
	double timeout;
	double said;
	useconds_t pause;
};

double now_s(void)
{
	return boottime_ns() / 1e9;
}

static void wait_begin(struct wait *w, double timeout)
{
	w->begin = now_s();
	w->timeout = timeout < 0 ? TIMEOUT_DEFAULT : timeout;
	w->said = 0;
	w->pause = 2000;
}

/* False when the time is over. */
static bool wait_more(struct wait *w, const char *what)
{
	double elapsed = now_s() - w->begin;

	if (elapsed >= w->timeout)
		return false;
	if (elapsed >= 1 && elapsed - w->said >= (isatty(STDERR_FILENO) ? 1 : 10)) {
		fprintf(stderr, "gmem-policy: %s (%.0f s)\n", what, elapsed);
		w->said = elapsed;
	}
	usleep(w->pause);
	if (w->pause < 200000)
		w->pause *= 2;
	return true;
}

/* Wait until no object is under a policy that was detached or replaced. */
int wait_settled(__u64 policy_id, double timeout)
{
	const struct policy_rec *rec;
	struct kern kern;
	struct wait w;
	__u32 objects;

	wait_begin(&w, timeout);
	do {
		if (kern_read_policies(&kern))
			return -1;
		rec = kern_policy(&kern, policy_id);
		objects = rec ? rec->objects : 0;
		kern_free(&kern);
		if (!objects)
			return EXIT_OK;
	} while (wait_more(&w, fmt("waiting for %u objects to leave the policy", objects)));
	return EXIT_TIMEOUT;
}

/*
 * Wait until the policy of @map_id is effective wherever it should be; *@rec is what it is then.
 * Where it fails, @rec->detached tells that the policy is gone.
 */
int wait_attached(const char *name, __u32 map_id, struct policy_rec *rec, double timeout)
{
	struct kern kern;
	struct wait w;
	bool found;
	int i;

	wait_begin(&w, timeout);
	do {
		found = false;
		if (kern_read_policies(&kern))
			return -1;
		for (i = 0; i < kern.nr_policies; i++) {
			if (kern.policies[i].map_id == map_id && !kern.policies[i].detached) {
				*rec = kern.policies[i];
				found = true;
			}
		}
		kern_free(&kern);
		if (!found) {
			rec->detached = true;
			fail(ENOENT, "'%s' was unloaded or replaced by someone else meanwhile",
			     name);
			return -1;
		}
		if (rec->tripped)
			return EXIT_TRIPPED;
		if (rec->walked)
			return EXIT_OK;
	} while (wait_more(&w, fmt("waiting for running VMs to come under '%s': %u objects so far",
				   name, rec->objects)));
	return EXIT_TIMEOUT;
}
