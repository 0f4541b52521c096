// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * gmem-policy: load, watch and remove policies for guest memory. It keeps no state: the kernel and
 * the pins in /sys/fs/bpf/gmem are the only truth.
 */
#include <stdlib.h>

#include "gmem-policy.h"

struct options opt = { .timeout = -1 };

enum {
	OPT_CGROUP = FIRST_OPTION,
	OPT_AS,
	OPT_SET,
	OPT_FLAGS,
	OPT_DRY_RUN,
	OPT_ALL,
	OPT_TIMEOUT,
	OPT_EXPECT,
	OPT_NAMES,
};

static const struct option long_options[] = {
	{ "cgroup",	required_argument,	NULL, OPT_CGROUP },
	{ "as",		required_argument,	NULL, OPT_AS },
	{ "set",	required_argument,	NULL, OPT_SET },
	{ "flags",	required_argument,	NULL, OPT_FLAGS },
	{ "dry-run",	no_argument,		NULL, OPT_DRY_RUN },
	{ "all",	no_argument,		NULL, OPT_ALL },
	{ "timeout",	required_argument,	NULL, OPT_TIMEOUT },
	{ "expect",	required_argument,	NULL, OPT_EXPECT },
	{ "names",	no_argument,		NULL, OPT_NAMES },
	{ }
};

static const struct command commands[] = {
	{ "list", cmd_list, 0, 0, OPT(OPT_NAMES), "[--names]",
	  "policies that can be loaded by name, with their tunables",
	  "  --names            only the names, one per line\n"
	  "\n"
	  "Policies are looked for in $GMEM_POLICY_PATH (directories, separated by colons),\n"
	  "else in ../lib/gmem/policies and in policies, seen from this program.\n" },
	{ "load", cmd_load, 1, 1,
	  OPT(OPT_CGROUP) | OPT(OPT_AS) | OPT(OPT_SET) | OPT(OPT_FLAGS) | OPT(OPT_DRY_RUN) |
	  OPT(OPT_TIMEOUT),
	  "NAME|FILE.bpf.o [OPTIONS]",
	  "load a policy, for running VMs as well, and pin it",
	  "  --cgroup PATH      for the VMs of a cgroup (v2) and those below it; else for all\n"
	  "  --as NAME          call it NAME; names are unique on the host\n"
	  "  --set VAR=VALUE    set a tunable; may be given several times\n"
	  "  --flags LIST       named: for VMMs that ask for it by name; enforced: beats what a\n"
	  "                     VMM named; shadow: consulted and counted, never applied\n"
	  "  --dry-run          verify it, and say what would change; attach nothing\n"
	  "  --timeout SECONDS  how long to wait for running VMs to come under it (60)\n" },
	{ "replace", cmd_replace, 1, 1,
	  OPT(OPT_AS) | OPT(OPT_SET) | OPT(OPT_DRY_RUN) | OPT(OPT_TIMEOUT) | OPT(OPT_EXPECT),
	  "NAME|FILE.bpf.o [OPTIONS]",
	  "swap a loaded policy for another, without a gap",
	  "  --as NAME          replace the loaded policy NAME; else that of the same name\n"
	  "  --set VAR=VALUE    set a tunable; the others have their defaults again\n"
	  "  --expect ID        only if the policy is still ID, as status -j and show tell it\n"
	  "  --dry-run          verify it, and say what would change; attach nothing\n"
	  "  --timeout SECONDS  how long to wait for running VMs to come under it (60)\n"
	  "\n"
	  "Name, scope and flags stay. If another process replaces or unloads the policy in the\n"
	  "meantime, nothing is changed.\n" },
	{ "unload", cmd_unload, 0, 1, OPT(OPT_ALL) | OPT(OPT_TIMEOUT), "NAME|--all",
	  "remove a policy, whoever loaded it",
	  "  --all              all of them\n"
	  "  --timeout SECONDS  how long to wait for running VMs to leave it (60)\n" },
	{ "status", cmd_status, 0, 0, OPT(OPT_NAMES), "[--names]",
	  "what is loaded, and every VM's guest memory with its policy",
	  "  --names            only the names of the policies, one per line\n" },
	{ "show", cmd_show, 1, 1, 0, "NAME|PID",
	  "one policy, or one process and why its policy is the effective one", "" },
	{ "check", cmd_check, 0, 0, 0, "",
	  "what this host has and lacks; exit status 0 if policies can be loaded", "" },
	{ "wait", cmd_wait, 1, 1, OPT(OPT_TIMEOUT), "NAME [--timeout SECONDS]",
	  "wait until a policy is unloaded (exit status 0) or tripped (3)",
	  "  --timeout SECONDS  give up after so long (exit status 4); else never\n" },
};

static bool parse_timeout(const char *text)
{
	char *end;

	opt.timeout = strtod(text, &end);
	return *text && !*end && opt.timeout >= 0;
}

static bool parse_expect(const char *text)
{
	char *end;

	opt.expect = strtoull(text, &end, 10);
	return *text && !*end && opt.expect;
}

static int take_option(int c)
{
	switch (c) {
	case OPT_CGROUP:
		opt.cgroup = optarg;
		break;
	case OPT_AS:
		opt.as = optarg;
		break;
	case OPT_SET:
		opt.sets[opt.nr_sets++] = optarg;
		break;
	case OPT_FLAGS:
		opt.flags = optarg;
		break;
	case OPT_DRY_RUN:
		opt.dry_run = true;
		break;
	case OPT_ALL:
		opt.all = true;
		break;
	case OPT_TIMEOUT:
		if (!parse_timeout(optarg))
			return usage_error("--timeout %s: it is a number of seconds", optarg);
		break;
	case OPT_EXPECT:
		if (!parse_expect(optarg))
			return usage_error("--expect %s: it is the id of a policy", optarg);
		break;
	case OPT_NAMES:
		opt.names = true;
		break;
	}
	return 0;
}

static int take_arguments(const struct command *cmd __attribute__((unused)), int argc, char **argv)
{
	opt.what = argc ? argv[0] : NULL;
	return 0;
}

const struct tool tool = {
	.name = "gmem-policy",
	.usage = "[-jv] COMMAND ...",
	.flags = "[-jv] ",
	.help = "  -j, --json     print JSON, errors too\n"
		"  -v, --verbose  show all of the verifier's log when a policy is refused\n"
		"  -V, --version  print versions\n"
		"\n"
		"Exit status: 0 done; 1 failed; 2 wrong usage; 3 the policy is tripped; 4 timed out.\n",
	.command_help = "",
	.column = 10,
	.commands = commands,
	.nr_commands = ARRAY_SIZE(commands),
	.short_options = ":jvhV",
	.options = long_options,
	.policy_abi = POLICY_ABI,
	.json_schema = 1,
	.json_flags = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED,
	.log_lines = 20,
	.wrap = true,
	.json = &opt.json,
	.verbose = &opt.verbose,
	.option = take_option,
	.arguments = take_arguments,
};

int main(int argc, char **argv)
{
	opt.sets = calloc(argc, sizeof(*opt.sets));
	if (!opt.sets)
		return EXIT_FAILED;
	return tool_main(argc, argv);
}
