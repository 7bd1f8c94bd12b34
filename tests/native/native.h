/* SPDX-License-Identifier: MIT */
/* What the native_* programs share: each is one short program; run.py starts it with a session's
 * transport, quota and window in the environment. */
#ifndef TESTS_NATIVE_H
#define TESTS_NATIVE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/libvgpu/vgpu.h"

#define MIB (1ull << 20)

#define FAIL(...) \
	do { \
		fprintf(stderr, "%s:%d: ", __FILE__, __LINE__); \
		fprintf(stderr, __VA_ARGS__); \
		fputc('\n', stderr); \
		exit(1); \
	} while (0)

#define OK(call) \
	do { \
		vgpu_status ok_ = (call); \
		if (ok_) \
			FAIL("%s: %s (%s)", #call, vgpu_status_name(ok_), vgpu_session_error_text()); \
	} while (0)

/* The call fails with that status, and with a sentence. */
#define GIVES(status, call) \
	do { \
		vgpu_status gives_ = (call); \
		if (gives_ != (vgpu_status)(status)) \
			FAIL("%s: %s, expected %s", #call, vgpu_status_name(gives_), vgpu_status_name(status)); \
		if (!*vgpu_session_error_text()) \
			FAIL("%s: no sentence", #call); \
	} while (0)

#define CHECK(condition) \
	do { \
		if (!(condition)) \
			FAIL("%s is false", #condition); \
	} while (0)

static inline uint64_t native_env(const char *name)
{
	const char *value = getenv(name);

	if (!value)
		FAIL("%s is not set", name);
	return strtoull(value, NULL, 0);
}

static inline struct vgpu_session *native_open(void)
{
	struct vgpu_session *gpu;

	OK(vgpu_session_open(NULL, &gpu));
	return gpu;
}

/* Nothing that was posted was wrong, whatever else happened. */
static inline void native_close(struct vgpu_session *gpu)
{
	struct vgpu_session_counters c;

	OK(vgpu_session_counters(gpu, &c));
	if (c.posted_errors)
		FAIL("%llu posted calls failed, the first with %s", (unsigned long long)c.posted_errors,
		     vgpu_status_name(c.posted_error));
	OK(vgpu_session_close(gpu));
}

/* Bytes that tell position and seed. */
static inline void native_fill(void *memory, size_t bytes, uint32_t seed)
{
	uint8_t *p = memory;

	for (size_t i = 0; i < bytes; i++)
		p[i] = (uint8_t)((i * 2654435761u + seed * 97) >> 11);
}

/* wait(flag): ends when *flag is not 0. set(flag). spin(n): n rounds. fill(p, value, n): n words. */
static const char native_ptx[] =
	".version 7.0\n.target sm_70\n.address_size 64\n"
	".visible .entry wait_flag(.param .u64 pf)\n{\n"
	"	.reg .pred %p;\n	.reg .b32 %r;\n	.reg .b64 %a;\n"
	"	ld.param.u64 %a, [pf];\n	cvta.to.global.u64 %a, %a;\n"
	"AGAIN:\n	ld.volatile.global.u32 %r, [%a];\n	setp.eq.u32 %p, %r, 0;\n	@%p bra AGAIN;\n	ret;\n}\n"
	".visible .entry set_flag(.param .u64 pf)\n{\n"
	"	.reg .b32 %r;\n	.reg .b64 %a;\n"
	"	ld.param.u64 %a, [pf];\n	cvta.to.global.u64 %a, %a;\n"
	"	mov.u32 %r, 1;\n	st.volatile.global.u32 [%a], %r;\n	ret;\n}\n"
	".visible .entry add_one(.param .u64 pf)\n{\n"
	"	.reg .b32 %r;\n	.reg .b64 %a;\n"
	"	ld.param.u64 %a, [pf];\n	cvta.to.global.u64 %a, %a;\n"
	"	ld.global.u32 %r, [%a];\n	add.u32 %r, %r, 1;\n	st.global.u32 [%a], %r;\n	ret;\n}\n"
	".visible .entry bad_address(.param .u64 pf)\n{\n"
	"	.reg .b32 %r;\n	.reg .b64 %a;\n"
	"	ld.param.u64 %a, [pf];\n	cvta.to.global.u64 %a, %a;\n"
	"	mov.u32 %r, 1;\n	st.global.u32 [%a], %r;\n	ret;\n}\n";

static const struct vgpu_dim3 native_one = { 1, 1, 1 };

static inline struct vgpu_module *native_module(struct vgpu_session *gpu)
{
	struct vgpu_module *module;
	char log[2048];

	if (vgpu_module_load(gpu, native_ptx, strlen(native_ptx), log, sizeof(log), &module))
		FAIL("module: %s\n%s", vgpu_session_error_text(), log);
	return module;
}

static inline struct vgpu_function *native_function(struct vgpu_module *module, const char *name)
{
	struct vgpu_function *function;

	OK(vgpu_function_get(module, name, &function));
	return function;
}

static inline void native_launch(struct vgpu_function *function, uint64_t address, struct vgpu_stream *stream)
{
	OK(vgpu_launch(function, native_one, native_one, 0, stream, (void *[]){ &address }));
}

#endif
