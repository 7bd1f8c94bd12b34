// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "bench/probes/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

const char probe_ptx[] =
	".version 7.0\n.target sm_80\n.address_size 64\n"
	".visible .entry nop(){ret;}\n"
	".visible .entry p8(.param .u64 a,.param .u64 b,.param .u64 c,.param .u64 d,"
	".param .u64 e,.param .u64 f,.param .u64 g,.param .u64 h){ret;}\n"
	".visible .entry p4k(.param .align 8 .b8 a[4000]){ret;}\n"
	".visible .entry spin(.param .u64 ns){.reg .u64 %rd<5>;.reg .pred p;"
	"ld.param.u64 %rd1,[ns];mov.u64 %rd2,%globaltimer;"
	"L:mov.u64 %rd3,%globaltimer;sub.u64 %rd4,%rd3,%rd2;setp.lt.u64 p,%rd4,%rd1;@p bra L;ret;}\n"
	/* one word, visible to the host at once */
	".visible .entry setw(.param .u64 a,.param .u32 v){.reg .u64 %rd<2>;.reg .u32 %r<2>;"
	"ld.param.u64 %rd1,[a];ld.param.u32 %r1,[v];membar.sys;st.volatile.global.u32 [%rd1],%r1;ret;}\n"
	/* dst = *src, then the counter */
	".visible .entry copyw(.param .u64 s,.param .u64 d,.param .u64 c,.param .u32 v)"
	"{.reg .u64 %rd<4>;.reg .u32 %r<3>;ld.param.u64 %rd1,[s];ld.param.u64 %rd2,[d];"
	"ld.param.u64 %rd3,[c];ld.param.u32 %r1,[v];ld.global.u32 %r2,[%rd1];"
	"st.global.u32 [%rd2],%r2;membar.sys;st.volatile.global.u32 [%rd3],%r1;ret;}\n"
	".visible .entry bad(){.reg .u64 %rd<2>;mov.u64 %rd1,16;st.global.u64 [%rd1],%rd1;ret;}\n"
	".visible .entry trapk(){trap;ret;}\n"
	".visible .entry rd(.param .u64 a,.param .u64 o){.reg .u64 %rd<4>;ld.param.u64 %rd1,[a];"
	"ld.param.u64 %rd2,[o];ld.global.u64 %rd3,[%rd1];st.global.u64 [%rd2],%rd3;ret;}\n"
	/* every thread writes v into its own word */
	".visible .entry stamp(.param .u64 a,.param .u32 v){.reg .u64 %rd<4>;.reg .u32 %r<6>;"
	"ld.param.u64 %rd1,[a];ld.param.u32 %r1,[v];mov.u32 %r2,%tid.x;mov.u32 %r3,%ctaid.x;"
	"mov.u32 %r4,%ntid.x;mad.lo.u32 %r5,%r3,%r4,%r2;mul.wide.u32 %rd2,%r5,4;"
	"add.u64 %rd3,%rd1,%rd2;st.global.u32 [%rd3],%r1;ret;}\n"
	/* word += v, for memory that the host then reads by the same address */
	".visible .entry fill(.param .u64 a,.param .u32 v){.reg .u64 %rd<4>;.reg .u32 %r<7>;"
	"ld.param.u64 %rd1,[a];ld.param.u32 %r1,[v];mov.u32 %r2,%tid.x;mov.u32 %r3,%ctaid.x;"
	"mov.u32 %r4,%ntid.x;mad.lo.u32 %r5,%r3,%r4,%r2;mul.wide.u32 %rd2,%r5,4;"
	"add.u64 %rd3,%rd1,%rd2;ld.global.u32 %r6,[%rd3];add.u32 %r6,%r6,%r1;"
	"st.global.u32 [%rd3],%r6;ret;}\n";

const char *probe_image = probe_ptx;

void probe_must(CUresult rc, const char *what, int line)
{
	const char *name = "?";

	if (rc == CUDA_SUCCESS)
		return;
	cuGetErrorName(rc, &name);
	printf("STOP line %d: %s: %d %s\n", line, what, rc, name);
	fflush(stdout);
	_exit(1);
}

double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec * 1e-3;
}

static int cmp_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double stats_print(const char *label, double *us, int n)
{
	qsort(us, n, sizeof(*us), cmp_double);
	printf("%-52s p50 %8.2f p90 %8.2f p99 %8.2f max %9.1f us\n", label, us[n / 2],
	       us[n * 9 / 10], us[n * 99 / 100], us[n - 1]);
	fflush(stdout);
	return us[n / 2];
}

void gpu_open(struct gpu *g)
{
	struct {
		CUfunction *f;
		const char *name;
	} k[] = { { &g->nop, "nop" },	  { &g->p8, "p8" },	  { &g->p4k, "p4k" },
		  { &g->spin, "spin" },	  { &g->setw, "setw" },	  { &g->copyw, "copyw" },
		  { &g->bad, "bad" },	  { &g->trap, "trapk" },  { &g->rd, "rd" },
		  { &g->stamp, "stamp" }, { &g->fill, "fill" } };
	double t0 = now_us(), t1, t2;

	MUST(cuInit(0));
	t1 = now_us();
	MUST(cuDeviceGet(&g->dev, 0));
	MUST(cuDevicePrimaryCtxRetain(&g->ctx, g->dev));
	MUST(cuCtxSetCurrent(g->ctx));
	t2 = now_us();
	MUST(cuModuleLoadData(&g->mod, probe_image));
	for (size_t i = 0; i < sizeof(k) / sizeof(k[0]); i++)
		MUST(cuModuleGetFunction(k[i].f, g->mod, k[i].name));
	g->init_ms = (t1 - t0) * 1e-3;
	g->ctx_ms = (t2 - t1) * 1e-3;
	g->module_ms = (now_us() - t2) * 1e-3;
}

CUresult gpu_launch(CUfunction f, CUstream s, unsigned int threads, void **params)
{
	return cuLaunchKernel(f, 1, 1, 1, threads, 1, 1, 0, s, params, NULL);
}

void *shared_map(size_t bytes, int *ret_fd)
{
	int fd = memfd_create("probe", MFD_CLOEXEC);
	void *p;

	if (fd < 0 || ftruncate(fd, bytes)) {
		perror("memfd");
		exit(1);
	}
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		perror("mmap memfd");
		exit(1);
	}
	memset(p, 0, bytes);
	if (ret_fd)
		*ret_fd = fd;
	else
		close(fd);
	return p;
}
