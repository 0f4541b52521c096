// SPDX-License-Identifier: GPL-2.0-only
/*
 * Run a command, and have the N-th allocation fail that the kernel makes in one
 * kind of its system calls.
 *
 *	gmem_failcmd 3 link_create -- gmem-policy load huge
 *
 * Counted by /proc/PID/fail-nth, which is switched on and off by ptrace as the
 * command enters and leaves these calls: what else it does is not disturbed. Its
 * threads and children are not looked at.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/bpf.h>

#include "gmem_failing.h"
#include "gmem_guest.h"

#define ANY	(~0ULL)

/* @arg0: the call's first argument must be that */
static const struct call {
	const char *name;
	u64 nr;
	u64 arg0;
} calls[] = {
	{ "map_update_elem", SYS_bpf, BPF_MAP_UPDATE_ELEM },
	{ "link_create", SYS_bpf, BPF_LINK_CREATE },
	{ "link_update", SYS_bpf, BPF_LINK_UPDATE },
	{ "link_detach", SYS_bpf, BPF_LINK_DETACH },
	{ "iter_create", SYS_bpf, BPF_ITER_CREATE },
	{ "obj_pin", SYS_bpf, BPF_OBJ_PIN },
	{ "unlink", SYS_unlink, ANY },
};

static void __noreturn die(const char *what)
{
	fprintf(stderr, "gmem_failcmd: %s: %s\n", what, strerror(errno));
	exit(125);
}

static bool is_call(const struct call *call, const struct __ptrace_syscall_info *info)
{
	return info->entry.nr == call->nr &&
	       (call->arg0 == ANY || info->entry.args[0] == call->arg0);
}

/* The command waits for us, and then becomes what it is. */
static pid_t start(char **argv)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork");
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		execvp(argv[0], argv);
		die(argv[0]);
	}
	if (waitpid(pid, &status, 0) < 0 || !WIFSTOPPED(status))
		die("waiting for the command");
	if (ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL))
		die("ptrace");
	return pid;
}

/* Return whether the allocation came that was to fail. */
static bool trace(pid_t pid, const struct call *call, u64 nth, int *status)
{
	struct __ptrace_syscall_info info;
	bool counting = false;
	long left = nth;
	char name[64];
	int fd, sig = 0;

	snprintf(name, sizeof(name), "/proc/%d/fail-nth", pid);
	fd = open(name, O_RDWR);
	if (fd < 0)
		die(name);
	for (;;) {
		if (ptrace(PTRACE_SYSCALL, pid, NULL, sig) || waitpid(pid, status, 0) < 0)
			die("ptrace");
		if (!WIFSTOPPED(*status))
			break;
		sig = WSTOPSIG(*status);
		if (sig == SIGTRAP)
			sig = 0;
		if (sig != (SIGTRAP | 0x80))
			continue;
		sig = 0;
		if (counting) {
			left = gmem_get_nth(fd);
			if (left < 0 || !gmem_set_nth(fd, 0))
				die("fail-nth");
			counting = false;
			continue;
		}
		if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) < 0)
			die("ptrace");
		counting = left && info.op == PTRACE_SYSCALL_INFO_ENTRY && is_call(call, &info);
		if (counting && !gmem_set_nth(fd, left))
			die("fail-nth");
	}
	close(fd);
	return !left;
}

static void __noreturn print_usage(int status)
{
	int i;

	fprintf(status ? stderr : stdout,
		"usage: gmem_failcmd N CALL -- COMMAND [ARG]...\n"
		"Run COMMAND. The N-th allocation of the kernel in its CALLs fails. CALL is one of:");
	for (i = 0; i < ARRAY_SIZE(calls); i++)
		fprintf(status ? stderr : stdout, " %s", calls[i].name);
	fprintf(status ? stderr : stdout,
		"\n"
		"The last line of the output is \"gmem_failcmd: it failed\", or \"gmem_failcmd: there\n"
		"was none\". Exit status: that of COMMAND; 2 bad usage; 125 it cannot be traced.\n");
	exit(status);
}

int main(int argc, char *argv[])
{
	const struct call *call = NULL;
	int status, i;
	bool failed;
	pid_t pid;
	u64 nth;

	gmem_start_main();
	if (argc == 2 && !strcmp(argv[1], "--help"))
		print_usage(0);
	if (argc < 5 || strcmp(argv[3], "--") || !gmem_parse_u64(argv[1], &nth) || !nth)
		print_usage(2);
	for (i = 0; i < ARRAY_SIZE(calls); i++)
		if (!strcmp(argv[2], calls[i].name))
			call = &calls[i];
	if (!call)
		print_usage(2);

	pid = start(argv + 4);
	failed = trace(pid, call, nth, &status);
	puts(failed ? "gmem_failcmd: it failed" : "gmem_failcmd: there was none");
	if (WIFSIGNALED(status)) {
		fprintf(stderr, "gmem_failcmd: %s: %s\n", argv[4], strsignal(WTERMSIG(status)));
		return 125;
	}
	return WEXITSTATUS(status);
}
