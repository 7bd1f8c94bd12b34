/* SPDX-License-Identifier: MIT */
/* A session with a host in the test's own process, over the real local transport. */
#ifndef VGPU_LIBVGPU_BENCH_TEST_H
#define VGPU_LIBVGPU_BENCH_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/libvgpu/fake_host.h"
#include "client/libvgpu/internal.h"

#define MIB (1u << 20)
#define OK(call) assert_int_equal((call), VGPU_OK)

static char path[64], transport[80];
static struct fake_host *host;
static struct vgpu_session *gpu;

/* A test that fails does not get to its teardown. */
static void bench_remove(void)
{
	unlink(path);
}

static int bench_setup(uint64_t window_bytes)
{
	struct vgpu_open_options o = { .size = sizeof(o), .transport = transport };

	if (!*path) {
		snprintf(path, sizeof(path), "/tmp/vgpu-libvgpu-test.%d", (int)getpid());
		snprintf(transport, sizeof(transport), "local:%s", path);
		if (atexit(bench_remove))
			return -1;
	}
	host = fake_host_start(path, window_bytes);
	gpu = NULL;
	return (int)vgpu_session_open(&o, &gpu);
}

static int bench_teardown(void **state)
{
	assert_int_equal(fake_host_counters(host).malformed, 0);
	assert_int_equal(fake_host_counters(host).backlog_broken, 0);
	OK(vgpu_session_close(gpu));
	fake_host_stop(host);
	return 0;
}

#endif
