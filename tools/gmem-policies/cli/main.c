// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * gmem-policy: load, watch and remove policies for guest memory. It keeps no state: the kernel and
 * the pins in /sys/fs/bpf/gmem are the only truth.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gmem-policy.h"

struct options opt = { .timeout = -1 };

enum {
	OPT_CGROUP = 256,
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
	{ "json",	no_argument,		NULL, 'j' },
	{ "verbose",	no_argument,		NULL, 'v' },
	{ "help",	no_argument,		NULL, 'h' },
	{ "version",	no_argument,		NULL, 'V' },
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

#define OPT(option)	BIT((option) - OPT_CGROUP)

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	int min_args;
	int max_args;
	unsigned int options;
	const char *usage;
	const char *about;
	const char *help;
} commands[] = {
	{ "list", cmd_list, 0, 0, OPT(OPT_NAMES), "list [--names]",
	  "policies that can be loaded by name, with their tunables",
	  "  --names            only the names, one per line\n"
	  "\n"
	  "Policies are looked for in $GMEM_POLICY_PATH (directories, separated by colons),\n"
	  "else in ../lib/gmem/policies and in policies, seen from this program.\n" },
	{ "load", cmd_load, 1, 1,
	  OPT(OPT_CGROUP) | OPT(OPT_AS) | OPT(OPT_SET) | OPT(OPT_FLAGS) | OPT(OPT_DRY_RUN) |
	  OPT(OPT_TIMEOUT),
	  "load NAME|FILE.bpf.o [OPTIONS]",
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
	  "replace NAME|FILE.bpf.o [OPTIONS]",
	  "swap a loaded policy for another, without a gap",
	  "  --as NAME          replace the loaded policy NAME; else that of the same name\n"
	  "  --set VAR=VALUE    set a tunable; the others have their defaults again\n"
	  "  --expect ID        only if the policy is still ID, as status -j and show tell it\n"
	  "  --dry-run          verify it, and say what would change; attach nothing\n"
	  "  --timeout SECONDS  how long to wait for running VMs to come under it (60)\n"
	  "\n"
	  "Name, scope and flags stay. If another process replaces or unloads the policy in the\n"
	  "meantime, nothing is changed.\n" },
	{ "unload", cmd_unload, 0, 1, OPT(OPT_ALL) | OPT(OPT_TIMEOUT), "unload NAME|--all",
	  "remove a policy, whoever loaded it",
	  "  --all              all of them\n"
	  "  --timeout SECONDS  how long to wait for running VMs to leave it (60)\n" },
	{ "status", cmd_status, 0, 0, OPT(OPT_NAMES), "status [--names]",
	  "what is loaded, and every VM's guest memory with its policy",
	  "  --names            only the names of the policies, one per line\n" },
	{ "show", cmd_show, 1, 1, 0, "show NAME|PID",
	  "one policy, or one process and why its policy is the effective one", "" },
	{ "check", cmd_check, 0, 0, 0, "check",
	  "what this host has and lacks; exit status 0 if policies can be loaded", "" },
	{ "wait", cmd_wait, 1, 1, OPT(OPT_TIMEOUT), "wait NAME [--timeout SECONDS]",
	  "wait until a policy is unloaded (exit status 0) or tripped (3)",
	  "  --timeout SECONDS  give up after so long (exit status 4); else never\n" },
};

#define NR_COMMANDS	((int)ARRAY_SIZE(commands))

static const struct command *find_command(const char *name)
{
	int i;

	for (i = 0; i < NR_COMMANDS; i++) {
		if (!strcmp(name, commands[i].name))
			return &commands[i];
	}
	return NULL;
}

int usage_error(const char *text)
{
	json_object *root, *o;

	if (opt.json) {
		root = json_root();
		o = json_object_new_object();
		json_str(o, "code", "USAGE");
		json_str(o, "message", text);
		json_object_object_add(root, "error", o);
		print_json(root);
	} else {
		fprintf(stderr, "gmem-policy: %s\n", text);
	}
	return EXIT_USAGE;
}

static void help_all(FILE *f)
{
	int i;

	fprintf(f, "usage: gmem-policy [-jv] COMMAND ...\n\n");
	for (i = 0; i < NR_COMMANDS; i++)
		fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].about);
	fprintf(f, "  %-10s %s\n", "help", "this, or 'help COMMAND' for one in detail");
	fprintf(f, "\n"
		"  -j, --json     print JSON, errors too\n"
		"  -v, --verbose  show all of the verifier's log when a policy is refused\n"
		"  -V, --version  print versions\n"
		"\n"
		"Exit status: 0 done; 1 failed; 2 wrong usage; 3 the policy is tripped; 4 timed out.\n");
}

static void help_one(const struct command *cmd)
{
	printf("usage: gmem-policy [-jv] %s\n\n%s\n", cmd->usage, cmd->about);
	if (*cmd->help)
		printf("\n%s", cmd->help);
}

static int cmd_help(int argc, char **argv)
{
	const struct command *cmd;

	if (argc) {
		cmd = find_command(argv[0]);
		if (!cmd)
			return usage_error(fmt("there is no command '%s'", argv[0]));
		help_one(cmd);
	} else {
		help_all(stdout);
	}
	return EXIT_OK;
}

static void print_version(void)
{
	json_object *root;

	if (!opt.json) {
		printf("gmem-policy: policy ABI %d, JSON schema %d, libbpf %s\n", POLICY_ABI,
		       JSON_SCHEMA, libbpf_version_string());
		return;
	}
	root = json_root();
	json_num(root, "abi_version", POLICY_ABI);
	json_str(root, "libbpf", libbpf_version_string());
	print_json(root);
}

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

/* Options may stand before and after the command, so all are parsed, and then judged. */
static int parse_options(int argc, char **argv, unsigned int *given, bool *help, bool *version)
{
	int c, index;

	/* Errors are told as JSON too, wherever the option that asks for it stands. */
	for (c = 1; c < argc && strcmp(argv[c], "--"); c++)
		opt.json |= !strcmp(argv[c], "-j") || !strcmp(argv[c], "--json");

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":jvhV", long_options, &index)) != -1) {
		if (c >= OPT_CGROUP)
			*given |= OPT(c);
		switch (c) {
		case 'j':
			break;
		case 'v':
			opt.verbose = true;
			break;
		case 'h':
			*help = true;
			break;
		case 'V':
			*version = true;
			break;
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
				return usage_error(fmt("--timeout %s: it is a number of seconds",
						       optarg));
			break;
		case OPT_EXPECT:
			if (!parse_expect(optarg))
				return usage_error(fmt("--expect %s: it is the id of a policy",
						       optarg));
			break;
		case OPT_NAMES:
			opt.names = true;
			break;
		case ':':
			return usage_error(fmt("%s takes a value", argv[optind - 1]));
		default:
			return usage_error(fmt("there is no option %s; try 'gmem-policy help'",
					       argv[optind - 1]));
		}
	}
	return 0;
}

static const char *option_name(unsigned int bit)
{
	const struct option *o;

	for (o = long_options; o->name; o++) {
		if (o->val >= OPT_CGROUP && OPT(o->val) == bit)
			return o->name;
	}
	return "?";
}

int main(int argc, char **argv)
{
	bool help = false, version = false;
	const struct command *cmd;
	unsigned int given = 0, foreign;
	int ret;

	opt.sets = calloc(argc, sizeof(*opt.sets));
	if (!opt.sets)
		return EXIT_FAILED;
	ret = parse_options(argc, argv, &given, &help, &version);
	if (ret)
		return ret;
	argc -= optind;
	argv += optind;

	if (version) {
		print_version();
		return EXIT_OK;
	}
	if (argc && !strcmp(argv[0], "help"))
		return cmd_help(argc - 1, argv + 1);
	if (help)
		return cmd_help(argc, argv);
	if (!argc) {
		if (opt.json)
			return usage_error("a command is missing; try 'gmem-policy help'");
		help_all(stderr);
		return EXIT_USAGE;
	}

	cmd = find_command(argv[0]);
	if (!cmd)
		return usage_error(fmt("there is no command '%s'; try 'gmem-policy help'",
				       argv[0]));
	foreign = given & ~cmd->options;
	if (foreign)
		return usage_error(fmt("%s has no option --%s; try 'gmem-policy help %s'",
				       cmd->name, option_name(foreign & -foreign), cmd->name));
	argc--;
	argv++;
	if (argc < cmd->min_args || argc > cmd->max_args)
		return usage_error(fmt("usage: gmem-policy %s", cmd->usage));

	ret = cmd->run(argc, argv);
	if (ret < 0) {
		report_failure();
		ret = EXIT_FAILED;
	}
	return ret;
}
