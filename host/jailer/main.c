// SPDX-License-Identifier: MIT
/* Options and start of vgpu-jailer. */
#include "host/jailer/internal.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/link/chan.h"
#include "common/log/log.h"

static const char usage[] =
	"Usage: vgpu-jailer [options]\n"
	"Starts and confines the processes that run VMs' GPU work.\n"
	"\n"
	"      --socket PATH        socket for the mediator (/run/vgpu-jailer/jailer.sock)\n"
	"      --state-dir DIR      what a restart needs to find executors (/run/vgpu-jailer/state)\n"
	"      --mediator-uid USER  user name or id that may connect (vgpu)\n"
	"      --executor PATH      the executor's program (/usr/libexec/vgpu/vgpu-executor)\n"
	"      --driver PATH        the GPU driver that it loads (libcuda.so.1)\n"
	"      --uid-base UID       first user id for executors (2147000000)\n"
	"      --uid-count N        how many user ids there are (4096)\n"
	"      --cgroup NAME        parent of the executors' cgroups (vgpu-executors)\n"
	"      --memory-limit SIZE  host memory of one executor, 0 = none (8G)\n"
	"      --env NAME=VALUE     environment of executors; may be repeated\n"
	"      --no-uid, --no-cgroup, --no-mount, --no-net, --no-pid, --no-ipc,\n"
	"      --no-memory-limit    leave this part of the sandbox out\n"
	"      --help, --version    say this, or the version, and exit\n";

enum { OPT_SOCKET = 256, OPT_STATE, OPT_MEDIATOR, OPT_EXECUTOR, OPT_DRIVER, OPT_BASE, OPT_COUNT,
       OPT_CGROUP, OPT_MEMORY, OPT_ENV, OPT_HELP, OPT_VERSION, OPT_NO = 512 };

static const struct option options[] = {
	{ "socket", 1, NULL, OPT_SOCKET },
	{ "state-dir", 1, NULL, OPT_STATE },
	{ "mediator-uid", 1, NULL, OPT_MEDIATOR },
	{ "executor", 1, NULL, OPT_EXECUTOR },
	{ "driver", 1, NULL, OPT_DRIVER },
	{ "uid-base", 1, NULL, OPT_BASE },
	{ "uid-count", 1, NULL, OPT_COUNT },
	{ "cgroup", 1, NULL, OPT_CGROUP },
	{ "memory-limit", 1, NULL, OPT_MEMORY },
	{ "env", 1, NULL, OPT_ENV },
	{ "no-uid", 0, NULL, OPT_NO + VGPU_SANDBOX_UID },
	{ "no-cgroup", 0, NULL, OPT_NO + VGPU_SANDBOX_CGROUP },
	{ "no-mount", 0, NULL, OPT_NO + VGPU_SANDBOX_MOUNT },
	{ "no-net", 0, NULL, OPT_NO + VGPU_SANDBOX_NET },
	{ "no-pid", 0, NULL, OPT_NO + VGPU_SANDBOX_PID },
	{ "no-ipc", 0, NULL, OPT_NO + VGPU_SANDBOX_IPC },
	{ "no-memory-limit", 0, NULL, OPT_NO + VGPU_SANDBOX_MEMORY_LIMIT },
	{ "help", 0, NULL, OPT_HELP },
	{ "version", 0, NULL, OPT_VERSION },
	{ NULL, 0, NULL, 0 },
};

static int parse_number(const char *text, uint64_t max, uint64_t *ret)
{
	char *end;
	unsigned long long n;
	unsigned int shift = 0;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (end == text || errno || text[0] == '-')
		return -EINVAL;
	if (*end == 'K' || *end == 'M' || *end == 'G')
		shift = *end == 'K' ? 10 : *end == 'M' ? 20 : 30;
	if (shift)
		end++;
	if (*end || n > (max >> shift))
		return -EINVAL;
	*ret = n << shift;
	return 0;
}

static int parse_user(const char *text, uid_t *ret)
{
	struct passwd *user = getpwnam(text);
	uint64_t n;

	if (user) {
		*ret = user->pw_uid;
		return 0;
	}
	if (parse_number(text, UINT32_MAX - 1, &n))
		return -EINVAL;
	*ret = (uid_t)n;
	return 0;
}

static int parse_one(int option, const char *value, struct jail_options *o)
{
	uint64_t n = 0;
	int rc = 0;

	switch (option) {
	case OPT_SOCKET:
		o->socket = value;
		return 0;
	case OPT_STATE:
		o->state_dir = value;
		return 0;
	case OPT_EXECUTOR:
		o->executor = value;
		return 0;
	case OPT_DRIVER:
		o->driver = value;
		return 0;
	case OPT_CGROUP:
		o->cgroup = value;
		return 0;
	case OPT_MEDIATOR:
		return parse_user(value, &o->mediator_uid);
	case OPT_BASE:
		rc = parse_number(value, UINT32_MAX - 65536, &n);
		o->uid_base = (uid_t)n;
		return rc ? rc : n ? 0 : -EINVAL;
	case OPT_COUNT:
		rc = parse_number(value, 65536, &n);
		o->uid_count = (unsigned int)n;
		return rc ? rc : n ? 0 : -EINVAL;
	case OPT_MEMORY:
		return parse_number(value, UINT64_MAX, &o->memory_limit_bytes);
	case OPT_ENV:
		if (o->env_count >= JAIL_ENV_MAX || !strchr(value, '='))
			return -EINVAL;
		o->env[o->env_count++] = (char *)value;
		return 0;
	default:
		if (option < OPT_NO)
			return -EINVAL;
		o->relaxed |= (unsigned int)option - OPT_NO;
		return 0;
	}
}

int jail_options_parse(int argc, char **argv, struct jail_options *ret)
{
	struct jail_options o = {
		.socket = "/run/vgpu-jailer/jailer.sock",
		.state_dir = "/run/vgpu-jailer/state",
		.executor = "/usr/libexec/vgpu/vgpu-executor",
		.driver = "libcuda.so.1",
		.cgroup = "vgpu-executors",
		.mediator_uid = (uid_t)-1,
		.uid_base = 2147000000,
		.uid_count = 4096,
		.memory_limit_bytes = 8ull << 30,
		/* a cache of compiled kernels would be shared by tenants */
		.env = { (char *)"CUDA_CACHE_DISABLE=1", (char *)"LC_ALL=C" },
		.env_count = 2,
	};
	int c, index = 0;

	while ((c = getopt_long(argc, argv, "", options, &index)) >= 0) {
		if (c == OPT_HELP || c == OPT_VERSION) {
			fputs(c == OPT_HELP ? usage : "vgpu-jailer " VGPU_VERSION "\n", stdout);
			exit(0);
		}
		if (c == '?')
			return -EINVAL;
		if (parse_one(c, optarg, &o)) {
			fprintf(stderr, "vgpu-jailer: --%s %s: not a valid value\n",
				options[index].name, optarg ? optarg : "");
			return -EINVAL;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "vgpu-jailer: unexpected argument %s\n", argv[optind]);
		return -EINVAL;
	}
	if (o.mediator_uid == (uid_t)-1 && parse_user("vgpu", &o.mediator_uid)) {
		fprintf(stderr, "vgpu-jailer: there is no user vgpu: create it or give --mediator-uid\n");
		return -EINVAL;
	}
	if (o.relaxed & VGPU_SANDBOX_MEMORY_LIMIT)
		o.memory_limit_bytes = 0;
	*ret = o;
	return 0;
}

/* The bind mount needs the real file. */
static int resolve_executor(struct jail_options *o)
{
	char *real = realpath(o->executor, NULL);

	if (!real || access(real, X_OK)) {
		vgpu_log(VGPU_LOG_ERROR, "executor not usable path=%s error=\"%s\"", o->executor,
			 strerror(errno));
		free(real);
		return -ENOENT;
	}
	o->executor = real; /* lives as long as the process */
	return 0;
}

/* Inside the sandbox nobody can make the driver's device nodes: its own tool does it before. */
static void make_device_nodes(void)
{
	static const char tool[] = "/usr/bin/nvidia-modprobe";
	pid_t pid;

	if (access("/proc/driver/nvidia", F_OK) || !access("/dev/nvidia-uvm", F_OK) || access(tool, X_OK))
		return;
	pid = fork();
	if (!pid) {
		execl(tool, tool, "-c", "0", "-u", (char *)NULL);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static void raise_file_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static int open_signals(int *ret)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	*ret = fd;
	return 0;
}

static int start(struct jailer *j)
{
	int rc = jail_state_init(&j->options, &j->next_id);

	if (rc) {
		vgpu_log(VGPU_LOG_ERROR, "state directory not usable path=%s error=\"%s\"",
			 j->options.state_dir, strerror(-rc));
		return rc;
	}
	rc = resolve_executor(&j->options);
	if (rc)
		return rc;
	make_device_nodes();
	j->sandbox = jail_sandbox_probe(&j->options);
	rc = open_signals(&j->signal_fd);
	if (rc)
		return rc;
	rc = jail_executors_load(j);
	if (rc)
		return rc;
	rc = vgpu_chan_listen(j->options.socket, 0600, SOCK_NONBLOCK, &j->listen_fd);
	if (!rc && chown(j->options.socket, j->options.mediator_uid, (gid_t)-1) < 0)
		rc = -errno;
	if (rc)
		vgpu_log(VGPU_LOG_ERROR, "socket not usable path=%s error=\"%s\"", j->options.socket,
			 strerror(-rc));
	return rc;
}

int main(int argc, char **argv)
{
	static struct jailer j = { .listen_fd = -1, .conn = -1, .signal_fd = -1 };
	int rc;

	vgpu_log_init("vgpu-jailer", VGPU_LOG_INFO);
	if (jail_options_parse(argc, argv, &j.options)) {
		fprintf(stderr, "Try: vgpu-jailer --help\n");
		return 2;
	}
	raise_file_limit();
	rc = start(&j);
	if (rc)
		return 1;
	vgpu_log(VGPU_LOG_NOTICE, "jailer ready socket=%s sandbox=0x%x executors=%u", j.options.socket,
		 j.sandbox, j.count);
	jail_keep_ready();
	rc = jail_loop(&j);
	vgpu_log(VGPU_LOG_NOTICE, "jailer ends executors=%u", j.count);
	return rc ? 1 : 0;
}
