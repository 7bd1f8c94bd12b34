// SPDX-License-Identifier: MIT
/* The command line. */
#include "host/mediator/options.h"

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

static const char usage[] =
	"Usage: vgpu-mediator [options]\n"
	"Decides which VMs and users may use the GPU, and connects them with executors.\n"
	"\n"
	"      --config-db FILE     configuration (/var/lib/vgpu/config.db)\n"
	"      --run-dir DIR        sockets of VMs, programs and vgpu-admin (/run/vgpu)\n"
	"      --jailer PATH        vgpu-jailer's socket (/run/vgpu-jailer/jailer.sock)\n"
	"      --warm N             executors kept ready for new sessions (1)\n"
	"      --poll-us N          how long an idle executor polls before it sleeps (50)\n"
	"      --gpu N              index of the GPU (0)\n"
	"      --window-total SIZE  memory of all windows together (80% of the host's)\n"
	"      --grace-ms N         how long VMs may take to come back after a restart (10000)\n"
	"      --finish-ms N        how long an executor may take to end by itself (2000)\n"
	"      --stuck-ms N         after that long an executor that does not end degrades its GPU (60000)\n"
	"      --admin-uid USER     user who may change the configuration; may be repeated\n"
	"      --verbose            log more\n"
	"      --help, --version    say this, or the version, and exit\n";

enum { OPT_DB = 256, OPT_RUN, OPT_JAILER, OPT_WARM, OPT_POLL, OPT_GPU, OPT_WINDOWS, OPT_GRACE, OPT_FINISH,
       OPT_STUCK, OPT_ADMIN, OPT_VERBOSE, OPT_HELP, OPT_VERSION };

static const struct option options[] = {
	{ "config-db", 1, NULL, OPT_DB },
	{ "run-dir", 1, NULL, OPT_RUN },
	{ "jailer", 1, NULL, OPT_JAILER },
	{ "warm", 1, NULL, OPT_WARM },
	{ "poll-us", 1, NULL, OPT_POLL },
	{ "gpu", 1, NULL, OPT_GPU },
	{ "window-total", 1, NULL, OPT_WINDOWS },
	{ "grace-ms", 1, NULL, OPT_GRACE },
	{ "finish-ms", 1, NULL, OPT_FINISH },
	{ "stuck-ms", 1, NULL, OPT_STUCK },
	{ "admin-uid", 1, NULL, OPT_ADMIN },
	{ "verbose", 0, NULL, OPT_VERBOSE },
	{ "help", 0, NULL, OPT_HELP },
	{ "version", 0, NULL, OPT_VERSION },
	{ NULL, 0, NULL, 0 },
};

static int parse_number(const char *text, uint64_t max, uint64_t *ret)
{
	unsigned int shift = 0;
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (end == text || errno || text[0] == '-')
		return -EINVAL;
	if (*end == 'K' || *end == 'M' || *end == 'G' || *end == 'T')
		shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 40;
	if (shift)
		end++;
	if (*end || n > (max >> shift))
		return -EINVAL;
	*ret = n << shift;
	return 0;
}

static int parse_u32(const char *text, uint64_t max, uint32_t *ret)
{
	uint64_t n;
	int rc = parse_number(text, max, &n);

	if (!rc)
		*ret = (uint32_t)n;
	return rc;
}

static int add_admin(struct med_options *o, const char *text)
{
	const size_t most = sizeof(o->admin_uids) / sizeof(*o->admin_uids);
	struct passwd *user = getpwnam(text);
	uint32_t uid;

	if (o->admin_uid_count >= most)
		return -ENOSPC;
	if (user)
		uid = user->pw_uid;
	else if (parse_u32(text, UINT32_MAX - 1, &uid))
		return -EINVAL;
	o->admin_uids[o->admin_uid_count++] = uid;
	return 0;
}

static int parse_one(int option, const char *value, struct med_options *o)
{
	switch (option) {
	case OPT_DB:
		o->config_db = value;
		return 0;
	case OPT_RUN:
		o->run_dir = value;
		return strlen(value) < 64 ? 0 : -ENAMETOOLONG; /* sockets' paths are short */
	case OPT_JAILER:
		o->jailer = value;
		return 0;
	case OPT_WARM:
		return parse_u32(value, 64, &o->warm);
	case OPT_POLL:
		return parse_u32(value, 1000000, &o->poll_us);
	case OPT_GPU:
		return parse_u32(value, 255, &o->gpu);
	case OPT_WINDOWS:
		return parse_number(value, 1ull << 50, &o->window_total_bytes);
	case OPT_GRACE:
		return parse_u32(value, 600000, &o->grace_ms);
	case OPT_FINISH:
		return parse_u32(value, 60000, &o->finish_ms);
	case OPT_STUCK:
		return parse_u32(value, 3600000, &o->stuck_ms);
	case OPT_ADMIN:
		return add_admin(o, value);
	case OPT_VERBOSE:
		o->verbose = true;
		return 0;
	default:
		return -EINVAL;
	}
}

int med_options_parse(int argc, char **argv, struct med_options *ret)
{
	struct med_options o = {
		.config_db = "/var/lib/vgpu/config.db",
		.run_dir = "/run/vgpu",
		.jailer = "/run/vgpu-jailer/jailer.sock",
		.warm = 1,
		.poll_us = 50,
		.grace_ms = 10000,
		.finish_ms = 2000,
		.stuck_ms = 60000,
	};
	struct sysinfo info;
	int c, index = 0;

	/* windows are pinned while a GPU uses them: the host keeps the rest */
	if (sysinfo(&info) == 0)
		o.window_total_bytes = (uint64_t)info.totalram * info.mem_unit / 5 * 4;
	while ((c = getopt_long(argc, argv, "", options, &index)) >= 0) {
		if (c == OPT_HELP || c == OPT_VERSION) {
			fputs(c == OPT_HELP ? usage : "vgpu-mediator " VGPU_VERSION "\n", stdout);
			exit(0);
		}
		if (c == '?')
			return -EINVAL;
		if (parse_one(c, optarg, &o)) {
			fprintf(stderr, "vgpu-mediator: --%s %s: not a valid value\n", options[index].name,
				optarg ? optarg : "");
			return -EINVAL;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "vgpu-mediator: unexpected argument %s\n", argv[optind]);
		return -EINVAL;
	}
	*ret = o;
	return 0;
}
