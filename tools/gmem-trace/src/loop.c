// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* When to report: each interval, and at the end, which a signal, a count or a duration brings. */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "gmem-trace.h"

#define TICK_MS		250

static int stop;

static void on_signal(int sig __attribute__((unused)))
{
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
}

/* End as by a signal. */
void stop_now(void)
{
	on_signal(0);
}

/* End by this signal, too. */
void catch_signal(int sig)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(sig, &sa, NULL);
}

void catch_signals(void)
{
	catch_signal(SIGINT);
	catch_signal(SIGTERM);
}

bool stopped(void)
{
	return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

__u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/* Not more than a tick, after which it is looked who is there. */
int ms_until(__u64 when)
{
	__u64 now = now_ns();

	if (when <= now)
		return 0;
	return (when - now) / 1000000 + 1 < TICK_MS ? (when - now) / 1000000 + 1 : TICK_MS;
}

/* Sleep until @when, or a signal. */
void nap(__u64 when)
{
	int ms;

	while (!stopped() && (ms = ms_until(when)))
		poll(NULL, 0, ms);
}

static int watched = -1;
static void (*on_watched)(void);

/* Call @fn whenever @fd is readable. */
void watch_fd(int fd, void (*fn)(void))
{
	watched = fd;
	on_watched = fn;
}

/* Wait for what is watched, for events, or @ms. */
static int wait_ms(int ms, event_fn events)
{
	struct pollfd fds[] = {
		{ .fd = watched, .events = POLLIN },
		{ .fd = events ? tracer_fd() : -1, .events = POLLIN },
	};
	int n;

	poll(fds, ARRAY_SIZE(fds), ms);
	if (fds[0].revents)
		on_watched();
	if (!events)
		return 0;
	n = tracer_poll(0, events);
	return n < 0 && n != -ECANCELED ? fail(-n, "the ring buffer cannot be read") : 0;
}

/* Wait until @when, or until it is time to stop; look after new VMs and events meanwhile. */
static int wait_until(__u64 when, report_fn fn, event_fn events)
{
	int ms;

	while (!stopped() && (ms = ms_until(when))) {
		if (wait_ms(ms, events))
			return -1;
		if (fn)
			fn(0);
	}
	return 0;
}

/*
 * Report by @fn, which is called with an interval of 0 a few times a second to look who is there.
 * @events, if given, gets what is in the ring buffer. Ends with an exit code, or -1.
 */
int run_reports(const char *what, report_fn fn, event_fn events)
{
	__u64 start, last, now, next, end, n;

	catch_signals();
	print_lacks();
	fprintf(stderr, "Tracing %s.%s\n", what, opt.duration || opt.once ? "" : " Ctrl-C ends it.");

	start = now_ns();
	last = start;
	next = start;
	end = opt.duration ? start + opt.duration * NSEC_PER_SEC : ~0ULL;
	for (n = 0; !fn || !opt.interval || !opt.count || n < opt.count; n++) {
		next = opt.interval ? next + opt.interval * NSEC_PER_SEC : ~0ULL;
		if (wait_until(next < end ? next : end, fn, events))
			return -1;
		if (events)
			tracer_poll(0, events);
		/* What is counted while this is told is of the next interval, as its time is. */
		now = now_ns();
		if (fn)
			fn(now - last);
		last = now;
		if (stopped() || last >= end)
			break;
	}
	return EXIT_OK;
}
