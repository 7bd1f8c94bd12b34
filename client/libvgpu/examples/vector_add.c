// SPDX-License-Identifier: MIT
/*
 * Adds two vectors on the GPU.
 *
 *     cc vector_add.c -lvgpu -o vector_add && ./vector_add
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vgpu/vgpu.h>

/* What nvcc makes of
 *     __global__ void add(const float *a, const float *b, float *c, int n)
 *     {
 *             int i = blockIdx.x * blockDim.x + threadIdx.x;
 *             if (i < n)
 *                     c[i] = a[i] + b[i];
 *     }
 */
static const char ptx[] =
	".version 7.0\n"
	".target sm_70\n"
	".address_size 64\n"
	".visible .entry add(.param .u64 pa, .param .u64 pb, .param .u64 pc, .param .u32 pn)\n"
	"{\n"
	"	.reg .pred %p;\n"
	"	.reg .b32 %i, %n, %t, %b, %d;\n"
	"	.reg .b64 %a, %c, %o, %q;\n"
	"	.reg .f32 %x, %y;\n"
	"	ld.param.u64 %a, [pa];\n"
	"	ld.param.u64 %q, [pb];\n"
	"	ld.param.u64 %c, [pc];\n"
	"	ld.param.u32 %n, [pn];\n"
	"	mov.u32 %b, %ctaid.x;\n"
	"	mov.u32 %d, %ntid.x;\n"
	"	mov.u32 %t, %tid.x;\n"
	"	mad.lo.s32 %i, %b, %d, %t;\n"
	"	setp.ge.s32 %p, %i, %n;\n"
	"	@%p bra DONE;\n"
	"	cvta.to.global.u64 %a, %a;\n"
	"	cvta.to.global.u64 %q, %q;\n"
	"	cvta.to.global.u64 %c, %c;\n"
	"	mul.wide.s32 %o, %i, 4;\n"
	"	add.s64 %a, %a, %o;\n"
	"	add.s64 %q, %q, %o;\n"
	"	add.s64 %c, %c, %o;\n"
	"	ld.global.f32 %x, [%a];\n"
	"	ld.global.f32 %y, [%q];\n"
	"	add.f32 %x, %x, %y;\n"
	"	st.global.f32 [%c], %x;\n"
	"DONE:\n"
	"	ret;\n"
	"}\n";

static void check(vgpu_status status, const char *what)
{
	if (!status)
		return;
	fprintf(stderr, "%s: %s\n", what, vgpu_session_error_text());
	exit(1);
}
#define CHECK(call) check(call, #call)

int main(void)
{
	enum { N = 1000000, BLOCK = 256 };
	size_t bytes = N * sizeof(float);
	float *a = malloc(bytes), *b = malloc(bytes), *c = malloc(bytes);
	struct vgpu_device_properties properties;
	struct vgpu_function *add;
	struct vgpu_session *gpu;
	struct vgpu_module *module;
	uint64_t da, db, dc;
	char log[4096] = "";
	int n = N, wrong = 0;

	if (!a || !b || !c)
		exit(1);
	for (int i = 0; i < N; i++) {
		a[i] = (float)i;
		b[i] = 2.0f * (float)i;
	}
	CHECK(vgpu_session_open(NULL, &gpu));
	CHECK(vgpu_device_properties(gpu, &properties));
	check(vgpu_module_load(gpu, ptx, strlen(ptx), log, sizeof(log), &module), log);
	CHECK(vgpu_function_get(module, "add", &add));
	CHECK(vgpu_malloc(gpu, bytes, &da));
	CHECK(vgpu_malloc(gpu, bytes, &db));
	CHECK(vgpu_malloc(gpu, bytes, &dc));
	CHECK(vgpu_copy_h2d(gpu, da, a, bytes));
	CHECK(vgpu_copy_h2d(gpu, db, b, bytes));

	struct vgpu_dim3 grid = { (N + BLOCK - 1) / BLOCK, 1, 1 }, block = { BLOCK, 1, 1 };
	void *params[] = { &da, &db, &dc, &n };

	CHECK(vgpu_launch(add, grid, block, 0, NULL, params));
	CHECK(vgpu_copy_d2h(gpu, c, dc, bytes)); /* waits for the kernel */
	for (int i = 0; i < N; i++)
		wrong += c[i] != a[i] + b[i];
	printf("%s: %d sums, %d wrong\n", properties.name, N, wrong);

	CHECK(vgpu_module_unload(module));
	CHECK(vgpu_free(gpu, da));
	CHECK(vgpu_free(gpu, db));
	CHECK(vgpu_free(gpu, dc));
	CHECK(vgpu_session_close(gpu));
	free(a);
	free(b);
	free(c);
	return wrong != 0;
}
