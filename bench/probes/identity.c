// SPDX-License-Identifier: MIT
/*
 * Who an executor is: rights given away after the context exists, or never held. Words:
 *   warm             the first module is PTX, so the JIT has run before lock-down (else the cubin)
 *   preload          dlopen the JIT libraries before lock-down
 *   drop             uid, groups, no-new-privs, not dumpable after the context
 *   limits           with drop: resource limits too
 *   empty            empty read-only root after the context
 *   nodes            after the context, a root with the driver's device nodes only
 *   filter=FILE      system-call allow-list after the context
 *   start=LETTERS    before cuInit: root with l(ibs) d(ev) p(roc) s(ys), u(ser ns), n (pid ns),
 *                    and an ordinary uid
 *   norare           leave out rare calls
 *   cubin=FILE       the test kernels, compiled
 *   spare            an unused cuCtxCreate/cuCtxDestroy before lock-down
 * Alone: namespaces | vram | hmm=on|off KIND
 */
#define _GNU_SOURCE
#include "bench/probes/confine.h"
#include "bench/probes/work.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern bool hmm_off;
extern int hmm_seen;
extern uint64_t hmm_flags_before, hmm_flags_after;

/* A handler, since the first process of a PID namespace takes no default action. */
static void on_alarm(int sig)
{
	static const char text[] = "\n  TIME OUT\n";

	(void)sig;
	if (write(1, text, sizeof(text) - 1) < 0)
		_exit(97);
	_exit(98);
}

static const char *word(int argc, char **argv, const char *w)
{
	size_t n = strlen(w);

	for (int i = 1; i < argc; i++)
		if (!strncmp(argv[i], w, n) && (argv[i][n] == '\0' || argv[i][n] == '='))
			return argv[i] + n + (argv[i][n] == '=');
	return NULL;
}

static char *read_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	char *buf = calloc(1, 4 * MIB);

	if (!f || fread(buf, 1, 4 * MIB - 1, f) == 0) {
		printf("cannot read %s\n", path);
		exit(1);
	}
	fclose(f);
	return buf;
}

/* A kernel is given an address of its own process's ordinary memory. */
static int hmm_probe(const char *onoff, const char *kind)
{
	struct gpu g;
	uint64_t on_stack = 0x5ec2e7, *heap = malloc(64), value = 0;
	CUdeviceptr target, out;
	void *params[] = { &target, &out };
	int pageable = -1, tables = -1;
	CUresult rc;

	hmm_off = strcmp(onoff, "off") == 0;
	*heap = 0xbeef;
	gpu_open(&g);
	cuDeviceGetAttribute(&pageable, CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS, g.dev);
	cuDeviceGetAttribute(&tables, CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES,
			     g.dev);
	MUST(cuMemAlloc(&out, 8));
	target = kind[0] == 's' ? (CUdeviceptr)&on_stack :
		 kind[0] == 'm' ? (CUdeviceptr)heap :
				  (CUdeviceptr)dlsym(RTLD_DEFAULT, "printf");
	gpu_launch(g.rd, NULL, 1, params);
	rc = cuCtxSynchronize();
	if (!rc)
		cuMemcpyDtoH(&value, out, 8);
	printf("HMM %s: UVM_INITIALIZE seen %d, flags %lx -> %lx, PAGEABLE_MEMORY_ACCESS %d, "
	       "host page tables %d; kernel reads %s: rc %d value %lx\n",
	       onoff, hmm_seen, hmm_flags_before, hmm_flags_after, pageable, tables, kind, rc, value);
	return 0;
}

/* How much device memory one more process with a context takes. */
static int vram(void)
{
	int up[2], down[2];
	struct gpu g;
	size_t f0, f1, total;
	char c = 0;

	if (pipe(up) || pipe(down))
		return 1;
	if (!fork()) {
		alarm(20);
		if (read(down[0], &c, 1) != 1)
			_exit(1);
		gpu_open(&g);
		if (write(up[1], &c, 1) != 1 || read(down[0], &c, 1) != 1)
			_exit(1);
		_exit(0);
	}
	gpu_open(&g);
	MUST(cuMemGetInfo(&f0, &total));
	if (write(down[1], &c, 1) != 1 || read(up[0], &c, 1) != 1)
		return 1;
	MUST(cuMemGetInfo(&f1, &total));
	printf("VRAM: total %zu MiB, free with one context %zu MiB, one more process takes %zu MiB\n",
	       total / MIB, f0 / MIB, (f0 - f1) / MIB);
	if (write(down[1], &c, 1) != 1)
		return 1;
	wait(NULL);
	_exit(0);
}

static void start_room(const char *letters)
{
	struct room room = { .libs = strchr(letters, 'l'),
			     .dev = strchr(letters, 'd'),
			     .proc = strchr(letters, 'p'),
			     .sys = strchr(letters, 's'),
			     .user_ns = strchr(letters, 'u'),
			     .pid_ns = strchr(letters, 'n') };

	enter_room(&room);
	alarm(12); /* not inherited by fork */
	drop_identity(false);
}

static void preload(void)
{
	static const char *const libs[] = { "libnvidia-ptxjitcompiler.so.1", "libnvidia-gpucomp.so.580.159.04",
					    "libnvidia-nvvm.so.4", "libnvidia-nvvm70.so.4" };

	for (int i = 0; i < 4; i++)
		printf("  preload %s: %s\n", libs[i],
		       dlopen(libs[i], RTLD_NOW | RTLD_GLOBAL) ? "yes" : dlerror());
}

static void status_line(void)
{
	char line[256];
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "Threads", 7) || !strncmp(line, "VmLck", 5) ||
		    !strncmp(line, "VmPin", 5) || !strncmp(line, "VmRSS", 5) ||
		    !strncmp(line, "VmSize", 6) || !strncmp(line, "FDSize", 6))
			printf("  %s", line);
	if (f)
		fclose(f);
}

static void lock_down(int argc, char **argv)
{
	static const struct room nodes = { .dev = true };

	if (word(argc, argv, "empty"))
		enter_empty();
	if (word(argc, argv, "nodes"))
		enter_room(&nodes);
	if (word(argc, argv, "drop"))
		drop_identity(word(argc, argv, "limits"));
	if (word(argc, argv, "filter")) {
		int rc = filter_install();

		if (rc)
			printf("  filter: %d\n", rc);
	}
}

int main(int argc, char **argv)
{
	const char *cubin = word(argc, argv, "cubin"), *start = word(argc, argv, "start"),
		   *filter = word(argc, argv, "filter");
	struct gpu g;
	struct work w = { .gpu = &g };

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGALRM, on_alarm);
	alarm(30);
	if (word(argc, argv, "namespaces"))
		return report_namespaces(), 0;
	if (word(argc, argv, "vram"))
		return vram();
	if (word(argc, argv, "hmm"))
		return hmm_probe(word(argc, argv, "hmm"), argv[2]);
	printf("identity:");
	for (int i = 1; i < argc; i++)
		printf(" %s", argv[i]);
	printf("\n");
	munmap(shared_map(64 * MIB, &w.memfd), 64 * MIB);
	w.cubin = cubin ? read_file(cubin) : NULL;
	if (w.cubin && !word(argc, argv, "warm"))
		probe_image = w.cubin;
	if (filter && filter_read(filter)) {
		printf("cannot read %s\n", filter);
		return 1;
	}
	if (start)
		start_room(start);
	if (word(argc, argv, "preload"))
		preload();
	phase(1, "init");
	gpu_open(&g);
	MUST(gpu_launch(g.nop, NULL, 1, NULL));
	if (word(argc, argv, "spare")) {
		CUcontext c;

		MUST(cuCtxCreate(&c, NULL, 0, g.dev));
		MUST(cuCtxDestroy(c));
		MUST(cuCtxSetCurrent(g.ctx));
	}
	MUST(cuCtxSynchronize());
	printf("  cuInit %.0f ms, context %.0f ms, module %.1f ms, uid %d\n", g.init_ms, g.ctx_ms,
	       g.module_ms, getuid());
	status_line();
	lock_down(argc, argv);
	phase(2, "steady");
	work_steady(&w);
	phase(3, "modules");
	work_modules(&w);
	phase(4, "rare");
	if (!word(argc, argv, "norare"))
		work_rare(&w);
	phase(5, "end");
	work_end(&w);
	filter_report();
	printf("  failures: %d\n", work_failures());
	fflush(stdout);
	phase(6, "exit");
	_exit(0);
}
