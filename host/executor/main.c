/* SPDX-License-Identifier: MIT */
/*
 * vgpu-executor --driver LIBRARY --gpu N
 *
 * Started by vgpu-jailer with fd 3 connected to the mediator; not for people. Options that relax
 * the sandbox are for tests and sanitizers, and READY shows what is missing.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log/log.h"
#include "host/executor/internal.h"

static struct vx_gpu main_gpu;
static struct vx_session main_session;

static void usage(FILE *to)
{
	fputs("usage: vgpu-executor [--driver LIBRARY] [--gpu N] [--no-seccomp] [--dumpable]\n"
	      "Runs one GPU session; vgpu-jailer starts it, with a socket to the mediator as fd 3.\n"
	      "  --driver LIBRARY  CUDA driver (libcuda.so.1)\n"
	      "  --gpu N           index of the GPU (0)\n"
	      "  --no-seccomp      leave the system call filter out (sanitizers need more calls)\n"
	      "  --dumpable        allow debuggers and core dumps\n"
	      "  --version, --help\n",
	      to);
}

static int parse_gpu(const char *text)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (errno || end == text || *end || n < 0 || n > 4095) {
		fprintf(stderr, "vgpu-executor: --gpu %s is not a number from 0 to 4095\n", text);
		exit(2);
	}
	return (int)n;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "driver", required_argument, NULL, 'd' }, { "gpu", required_argument, NULL, 'g' },
		{ "no-seccomp", no_argument, NULL, 's' },   { "dumpable", no_argument, NULL, 'c' },
		{ "version", no_argument, NULL, 'v' },	    { "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct vx_control control = { .gpu = &main_gpu, .session = &main_session };
	struct vx_relax relax = { false, false };
	const char *driver = "libcuda.so.1";
	int gpu = 0, c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'd':
			driver = optarg;
			break;
		case 'g':
			gpu = parse_gpu(optarg);
			break;
		case 's':
			relax.seccomp = true;
			break;
		case 'c':
			relax.dumpable = true;
			break;
		case 'v':
			puts("vgpu-executor " VGPU_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	vgpu_log_init("executor", VGPU_LOG_INFO);
	if (fcntl(VGPU_EXECUTOR_SOCKET_FD, F_GETFD) < 0) {
		fputs("vgpu-executor: fd 3 is not open: it is started by vgpu-jailer, not by hand\n", stderr);
		return 2;
	}
	vx_arena_reserve_all();
	if (vx_gpu_open(&main_gpu, driver, gpu)) {
		if (vx_pool_init(&main_gpu) < 0) {
			main_gpu.error = VGPU_ERROR_CALL_NO_MEMORY;
			snprintf(main_gpu.text, sizeof(main_gpu.text), "cannot start a thread");
		}
	}
	if (main_gpu.error)
		vgpu_log(VGPU_LOG_ERROR, "no GPU gpu=%d driver=%s cause=\"%s\"", gpu, driver, main_gpu.text);
	control.sandbox = vx_sandbox_close(&relax, control.text, sizeof(control.text));
	if (vx_hmm_is_off())
		control.sandbox |= VGPU_SANDBOX_HMM_OFF;
	if (main_gpu.software) /* the software GPU cannot reach more than it is told to */
		control.sandbox |= VGPU_SANDBOX_HMM_OFF;
	vx_control_serve(&control);
	_exit(0);
}
