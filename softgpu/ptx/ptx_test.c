/* SPDX-License-Identifier: MIT */
/* Instructions one by one, with results taken from the PTX manual; and refusals with their sentences. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "softgpu/ptx/ptx.h"

enum { LANES = 32, WORDS = 8 };

/* Each lane's inputs and its result. */
struct memory {
	uint64_t in[WORDS], out[LANES * 2], scratch[64];
};

static struct memory memory;
static atomic_bool stop;

static bool find(void *argument, uint64_t address, uint64_t *ret_start, uint64_t *ret_size)
{
	*ret_start = (uint64_t)(uintptr_t)&memory;
	*ret_size = sizeof(memory);
	return address - *ret_start < *ret_size;
}

/* Runs the only kernel of a module with 1 block; its parameters are the addresses of in, out and scratch. */
static int run(const char *text, uint32_t threads, char *log, size_t log_size)
{
	uint64_t params[3] = { (uint64_t)(uintptr_t)memory.in, (uint64_t)(uintptr_t)memory.out,
			       (uint64_t)(uintptr_t)memory.scratch };
	struct ptx_grid grid = {
		.grid = { 1, 1, 1 },
		.block = { threads, 1, 1 },
		.dynamic_shared = 256,
		.params = params,
		.memory = { find, NULL },
		.stop = &stop,
		.multiprocessors = 1,
	};
	struct ptx_module *module;
	struct ptx_runner *runner;
	int error = ptx_compile(text, strlen(text), (struct ptx_log){ log, log_size }, &module);

	if (error)
		return error;
	ptx_link(module, 0, NULL);
	assert_true(ptx_kernel_count(module) >= 1);
	grid.kernel = ptx_kernel_at(module, 0);
	runner = ptx_runner_new();
	error = ptx_run_block(runner, &grid, 0);
	ptx_runner_free(runner);
	ptx_free(module);
	return error;
}

static const char *const head = ".version 8.0\n.target sm_90\n.address_size 64\n"
				".extern .shared .align 16 .b8 dynamic[];\n"
				".visible .entry k(.param .u64 in, .param .u64 out, .param .u64 scratch)\n{\n"
				".reg .pred %p<8>;\n.reg .b16 %h<8>;\n.reg .b32 %r<16>;\n.reg .b64 %d<16>;\n"
				".reg .f32 %f<8>;\n.reg .f64 %g<8>;\n.reg .b64 %in, %out, %x;\n.reg .b32 %t;\n"
				"ld.param.u64 %in, [in];\nld.param.u64 %out, [out];\nld.param.u64 %x, [scratch];\n"
				"mov.u32 %t, %tid.x;\nmad.wide.u32 %out, %t, 8, %out;\n";
static const char *const loads = "ld.u64 %d1, [%in];\nld.u64 %d2, [%in+8];\nld.u64 %d3, [%in+16];\n"
				 "ld.u32 %r1, [%in];\nld.u32 %r2, [%in+8];\nld.u32 %r3, [%in+16];\n"
				 "ld.u16 %h1, [%in];\nld.u16 %h2, [%in+8];\nld.u16 %h3, [%in+16];\n"
				 "ld.f32 %f1, [%in];\nld.f32 %f2, [%in+8];\nld.f32 %f3, [%in+16];\n"
				 "ld.f64 %g1, [%in];\nld.f64 %g2, [%in+8];\nld.f64 %g3, [%in+16];\n";

/* The result: of what kind the register numbered 0 is. */
static const char *store_of(char kind)
{
	switch (kind) {
	case 'h':
		return "cvt.u64.u16 %d0, %h0;\nst.u64 [%out], %d0;\nret;\n}\n";
	case 'r':
		return "cvt.u64.u32 %d0, %r0;\nst.u64 [%out], %d0;\nret;\n}\n";
	case 'f':
		return "mov.b32 %r0, %f0;\ncvt.u64.u32 %d0, %r0;\nst.u64 [%out], %d0;\nret;\n}\n";
	case 'g':
		return "st.f64 [%out], %g0;\nret;\n}\n";
	case 'p':
		return "selp.u64 %d0, 1, 0, %p0;\nst.u64 [%out], %d0;\nret;\n}\n";
	default:
		return "st.u64 [%out], %d0;\nret;\n}\n";
	}
}

struct instruction_case {
	char kind;
	const char *code;
	uint64_t a, b, c, expected;
};

#define F_ONE 0x3f800000
#define F_TWO 0x40000000
#define F_NAN 0x7fc00000
#define F_INF 0x7f800000
#define G_ONE 0x3ff0000000000000
#define G_TWO 0x4000000000000000

static const struct instruction_case integer_cases[] = {
	{ 'r', "add.s32 %r0, %r1, %r2;", 0xffffffff, 2, 0, 1 },
	{ 'h', "add.u16 %h0, %h1, %h2;", 0xffff, 2, 0, 1 },
	{ 'd', "add.u64 %d0, %d1, -1;", 0, 0, 0, UINT64_MAX },
	{ 'r', "add.sat.s32 %r0, %r1, %r2;", 0x7fffffff, 1, 0, 0x7fffffff },
	{ 'r', "sub.sat.s32 %r0, %r1, %r2;", 0x80000000, 1, 0, 0x80000000 },
	{ 'h', "sub.s16 %h0, %h1, %h2;", 0, 1, 0, 0xffff },
	{ 'h', "mul.lo.s16 %h0, %h1, %h2;", 300, 300, 0, 90000 & 0xffff },
	{ 'h', "mul.hi.u16 %h0, %h1, %h2;", 0xffff, 0xffff, 0, 0xfffe },
	{ 'h', "mul.hi.s16 %h0, %h1, %h2;", 0x8000, 2, 0, 0xffff },
	{ 'r', "mul.hi.s32 %r0, %r1, %r2;", 0x80000000, 2, 0, 0xffffffff },
	{ 'd', "mul.hi.u64 %d0, %d1, %d2;", UINT64_MAX, UINT64_MAX, 0, UINT64_MAX - 1 },
	{ 'd', "mul.hi.s64 %d0, %d1, %d2;", UINT64_MAX, 5, 0, UINT64_MAX },
	{ 'r', "mul.wide.s16 %r0, %h1, %h2;", 0xffff, 3, 0, 0xfffffffd },
	{ 'r', "mul.wide.u16 %r0, %h1, %h2;", 0xffff, 3, 0, 0x2fffd },
	{ 'd', "mul.wide.s32 %d0, %r1, -3;", 7, 0, 0, (uint64_t)-21 },
	{ 'r', "mul24.lo.s32 %r0, %r1, %r2;", 0x01ffffff, 5, 0, 0xfffffffb },
	{ 'r', "mad24.lo.u32 %r0, %r1, %r2, %r3;", 0x01000003, 5, 1, 16 },
	{ 'r', "mad.lo.s32 %r0, %r1, %r2, %r3;", 5, 6, 7, 37 },
	{ 'h', "mad.lo.u16 %h0, %h1, %h2, %h3;", 256, 256, 7, 7 },
	{ 'r', "mad.wide.s16 %r0, %h1, %h2, %r3;", 0xffff, 2, 3, 1 },
	{ 'd', "mad.wide.u32 %d0, %r1, %r2, %d3;", 0xffffffff, 2, 3, 0x200000001 },
	{ 'r', "mad.hi.u32 %r0, %r1, %r2, %r3;", 0x80000000, 4, 3, 5 },
	{ 'd', "mad.hi.s64 %d0, %d1, %d2, %d3;", UINT64_MAX, 2, 3, 2 },
	{ 'r', "div.s32 %r0, %r1, %r2;", 0xfffffff9, 2, 0, 0xfffffffd },
	{ 'r', "div.s32 %r0, %r1, %r2;", 0x80000000, 0xffffffff, 0, 0x80000000 },
	{ 'r', "div.u32 %r0, %r1, %r2;", 7, 0, 0, 0xffffffff },
	{ 'h', "div.s16 %h0, %h1, %h2;", 0xfff9, 2, 0, 0xfffd },
	{ 'd', "div.u64 %d0, %d1, %d2;", 1ull << 63, 3, 0, (1ull << 63) / 3 },
	{ 'r', "rem.s32 %r0, %r1, %r2;", 0xfffffff9, 2, 0, 0xffffffff },
	{ 'h', "rem.u16 %h0, %h1, %h2;", 1000, 7, 0, 6 },
	{ 'd', "rem.s64 %d0, %d1, %d2;", (uint64_t)-7, 3, 0, (uint64_t)-1 },
	{ 'r', "abs.s32 %r0, %r1;", 0xfffffffb, 0, 0, 5 },
	{ 'h', "neg.s16 %h0, %h1;", 1, 0, 0, 0xffff },
	{ 'd', "abs.s64 %d0, %d1;", (uint64_t)-9, 0, 0, 9 },
	{ 'h', "min.s16 %h0, %h1, %h2;", 0xffff, 1, 0, 0xffff },
	{ 'r', "max.u32 %r0, %r1, %r2;", 0xffffffff, 1, 0, 0xffffffff },
	{ 'd', "max.s64 %d0, %d1, %d2;", UINT64_MAX, 1, 0, 1 },
	{ 'r', "sad.s32 %r0, %r1, %r2, %r3;", 0xffffffff, 2, 10, 13 },
	{ 'h', "sad.u16 %h0, %h1, %h2, %h3;", 5, 9, 1, 5 },
	{ 'r', "max.s16x2 %r0, %r1, %r2;", 0xffff0005, 0x0001fff0, 0, 0x00010005 },
	{ 'r', "add.u16x2 %r0, %r1, %r2;", 0xffff0005, 0x00010001, 0, 6 },
	{ 'r', "popc.b64 %r0, %d1;", 0xff00ff00ff, 0, 0, 24 },
	{ 'r', "clz.b32 %r0, %r1;", 0, 0, 0, 32 },
	{ 'r', "clz.b64 %r0, %d1;", 1, 0, 0, 63 },
	{ 'r', "bfind.u32 %r0, %r1;", 0, 0, 0, 0xffffffff },
	{ 'r', "bfind.s32 %r0, %r1;", 0xfffffff0, 0, 0, 3 },
	{ 'r', "bfind.shiftamt.u64 %r0, %d1;", 1ull << 40, 0, 0, 23 },
	{ 'd', "brev.b64 %d0, %d1;", 1, 0, 0, 1ull << 63 },
	{ 'r', "bfe.u32 %r0, %r1, %r2, %r3;", 0xabcdef12, 8, 12, 0xdef },
	{ 'r', "bfe.s32 %r0, %r1, %r2, %r3;", 0x00000f00, 8, 4, 0xffffffff },
	{ 'r', "bfe.s32 %r0, %r1, %r2, %r3;", 0x80000000, 28, 10, 0xfffffff8 },
	{ 'r', "bfe.s32 %r0, %r1, %r2, %r3;", 0x80000000, 40, 4, 0xffffffff },
	{ 'd', "bfe.u64 %d0, %d1, %r2, %r3;", 0x123456789abcdef0, 60, 64, 1 },
	{ 'r', "bfi.b32 %r0, %r1, %r2, 4, 8;", 0x5a5, 0xffffffff, 0, 0xfffffa5f },
	{ 'd', "bfi.b64 %d0, %d1, %d2, 60, 8;", 0xff, 0, 0, 0xf000000000000000 },
	{ 'r', "bmsk.clamp.b32 %r0, %r1, %r2;", 4, 3, 0, 0x70 },
	{ 'r', "prmt.b32 %r0, %r1, %r2, %r3;", 0x83020100, 0x07060504, 0xb763, 0xff070683 },
	{ 'r', "shf.l.wrap.b32 %r0, %r1, %r2, %r3;", 0x80000000, 1, 33, 3 },
	{ 'r', "shf.r.clamp.b32 %r0, %r1, %r2, %r3;", 5, 7, 40, 7 },
	{ 'r', "shf.r.wrap.b32 %r0, %r1, %r2, %r3;", 0, 1, 1, 0x80000000 },
	{ 'r', "shl.b32 %r0, %r1, 32;", 1, 0, 0, 0 },
	{ 'r', "shr.s32 %r0, %r1, 99;", 0x80000000, 0, 0, 0xffffffff },
	{ 'h', "shl.b16 %h0, %h1, 15;", 3, 0, 0, 0x8000 },
	{ 'h', "shr.s16 %h0, %h1, 3;", 0x8000, 0, 0, 0xf000 },
	{ 'd', "shr.u64 %d0, %d1, %r2;", 1ull << 63, 63, 0, 1 },
	{ 'r', "lop3.b32 %r0, %r1, %r2, %r3, 0xe8;", 0xff00ff00, 0xf0f0f0f0, 0xcccccccc, 0xfcc0fcc0 },
	{ 'r', "dp4a.u32.s32 %r0, %r1, %r2, %r3;", 0x010203ff, 0xff010101, 0, 255 + 3 + 2 - 1 },
	{ 'r', "dp2a.hi.s32.u32 %r0, %r1, %r2, %r3;", 0xffff0002, 0x0a030000, 1, 0xfffffffd },
	{ 'r', "vabsdiff4.u32.u32.u32 %r0, %r1, %r2, %r3;", 0x01ff8005, 0x02010a05, 7, 0x01fe7600 },
	{ 'r', "vabsdiff4.u32.u32.u32.add %r0, %r1, %r2, %r3;", 0x01ff8005, 0x02010a05, 7, 380 },
	{ 'r', "vabsdiff4.s32.s32.s32.add %r0, %r1, %r2, %r3;", 0x01ff8005, 0x02010a05, 7, 148 },
	{ 'r', "fns.b32 %r0, %r1, %r2, %r3;", 0x8f0, 5, 2, 6 },
	{ 'r', "prmt.b32.f4e %r0, %r1, %r2, %r3;", 0x83020100, 0x07060504, 2, 0x05048302 },
	{ 'r', "prmt.b32.b4e %r0, %r1, %r2, %r3;", 0x83020100, 0x07060504, 1, 0x06070001 },
	{ 'r', "prmt.b32.rc8 %r0, %r1, %r2, %r3;", 0x83020100, 0x07060504, 7, 0x83838383 },
	{ 'r', "prmt.b32.ecl %r0, %r1, %r2, %r3;", 0x83020100, 0x07060504, 1, 0x83020101 },
	{ 'r', "prmt.b32.ecr %r0, %r1, %r2, %r3;", 0x83020100, 0x07060504, 1, 0x01010100 },
	{ 'r', "prmt.b32.rc16 %r0, %r1, %r2, %r3;", 0x83020100, 0x07060504, 3, 0x83028302 },
	{ 'r', "fns.b32 %r0, %r1, %r2, %r3;", 0x8f0, 5, 0xfffffffe, 4 },
	{ 'r', "fns.b32 %r0, %r1, %r2, %r3;", 0x8f0, 5, 0, 5 },
	{ 'r', "fns.b32 %r0, %r1, %r2, %r3;", 0x8f0, 3, 0, 0xffffffff },
	{ 'r', "fns.b32 %r0, %r1, %r2, %r3;", 0x8f0, 3, 9, 0xffffffff },
	{ 'h', "not.b16 %h0, %h1;", 0xff, 0, 0, 0xff00 },
	{ 'r', "cnot.b32 %r0, %r1;", 0, 0, 0, 1 },
	{ 'd', "xor.b64 %d0, %d1, %d2;", 5, 3, 0, 6 },
	{ 'r', "add.cc.u32 %r4, %r1, %r2;\naddc.u32 %r0, %r3, 0;", 0xffffffff, 1, 5, 6 },
	{ 'r', "sub.cc.u32 %r4, %r1, %r2;\nsubc.u32 %r0, %r3, 0;", 0, 1, 5, 4 },
	{ 'r', "sub.cc.u32 %r4, %r1, %r2;\naddc.u32 %r0, %r3, 0;", 0, 1, 5, 5 },
	{ 'r', "sub.cc.u32 %r4, %r1, %r2;\naddc.u32 %r0, %r3, 0;", 1, 1, 5, 6 },
	{ 'd', "sub.cc.u64 %d4, %d1, %d2;\nsubc.cc.u64 %d4, %d3, %d1;\naddc.u64 %d0, 0, 0;", 0, 1, 1, 1 },
	{ 'r', "mad.lo.cc.u32 %r4, %r1, %r2, %r3;\nmadc.hi.u32 %r0, %r1, %r2, 0;", 0xffffffff, 2, 2, 2 },
	{ 'd', "add.cc.u64 %d4, %d1, %d2;\naddc.cc.u64 %d4, %d3, %d3;\naddc.u64 %d0, 0, 0;", UINT64_MAX, 1, UINT64_MAX, 1 },
	{ 'r', "mad.hi.cc.s32 %r4, %r1, %r2, %r3;\naddc.u32 %r0, 0, 0;", 0xffffffff, 1, 1, 1 },
};

static const struct instruction_case move_cases[] = {
	{ 'd', "mov.b64 %d0, {%r1, %r2};", 1, 2, 0, 0x200000001 },
	{ 'r', "mov.b64 {%r4, %r0}, %d1;", 0x500000006, 0, 0, 5 },
	{ 'r', "mov.b64 {_, %r0}, %d1;", 0x500000006, 0, 0, 5 },
	{ 'r', "mov.b32 %r0, {%h1, %h2};", 0x1111, 0x2222, 0, 0x22221111 },
	{ 'h', "mov.b64 {%h4, %h5, %h0, %h6}, %d1;", 0x4444333322221111, 0, 0, 0x3333 },
	{ 'f', "mov.f32 %f0, 0f3F800000;", 0, 0, 0, F_ONE },
	{ 'f', "mov.f32 %f0, 2.0;", 0, 0, 0, F_TWO },
	{ 'g', "mov.f64 %g0, 0d4000000000000000;", 0, 0, 0, G_TWO },
	{ 'g', "mov.f64 %g0, -1.5e0;", 0, 0, 0, 0xbff8000000000000 },
	{ 'd', "cvt.s64.s32 %d0, %r1;", 0xffffffff, 0, 0, UINT64_MAX },
	{ 'd', "cvt.u64.u8 %d0, %r1;", 0x1ff, 0, 0, 0xff },
	{ 'r', "cvt.s32.s8 %r0, %r1;", 0x180, 0, 0, 0xffffff80 },
	{ 'h', "cvt.s16.s8 %h0, %h1;", 0x80, 0, 0, 0xff80 },
	{ 'h', "cvt.u16.u32 %h0, %r1;", 0x12345, 0, 0, 0x2345 },
	{ 'r', "cvt.sat.u8.s32 %r0, %r1;", 0xffffffff, 0, 0, 0 },
	{ 'r', "cvt.sat.s8.s32 %r0, %r1;", 1000, 0, 0, 127 },
	{ 'h', "cvt.sat.s16.s32 %h0, %r1;", 0xffff0000, 0, 0, 0x8000 },
	{ 'r', "cvt.sat.u32.s64 %r0, %d1;", 1ull << 40, 0, 0, 0xffffffff },
	{ 'f', "cvt.rn.f32.u64 %f0, %d1;", UINT64_MAX, 0, 0, 0x5f800000 },
	{ 'f', "cvt.rz.f32.s32 %f0, %r1;", 0x7fffffff, 0, 0, 0x4effffff },
	{ 'f', "cvt.rp.f32.u32 %f0, %r1;", 0x1000001, 0, 0, 0x4b800001 },
	{ 'g', "cvt.rn.f64.u32 %g0, %r1;", 0xffffffff, 0, 0, 0x41efffffffe00000 },
	{ 'r', "cvt.rni.s32.f32 %r0, %f1;", 0x40200000, 0, 0, 2 },
	{ 'r', "cvt.rpi.s32.f32 %r0, %f1;", 0x40200000, 0, 0, 3 },
	{ 'r', "cvt.rmi.s32.f32 %r0, %f1;", 0xc0200000, 0, 0, 0xfffffffd },
	{ 'r', "cvt.rzi.u32.f32 %r0, %f1;", 0xbf800000, 0, 0, 0 },
	{ 'r', "cvt.rzi.s32.f32 %r0, %f1;", F_NAN, 0, 0, 0 },
	{ 'd', "cvt.rzi.s64.f64 %d0, %g1;", 0xc3e0000000000001, 0, 0, 1ull << 63 },
	{ 'r', "cvt.rzi.s32.f64 %r0, %g1;", 0x7ff8000000000000, 0, 0, 0x80000000 },
	{ 'r', "cvt.rzi.u32.f32 %r0, %f1;", 0x7fc00000, 0, 0, 0 },
	{ 'd', "cvt.rzi.u64.f32 %d0, %f1;", 0x5f000000, 0, 0, 1ull << 63 },
	{ 'h', "cvt.rzi.s16.f32 %h0, %f1;", 0x49742400, 0, 0, 0x7fff },
	{ 'f', "cvt.rzi.f32.f32 %f0, %f1;", 0x40200000, 0, 0, F_TWO },
	{ 'f', "cvt.sat.f32.f32 %f0, %f1;", F_TWO, 0, 0, F_ONE },
	{ 'f', "cvt.ftz.f32.f32 %f0, %f1;", 1, 0, 0, 0 },
	{ 'f', "cvt.rm.f32.f64 %f0, %g1;", 0x3ff0000000000001, 0, 0, F_ONE },
	{ 'f', "cvt.rp.f32.f64 %f0, %g1;", 0x3ff0000000000001, 0, 0, F_ONE + 1 },
	{ 'h', "cvt.rn.f16.f32 %h0, %f1;", F_ONE, 0, 0, 0x3c00 },
	{ 'h', "cvt.rz.f16.f32 %h0, %f1;", 0x477fffff, 0, 0, 0x7bff },
	{ 'h', "cvt.rn.bf16.f32 %h0, %f1;", 0x3f808000, 0, 0, 0x3f80 },
	{ 'h', "cvt.rn.f16.s32 %h0, %r1;", 2049, 0, 0, 0x6800 },
	{ 'h', "cvt.rn.f16.f64 %h0, %g1;", G_TWO, 0, 0, 0x4000 },
	{ 'r', "cvt.rn.f16x2.f32 %r0, %f1, %f2;", F_ONE, F_TWO, 0, 0x3c004000 },
	{ 'r', "cvt.rn.relu.bf16x2.f32 %r0, %f1, %f2;", 0xbf800000, F_TWO, 0, 0x00004000 },
	{ 'f', "cvt.f32.f16 %f0, %h1;", 1, 0, 0, 0x33800000 },
	{ 'r', "cvt.rzi.s32.f16 %r0, %h1;", 0xc100, 0, 0, 0xfffffffe },
	{ 'g', "cvt.f64.f32 %g0, %f1;", F_TWO, 0, 0, G_TWO },
	{ 'r', "cvt.rna.tf32.f32 %r0, %f1;", 0x3f801000, 0, 0, 0x3f802000 },
	{ 'r', "selp.b32 %r0, %r1, %r2, 1;", 3, 4, 0, 3 },
	{ 'r', "slct.s32.s32 %r0, %r1, %r2, %r3;", 3, 4, 0xffffffff, 4 },
	{ 'd', "slct.u64.f32 %d0, %d1, %d2, %f3;", 3, 4, 0x80000000, 3 },
	{ 'r', "set.gt.u32.f32 %r0, %f1, %f2;", F_TWO, F_ONE, 0, 0xffffffff },
	{ 'f', "set.le.f32.s32 %f0, %r1, %r2;", 0xffffffff, 0, 0, F_ONE },
	{ 'h', "set.eq.f16.f16 %h0, %h1, %h2;", 0x8000, 0, 0, 0x3c00 },
	{ 'h', "set.ltu.bf16.bf16 %h0, %h1, %h2;", 0x7fc0, 0, 0, 0x3f80 },
	{ 'r', "set.gt.f16x2.f16x2 %r0, %r1, %r2;", 0x3c003c00, 0x3c003800, 0, 0x00003c00 },
	{ 'r', "set.le.u32.bf16x2 %r0, %r1, %r2;", 0x3f803f80, 0x3f803f00, 0, 0xffff0000 },
	{ 'p', "setp.lt.u32 %p0, %r1, %r2;", 0xffffffff, 0, 0, 0 },
	{ 'p', "setp.lt.s16 %p0, %h1, %h2;", 0xffff, 0, 0, 1 },
	{ 'p', "setp.hs.u64 %p0, %d1, %d2;", UINT64_MAX, 1, 0, 1 },
	{ 'p', "setp.lo.s32 %p0, %r1, %r2;", 0xffffffff, 1, 0, 0 },
	{ 'p', "setp.eq.f32 %p0, %f1, %f1;", F_NAN, 0, 0, 0 },
	{ 'p', "setp.ne.f32 %p0, %f1, %f2;", F_NAN, F_ONE, 0, 0 },
	{ 'p', "setp.neu.f32 %p0, %f1, %f2;", F_NAN, F_ONE, 0, 1 },
	{ 'p', "setp.gtu.f64 %p0, %g1, %g2;", 0x7ff8000000000000, G_ONE, 0, 1 },
	{ 'p', "setp.nan.f32 %p0, %f1, %f2;", F_NAN, F_ONE, 0, 1 },
	{ 'p', "setp.gt.ftz.f32 %p0, %f1, %f2;", 1, 0, 0, 0 },
	{ 'p', "setp.gt.f16 %p0, %h1, %h2;", 0x4000, 0x3c00, 0, 1 },
	{ 'p', "setp.gt.s32 %p1, %r1, 0;\nsetp.eq.and.s32 %p0|%p2, %r2, 4, !%p1;", 0, 4, 0, 1 },
	{ 'p', "setp.gt.s32 %p1, %r1, 0;\nsetp.eq.xor.s32 %p2|%p0, %r2, 4, %p1;", 1, 4, 0, 1 },
	{ 'p', "setp.eq.s32 %p1, %r1, 1;\nnot.pred %p2, %p1;\nor.pred %p0, %p1, %p2;", 0, 0, 0, 1 },
	{ 'p', "testp.subnormal.f32 %p0, %f1;", 1, 0, 0, 1 },
	{ 'p', "testp.infinite.f64 %p0, %g1;", 0x7ff0000000000000, 0, 0, 1 },
	{ 'p', "isspacep.global %p0, %x;", 0, 0, 0, 1 },
	{ 'p', "mov.u64 %d4, dynamic;\ncvta.shared.u64 %d5, %d4;\nisspacep.shared %p0, %d5;", 0, 0, 0, 1 },
};

static const struct instruction_case float_cases[] = {
	{ 'f', "add.rz.f32 %f0, %f1, %f2;", F_ONE, 0x33ffffff, 0, F_ONE },
	{ 'f', "add.rp.f32 %f0, %f1, %f2;", F_ONE, 1, 0, F_ONE + 1 },
	{ 'f', "add.ftz.f32 %f0, %f1, %f2;", 1, 1, 0, 0 },
	{ 'f', "add.sat.f32 %f0, %f1, %f2;", F_ONE, F_ONE, 0, F_ONE },
	{ 'f', "sub.f32 %f0, %f1, %f2;", F_TWO, F_ONE, 0, F_ONE },
	{ 'f', "mul.rn.f32 %f0, %f1, %f2;", F_TWO, F_TWO, 0, 0x40800000 },
	{ 'f', "fma.rn.f32 %f0, %f1, %f2, %f3;", 0x3f800001, 0x3f800001, 0xbf800002, 0x28800000 },
	{ 'f', "fma.rm.f32 %f0, %f1, %f2, %f3;", F_ONE, F_ONE, 1, F_ONE },
	{ 'f', "mad.rn.f32 %f0, %f1, %f2, %f3;", F_TWO, F_TWO, F_ONE, 0x40a00000 },
	{ 'f', "div.rn.f32 %f0, %f1, %f2;", F_ONE, 0x40400000, 0, 0x3eaaaaab },
	{ 'f', "div.rz.f32 %f0, %f1, %f2;", F_ONE, 0x40400000, 0, 0x3eaaaaaa },
	{ 'f', "div.full.f32 %f0, %f1, %f2;", F_TWO, F_TWO, 0, F_ONE },
	{ 'f', "rcp.rn.f32 %f0, %f1;", F_TWO, 0, 0, 0x3f000000 },
	{ 'f', "rcp.approx.ftz.f32 %f0, %f1;", 1, 0, 0, F_INF },
	{ 'f', "sqrt.rn.f32 %f0, %f1;", 0x40800000, 0, 0, F_TWO },
	{ 'f', "sqrt.rm.f32 %f0, %f1;", F_TWO, 0, 0, 0x3fb504f3 },
	{ 'f', "rsqrt.approx.f32 %f0, %f1;", 0x40800000, 0, 0, 0x3f000000 },
	{ 'f', "ex2.approx.f32 %f0, %f1;", F_ONE, 0, 0, F_TWO },
	{ 'f', "ex2.approx.ftz.f32 %f0, %f1;", F_ONE, 0, 0, F_TWO },
	{ 'f', "lg2.approx.f32 %f0, %f1;", F_TWO, 0, 0, F_ONE },
	{ 'f', "sin.approx.f32 %f0, %f1;", 0, 0, 0, 0 },
	{ 'f', "cos.approx.ftz.f32 %f0, %f1;", 0, 0, 0, F_ONE },
	{ 'f', "tanh.approx.f32 %f0, %f1;", 0x42c80000, 0, 0, F_ONE },
	{ 'f', "min.f32 %f0, %f1, %f2;", F_NAN, F_ONE, 0, F_ONE },
	{ 'f', "min.NaN.f32 %f0, %f1, %f2;", F_NAN, F_ONE, 0, 0x7fffffff },
	{ 'f', "max.f32 %f0, %f1, %f2;", 0x80000000, 0, 0, 0 },
	{ 'f', "min.f32 %f0, %f1, %f2;", 0x80000000, 0, 0, 0x80000000 },
	{ 'f', "max.xorsign.abs.f32 %f0, %f1, %f2;", 0xc0000000, F_ONE, 0, 0xc0000000 },
	{ 'f', "abs.ftz.f32 %f0, %f1;", 0xbf800000, 0, 0, F_ONE },
	{ 'f', "neg.f32 %f0, %f1;", 0, 0, 0, 0x80000000 },
	{ 'f', "copysign.f32 %f0, %f1, %f2;", 0x80000000, F_TWO, 0, 0xc0000000 },
	{ 'g', "add.rn.f64 %g0, %g1, %g2;", G_ONE, G_ONE, 0, G_TWO },
	{ 'g', "mul.rp.f64 %g0, %g1, %g2;", 0x3ff0000000000001, 0x3ff0000000000001, 0, 0x3ff0000000000003 },
	{ 'g', "fma.rz.f64 %g0, %g1, %g2, %g3;", G_ONE, G_ONE, 1, G_ONE },
	{ 'g', "div.rn.f64 %g0, %g1, %g2;", G_ONE, 0x4008000000000000, 0, 0x3fd5555555555555 },
	{ 'g', "sqrt.rn.f64 %g0, %g1;", 0x4010000000000000, 0, 0, G_TWO },
	{ 'g', "rcp.approx.ftz.f64 %g0, %g1;", G_TWO, 0, 0, 0x3fe0000000000000 },
	{ 'g', "rsqrt.approx.ftz.f64 %g0, %g1;", 0x4010000000000000, 0, 0, 0x3fe0000000000000 },
	{ 'g', "rsqrt.approx.f64 %g0, %g1;", G_TWO, 0, 0, 0x3fe6a09e667f3bcc },
	{ 'g', "min.f64 %g0, %g1, %g2;", 0x7ff8000000000000, G_ONE, 0, G_ONE },
	{ 'g', "neg.f64 %g0, %g1;", 0, 0, 0, 1ull << 63 },
	{ 'g', "copysign.f64 %g0, %g1, %g2;", 1ull << 63, G_ONE, 0, 0xbff0000000000000 },
	{ 'h', "add.f16 %h0, %h1, %h2;", 0x3c00, 0x1000, 0, 0x3c00 },
	{ 'h', "add.sat.f16 %h0, %h1, %h2;", 0x3c00, 0x3c00, 0, 0x3c00 },
	{ 'h', "fma.rn.f16 %h0, %h1, %h2, %h3;", 0x3c01, 0x3c01, 0x0001, 0x3c02 },
	{ 'h', "mul.f16 %h0, %h1, %h2;", 0x7bff, 0x7bff, 0, 0x7c00 },
	{ 'h', "neg.f16 %h0, %h1;", 0x3c00, 0, 0, 0xbc00 },
	{ 'h', "max.NaN.bf16 %h0, %h1, %h2;", 0x7fc0, 0x3f80, 0, 0x7fff },
	{ 'h', "ex2.approx.f16 %h0, %h1;", 0x3c00, 0, 0, 0x4000 },
	{ 'r', "fma.rn.relu.f16x2 %r0, %r1, %r2, %r3;", 0x3c00bc00, 0x3c003c00, 0, 0x3c000000 },
	{ 'r', "sub.bf16x2 %r0, %r1, %r2;", 0x40003f80, 0x3f803f80, 0, 0x3f800000 },
};

static void run_cases(const struct instruction_case *cases, size_t count)
{
	static char text[8192], log[256];

	for (size_t i = 0; i < count; i++) {
		uint32_t threads = i % 2 ? 32 : 7; /* all lanes, or some */
		int error;

		snprintf(text, sizeof(text), "%s%s%s\n%s", head, loads, cases[i].code, store_of(cases[i].kind));
		memset(&memory, 0, sizeof(memory));
		memory.in[0] = cases[i].a;
		memory.in[1] = cases[i].b;
		memory.in[2] = cases[i].c;
		error = run(text, threads, log, sizeof(log));
		if (error)
			fail_msg("%s: error %d: %s", cases[i].code, error, log);
		for (uint32_t t = 0; t < threads; t++)
			if (memory.out[t] != cases[i].expected)
				fail_msg("%s of %llx, %llx, %llx in lane %u gave %llx, not %llx", cases[i].code,
					 (unsigned long long)cases[i].a, (unsigned long long)cases[i].b,
					 (unsigned long long)cases[i].c, t, (unsigned long long)memory.out[t],
					 (unsigned long long)cases[i].expected);
		assert_true(memory.out[threads] == 0);
	}
}

static void test_integers(void **state)
{
	run_cases(integer_cases, sizeof(integer_cases) / sizeof(integer_cases[0]));
}

static void test_moves(void **state)
{
	run_cases(move_cases, sizeof(move_cases) / sizeof(move_cases[0]));
}

static void test_floats(void **state)
{
	run_cases(float_cases, sizeof(float_cases) / sizeof(float_cases[0]));
}

/* What differs from lane to lane: the code puts its result into %r0; expected tells it for lane t. */
struct warp_case {
	const char *code;
	uint32_t (*expected)(uint32_t t);
	uint32_t threads;
};

static uint32_t lane(uint32_t t)
{
	return t % 32;
}

static uint32_t below(uint32_t t)
{
	return (1u << lane(t)) - 1;
}

static uint32_t up_by_three(uint32_t t)
{
	return lane(t) >= 3 ? 100 + t - 3 : 100 + t;
}

static uint32_t down_in_eights(uint32_t t)
{
	return t % 8 < 6 ? t + 2 : t;
}

static uint32_t from_five_of_sixteen(uint32_t t)
{
	return t / 16 * 16 + 5;
}

static uint32_t odd_bits(uint32_t t)
{
	return t & 1 ? 0xaaaaaaaa : 0x55555555;
}

static uint32_t all_of_64(uint32_t t)
{
	return 32;
}

static uint32_t zero(uint32_t t)
{
	return 0;
}

static uint32_t one(uint32_t t)
{
	return 1;
}

static uint32_t sum_of_halves(uint32_t t)
{
	return t & 1 ? 256 : 240;
}

static uint32_t steps(uint32_t t)
{
	return t * 3 + (t & 1);
}

static uint32_t square(uint32_t t)
{
	return t % 4 == 0 ? t + 1 : t % 4 == 1 ? t * t : t % 4 == 2 ? t - 1 : 77;
}

static uint32_t neighbour(uint32_t t)
{
	return t ^ 1;
}

static uint32_t ticket(uint32_t t)
{
	return 64;
}

static const struct warp_case warp_cases[] = {
	{ "mov.u32 %r0, %laneid;", lane, 64 },
	{ "mov.u32 %r0, %lanemask_lt;", below, 40 },
	{ "add.u32 %r1, %t, 100;\nshfl.sync.up.b32 %r0|%p1, %r1, 3, 0, -1;", up_by_three, 32 },
	{ "shfl.sync.down.b32 %r0, %t, 2, 0x181f, -1;\n", down_in_eights, 32 },
	{ "shfl.sync.idx.b32 %r0, %t, 5, 0x101f, 0xffffffff;", from_five_of_sixteen, 32 },
	{ "shfl.bfly.b32 %r0, %t, 1, 0x1f;", neighbour, 32 },
	/* Two halves of a warp shuffle among themselves in different branches. */
	{ "and.b32 %r1, %t, 1;\nsetp.eq.u32 %p1, %r1, 0;\n@%p1 bra EVEN;\n"
	  "activemask.b32 %r0;\nvote.sync.ballot.b32 %r0, 1, 0xaaaaaaaa;\nbra.uni END;\nEVEN:\n"
	  "vote.sync.ballot.b32 %r0, 1, 0x55555555;\nEND:\nbar.warp.sync -1;\n",
	  odd_bits, 32 },
	/* Both halves run the same instruction with masks of their own. */
	{ "and.b32 %r1, %t, 1;\nsetp.eq.u32 %p1, %r1, 0;\nselp.b32 %r2, 0x55555555, 0xaaaaaaaa, %p1;\n"
	  "redux.sync.add.u32 %r0, %t, %r2;",
	  sum_of_halves, 32 },
	{ "and.b32 %r1, %t, 1;\nmatch.any.sync.b32 %r0, %r1, -1;", odd_bits, 32 },
	{ "match.all.sync.b32 %r0|%p1, %t, -1;", zero, 32 },
	{ "mov.u64 %d1, 5;\nmatch.all.sync.b64 %r1|%p1, %d1, -1;\nselp.b32 %r0, 1, 0, %p1;", one, 32 },
	{ "elect.sync _|%p1, -1;\nvote.sync.ballot.b32 %r0, %p1, -1;", one, 32 },
	{ "setp.lt.u32 %p1, %t, 32;\nbar.red.popc.u32 %r0, 0, %p1;", all_of_64, 64 },
	{ "setp.lt.u32 %p1, %t, 99;\nbarrier.cta.red.and.pred %p2, 1, %p1;\nselp.b32 %r0, 1, 0, %p2;", one, 64 },
	/* A producer that arrives and a consumer that waits, by warps. */
	{ "mov.u64 %d1, dynamic;\nsetp.lt.u32 %p1, %t, 32;\n@%p1 bra PRODUCE;\nbar.sync 2, 64;\n"
	  "ld.shared.u32 %r0, [%d1];\nst.shared.u32 [dynamic+4], %r0;\nbar.sync 0;\nbra END;\nPRODUCE:\n"
	  "st.shared.u32 [dynamic], 64;\nmembar.cta;\nbar.arrive 2, 64;\nbar.sync 0;\n"
	  "ld.shared.u32 %r0, [dynamic+4];\nEND:\n",
	  ticket, 64 },
	/* A loop whose trips differ. */
	{ "mov.u32 %r0, 0;\nmov.u32 %r1, 0;\nLOOP:\nsetp.ge.u32 %p1, %r1, %t;\n@%p1 bra OUT;\n"
	  "add.u32 %r0, %r0, 3;\nadd.u32 %r1, %r1, 1;\nbra LOOP;\nOUT:\nand.b32 %r1, %t, 1;\nadd.u32 %r0, %r0, %r1;",
	  steps, 32 },
	{ "and.b32 %r1, %t, 3;\nTABLE: .branchtargets L0, L1, L2, L3;\nbrx.idx %r1, TABLE;\nL0:\nadd.u32 %r0, %t, 1;\n"
	  "bra DONE;\nL1:\nmul.lo.u32 %r0, %t, %t;\nbra DONE;\nL2:\nsub.u32 %r0, %t, 1;\nbra DONE;\nL3:\n"
	  "mov.u32 %r0, 77;\nDONE:\n",
	  square, 32 },
	/* A lock between lanes of one warp: the loser's loop must not starve the holder. */
	{ "mov.u32 %r0, 1;\nmov.u64 %d1, dynamic;\nst.shared.u32 [%d1+8], 0;\nbar.sync 0;\nTRY:\n"
	  "atom.shared.cas.b32 %r1, [%d1+8], 0, 1;\nsetp.ne.u32 %p1, %r1, 0;\n@%p1 bra TRY;\n"
	  "ld.global.u32 %r2, [%x];\nadd.u32 %r2, %r2, 1;\nst.global.u32 [%x], %r2;\nmembar.gl;\n"
	  "atom.shared.exch.b32 %r1, [%d1+8], 0;\n",
	  one, 64 },
	{ "@!%p1 mov.u32 %r0, 3;\nmov.u32 %r0, %nwarpid;\nmov.u32 %r0, %clock;\nmov.u64 %d0, %globaltimer;\n"
	  "nanosleep.u32 100;\nprefetch.global.L2 [%x];\nmov.u32 %r0, %cluster_nctaid.x;",
	  one, 32 },
};

static void test_warps(void **state)
{
	static char text[8192], log[256];

	for (size_t i = 0; i < sizeof(warp_cases) / sizeof(warp_cases[0]); i++) {
		const struct warp_case *c = &warp_cases[i];
		int error;

		snprintf(text, sizeof(text), "%ssetp.ne.u32 %%p1, 0, 0;\n%s\n%s", head, c->code, store_of('r'));
		memset(&memory, 0, sizeof(memory));
		error = run(text, c->threads, log, sizeof(log));
		if (error)
			fail_msg("%s: error %d: %s", c->code, error, log);
		for (uint32_t t = 0; t < c->threads; t++)
			if (memory.out[t] != c->expected(t))
				fail_msg("%s\nin thread %u gave %llx, not %x", c->code, t,
					 (unsigned long long)memory.out[t], c->expected(t));
	}
}

struct whole_case {
	const char *text; /* the kernel's body behind the head */
	int error;
	uint64_t expected;
};

static void test_memory(void **state)
{
	static const struct whole_case cases[] = {
		{ "st.v2.u32 [%x], {7, 9};\nld.v2.u32 {%r1, %r2}, [%x];\nadd.u32 %r0, %r1, %r2;", 0, 16 },
		{ "st.v4.u16 [%x], {1, 2, 3, 4};\nld.v4.u16 {%h1, %h2, %h3, %h4}, [%x];\ncvt.u32.u16 %r0, %h4;", 0, 4 },
		{ "st.global.b8 [%x], 200;\nld.global.s8 %r0, [%x];", 0, 0xffffffc8 },
		{ "st.u8 [%x], 200;\nld.s8 %h1, [%x];\ncvt.u32.u16 %r0, %h1;", 0, 0xffc8 },
		{ "st.u16 [%x], 0xfffe;\nld.s16 %d1, [%x];\ncvt.u32.u64 %r0, %d1;", 0, 0xfffffffe },
		{ "st.release.gpu.global.u32 [%x], 5;\nld.acquire.gpu.global.u32 %r0, [%x];", 0, 5 },
		{ ".local .align 8 .b8 frame[16];\nmov.u64 %d1, frame;\ncvta.local.u64 %d2, %d1;\nst.u32 [%d2+4], 6;\n"
		  "ld.local.u32 %r0, [frame+4];",
		  0, 6 },
		{ ".shared .align 4 .b32 own[4];\nmov.u32 %r1, own;\nst.shared.u32 [%r1+8], 3;\n"
		  "cvta.shared.u64 %d1, %d1;\nld.shared.u32 %r0, [own+8];",
		  0, 3 },
		{ "red.global.add.u32 [%x], 2;\natom.global.add.u32 %r0, [%x], 2;", 0, 2 },
		{ "atom.global.dec.u32 %r1, [%x], 9;\nld.u32 %r0, [%x];", 0, 9 },
		{ "st.u64 [%x], 5;\natom.global.max.s64 %d1, [%x], -1;\natom.global.min.s64 %d1, [%x], -1;\n"
		  "ld.u32 %r0, [%x];",
		  0, 0xffffffff },
		{ "st.u32 [%x], 0x3c003c00;\natom.global.add.noftz.f16x2 %r1, [%x], 0x3c004000;\nld.u32 %r0, [%x];", 0,
		  0x40004200 },
		{ "st.u16 [%x], 7;\natom.global.cas.b16 %h1, [%x], 7, 8;\nld.u16 %r0, [%x];", 0, 8 },
		{ "mov.u64 %d1, in;\ncvta.param.u64 %d2, %d1;\nld.u64 %d3, [%d2+16];\nld.param.u64 %d4, [%d1+16];\n"
		  "setp.eq.u64 %p1, %d3, %d4;\nselp.u32 %r0, 1, 0, %p1;",
		  0, 1 },
		{ "st.v4.u32 [%x], {1, 2, 3, 4};\ncp.async.cg.shared.global.L2::128B [dynamic+16], [%x], 16;\n"
		  "cp.async.commit_group;\ncp.async.wait_group 0;\nld.shared.u32 %r0, [dynamic+28];",
		  0, 4 },
		{ "st.u64 [%x], -1;\nmov.u32 %r1, 6;\nmov.u64 %d1, dynamic;\n"
		  "cp.async.ca.shared::cta.global [%d1+8], [%x], 8, %r1;\ncp.async.wait_all;\n"
		  "ld.shared.u32 %r0, [dynamic+12];",
		  0, 0xffff },
		{ "setp.eq.u32 %p1, 0, 0;\nst.u32 [%x], 9;\nst.shared.u32 [dynamic], 5;\n"
		  "cp.async.ca.shared.global [dynamic], [%x], 4, %p1;\nld.shared.u32 %r0, [dynamic];",
		  0, 0 },
		{ "st.shared.u32 [dynamic], 5;\ncp.async.ca.shared.global.L2::cache_hint [dynamic], [%x+512], 4, 0, %d1;\n"
		  "ld.shared.u32 %r0, [dynamic];",
		  0, 0 },
		{ "cp.async.ca.shared.global [dynamic+256], [%x], 4;", PTX_ERROR_ADDRESS, 0 },
		{ "cp.async.ca.shared.global [dynamic], [%x+512], 4;", PTX_ERROR_ADDRESS, 0 },
		{ "cp.async.ca.shared.global [dynamic+4], [%x], 8;", PTX_ERROR_MISALIGNED, 0 },
		{ "mov.f32 %f1, 0f3F800000;\nst.v2.f32 [%x+8], {%f1, %f1};\n"
		  "red.global.add.v2.f32 [%x+8], {%f1, %f1};\natom.global.add.v2.f32 {%f2, %f3}, [%x+8], {%f1, %f1};\n"
		  "ld.f32 %f4, [%x+12];\nadd.f32 %f4, %f4, %f3;\ncvt.rni.u32.f32 %r0, %f4;",
		  0, 5 },
		{ "atom.global.add.v2.f32 {%f2, %f3}, [%x+512], {%f1, %f1};", PTX_ERROR_ADDRESS, 0 },
		{ "ld.u32 %r0, [%x+512];", PTX_ERROR_ADDRESS, 0 },
		{ "st.v4.u32 [%x+504], {1, 2, 3, 4};", PTX_ERROR_MISALIGNED, 0 },
		{ "st.v2.u64 [%x+512], {1, 2};", PTX_ERROR_ADDRESS, 0 },
		{ "ld.shared.u32 %r0, [dynamic+256];", PTX_ERROR_ADDRESS, 0 },
		{ "ld.shared.u32 %r0, [dynamic+2];", PTX_ERROR_MISALIGNED, 0 },
		{ ".local .b8 frame[16];\nmov.u64 %d1, frame;\nld.local.u8 %r0, [%d1+16];", PTX_ERROR_ADDRESS, 0 },
		{ "mov.u64 %d1, in;\nld.param.u64 %d2, [%d1+24];", PTX_ERROR_ADDRESS, 0 },
		{ "atom.global.add.u32 %r0, [%x+1], 2;", PTX_ERROR_MISALIGNED, 0 },
		{ "trap;", PTX_ERROR_TRAP, 0 },
		{ "bar.sync 77;", PTX_ERROR_INSTRUCTION, 0 },
		{ "bar.sync 1, 64;", PTX_ERROR_TRAP, 0 },
		{ "T: .branchtargets A;\nmov.u32 %r1, 1;\nbrx.idx %r1, T;\nA:\n", PTX_ERROR_INSTRUCTION, 0 },
		{ "P: .callprototype _ ();\nmov.u64 %d1, 5;\ncall %d1, (), P;", PTX_ERROR_INSTRUCTION, 0 },
	};
	static char text[8192], log[256];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int error;

		snprintf(text, sizeof(text), "%s%s\n%s", head, cases[i].text, store_of('r'));
		memset(&memory, 0, sizeof(memory));
		*log = 0;
		error = run(text, 1, log, sizeof(log));
		if (error != cases[i].error)
			fail_msg("%s: error %d, not %d: %s", cases[i].text, error, cases[i].error, log);
		if (!error && memory.out[0] != cases[i].expected)
			fail_msg("%s gave %llx", cases[i].text, (unsigned long long)memory.out[0]);
	}
}

static void test_functions(void **state)
{
	static const char *const text =
		".version 7.0\n.target sm_70\n.address_size 64\n"
		".func (.param .b32 result) depth(.param .b32 n);\n"
		".visible .entry k(.param .u64 in, .param .u64 out, .param .u64 scratch)\n{\n"
		".reg .b32 %r<4>;\n.reg .b64 %d<4>;\nld.param.u64 %d1, [out];\nmov.u32 %r1, %tid.x;\n"
		"{\n.reg .b32 temp;\n.param .b32 p;\nst.param.b32 [p], %r1;\n.param .b32 q;\n"
		"call.uni (q), depth, (p);\nld.param.b32 %r2, [q];\n}\n"
		"mad.wide.u32 %d1, %r1, 8, %d1;\ncvt.u64.u32 %d2, %r2;\nst.u64 [%d1], %d2;\nret;\n}\n"
		".func (.param .b32 result) depth(.param .b32 n)\n{\n.reg .b32 %r<4>;\n.reg .pred %p;\n"
		"ld.param.b32 %r1, [n];\nsetp.eq.u32 %p, %r1, 0;\n@%p bra ZERO;\nsub.u32 %r2, %r1, 1;\n"
		"{\n.param .b32 p;\n.param .b32 q;\nst.param.b32 [p], %r2;\ncall (q), depth, (p);\n"
		"ld.param.b32 %r2, [q];\n}\nadd.u32 %r2, %r2, 2;\nst.param.b32 [result], %r2;\nret;\nZERO:\n"
		"st.param.b32 [result], 5;\nret;\n}\n";
	char log[256] = "";

	memset(&memory, 0, sizeof(memory));
	assert_int_equal(run(text, 40, log, sizeof(log)), 0);
	for (uint32_t t = 0; t < 40; t++)
		assert_int_equal(memory.out[t], 5 + 2 * t);
}

/* printf: the format in constant bytes, arguments in a local buffer as the compiler lays them out. */
static void test_printf(void **state)
{
	static const char *const text =
		".version 8.0\n.target sm_90\n.address_size 64\n"
		".extern .func (.param .b32 r) vprintf(.param .b64 format, .param .b64 arguments);\n"
		".entry k(.param .u64 in, .param .u64 out, .param .u64 scratch)\n{\n.local .align 8 .b8 depot[40];\n"
		".reg .b64 %d<8>;\n.reg .b32 %r<4>;\nmov.u64 %d1, depot;\ncvta.local.u64 %d2, %d1;\n"
		"ld.param.u64 %d3, [in];\nst.local.s32 [%d1], -5;\nst.local.u64 [%d1+8], 0x123456789ab;\n"
		"st.local.f64 [%d1+16], 0d3FF8000000000000;\nadd.u64 %d4, %d3, 40;\nst.local.u64 [%d1+24], %d4;\n"
		"{\n.param .b64 a;\n.param .b64 b;\n.param .b32 r;\nst.param.b64 [a], %d3;\nst.param.b64 [b], %d2;\n"
		"call.uni (r), vprintf, (a, b);\nld.param.b32 %r1, [r];\n}\nret;\n}\n";
	char log[256] = "", got[256] = "";
	int pipes[2], saved = dup(1), error;

	memset(&memory, 0, sizeof(memory));
	strcpy((char *)memory.in, "%d %llx %.2f %s 100%%\n");
	strcpy((char *)memory.in + 40, "text");
	assert_int_equal(pipe(pipes), 0);
	fflush(stdout);
	dup2(pipes[1], 1);
	error = run(text, 1, log, sizeof(log));
	dup2(saved, 1);
	close(saved);
	close(pipes[1]);
	assert_int_equal(error, 0);
	assert_true(read(pipes[0], got, sizeof(got) - 1) > 0);
	close(pipes[0]);
	assert_string_equal(got, "-5 123456789ab 1.50 text 100%\n");
}

/* What another kernel of the module has in shared memory, below the dynamic part, is not there in this one. */
static void test_shared_gap(void **state)
{
	static const char *const text =
		".version 7.0\n.target sm_70\n.address_size 64\n.extern .shared .align 16 .b8 dynamic[];\n"
		".entry k(.param .u64 a)\n{\n.reg .b32 %%r<2>;\nmov.u32 %%r1, dynamic;\nst.shared.u32 [%%r1+%d], 1;\n"
		"ret;\n}\n"
		".entry other()\n{\n.shared .b32 own[64];\nst.shared.u32 [own], 1;\nret;\n}\n";
	static const int offsets[] = { 0, 252, -4, 256 };
	char log[256] = "", full[512];

	for (int i = 0; i < 4; i++) {
		snprintf(full, sizeof(full), text, offsets[i]);
		assert_int_equal(run(full, 32, log, sizeof(log)), i < 2 ? 0 : PTX_ERROR_ADDRESS);
	}
}

/* Recursion without an end meets the end of its memory. */
static void test_endless_recursion(void **state)
{
	static const char *const text = ".version 7.0\n.target sm_70\n.address_size 64\n.func f()\n{\ncall f;\nret;\n}\n"
					".entry k(.param .u64 a)\n{\ncall f, ();\nret;\n}\n";
	char log[256] = "";

	assert_int_equal(run(text, 32, log, sizeof(log)), PTX_ERROR_TRAP);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *text, *sentence;
	} cases[] = {
		{ "wgmma.fence.sync.aligned;", "line 20: the instruction \"wgmma.fence.sync.aligned\" is not supported" },
		{ "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f0}, {%r0}, {%r1}, {%f1};", "mma.sync" },
		{ "tex.2d.v4.f32.s32 {%f0, %f1, %f2, %f3}, [%d1, {%r0, %r1}];", "line 20: the instruction \"tex.2d.v4.f32.s32 {" },
		{ "ld.u32 %r0, [%x, {%r1}];", "must be an address" },
		{ "ld.u32 %r0, [%x, {%r1};", "']' expected" },
		{ "cp.async.bulk.commit_group;", "is not supported" },
		{ "cp.async.ca.shared.global [dynamic], [%x], 12;", "is not supported" },
		{ "cp.async.ca.global.shared [%x], [dynamic], 4;", "is not supported" },
		{ "cp.async.mbarrier.arrive.shared.b64 [dynamic];", "is not supported" },
		{ "vabsdiff4.u32.u32 %r0, %r1, %r2, %r3;", "is not supported" },
		{ "vabsdiff4.u32.u64.u32 %r0, %r1, %r2, %r3;", "is not supported" },
		{ "atom.global.add.v2.f32 %f2, [%x], {%f1, %f1};", "is not supported" },
		{ "red.global.add.v4.f32 [%x], {%f1, %f1};", "is not supported" },
		{ "atom.global.exch.v2.f32 {%f2, %f3}, [%x], {%f1, %f1};", "is not supported" },
		{ "fns.u32 %r0, %r1, %r2, %r3;", "is not supported" },
		{ "add.s32.wrong %r0, %r1, %r2;", "\"add.s32.wrong %r0, %r1, %r2\" is not supported" },
		{ "add.s32 %r0, %r1;", "3 operands, not 2" },
		{ "add.s32 %r0, %r1, %r99;", "is not declared" },
		{ "add.s32 %r0, %r1, %d1;", "does not fit" },
		{ "add.s32 5, %r1, %r1;", "must be a register" },
		{ "bra NOWHERE;", "the label \"NOWHERE\" is nowhere" },
		{ "A: A: ret;", "is there twice" },
		{ "call missing, ();", "is not supported" },
		{ ".reg .b32 %r<5>;", "declared twice" },
		{ "{ { { ", "a function does not end" },
		{ "mov.u32 %r0, 99999999999999999999999;", "too large" },
		{ "mov.u32 %r0, 0x;", "no digits" },
		{ "/* never ends", "a comment does not end" },
		{ ".local .b8 a[9999999999];", "over a limit" },
		{ ".reg .b32 %q<999999999>;", "over a limit" },
		{ "@%r1 ret;", "no predicate" },
		{ "ld.u32 %r0, %r1;", "must be an address" },
		{ "setp.equ.s32 %p1, %r1, %r2;", "not supported" },
		{ "mov.u32 %r0, %tid.w;", "no such part" },
		{ "vote.sync.ballot.b32 %r0, %p1;", "3 operands, not 2" },
	};
	static char text[8192], log[256];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text), "%s%s\nret;\n}\n", head, cases[i].text);
		*log = 0;
		assert_int_not_equal(run(text, 1, log, sizeof(log)), 0);
		if (!strstr(log, cases[i].sentence))
			fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].text, log, cases[i].sentence);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_integers), cmocka_unit_test(test_moves),	    cmocka_unit_test(test_floats),
		cmocka_unit_test(test_warps),	 cmocka_unit_test(test_memory),	    cmocka_unit_test(test_functions),
		cmocka_unit_test(test_refusals), cmocka_unit_test(test_endless_recursion), cmocka_unit_test(test_shared_gap), cmocka_unit_test(test_printf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
