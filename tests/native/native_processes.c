// SPDX-License-Identifier: MIT
/* Eight processes at once, fork with a session open, and a process that faults beside others. */
#include "tests/native/native.h"

#include <sys/wait.h>
#include <unistd.h>

extern void __tsan_init(void) __attribute__((weak));

enum { PROCESSES = 8, BYTES = 3000000 };

static int one(unsigned int seed)
{
	struct vgpu_session *gpu = native_open();
	struct vgpu_module *module = native_module(gpu);
	struct vgpu_function *add_one = native_function(module, "add_one");
	uint8_t *from = malloc(BYTES), *to = malloc(BYTES);
	uint64_t device, counter;
	uint32_t count;

	CHECK(from && to);
	OK(vgpu_malloc(gpu, BYTES, &device));
	OK(vgpu_malloc(gpu, 4, &counter));
	OK(vgpu_memset32(gpu, counter, 0, 1));
	for (unsigned int i = 0; i < 10; i++) {
		native_fill(from, BYTES, seed * 100 + i);
		OK(vgpu_copy_h2d(gpu, device, from, BYTES));
		for (int k = 0; k < 100; k++)
			native_launch(add_one, counter, NULL);
		OK(vgpu_copy_d2h(gpu, to, device, BYTES));
		CHECK(!memcmp(from, to, BYTES));
	}
	OK(vgpu_copy_d2h(gpu, &count, counter, 4));
	CHECK(count == 1000);
	free(from);
	free(to);
	native_close(gpu);
	return 0;
}

/* A kernel with a bad address: this session is lost, with CUDA's error, and no other. */
static int faulty(void)
{
	struct vgpu_session *gpu = native_open();
	struct vgpu_function *bad = native_function(native_module(gpu), "bad_address");
	uint64_t address;
	vgpu_status status;

	(void)vgpu_launch(bad, native_one, native_one, 0, NULL, (void *[]){ &(uint64_t){ 0x1234560000 } });
	status = vgpu_synchronize(gpu);
	if (status != 700)
		FAIL("a bad address: %s (%s)", vgpu_status_name(status), vgpu_session_error_text());
	GIVES(700, vgpu_malloc(gpu, 1, &address)); /* and it stays */
	OK(vgpu_session_close(gpu));
	return one(99); /* a new session works at once */
}

static int forked(void)
{
	struct vgpu_session *gpu = native_open(), *own;
	uint64_t address;
	int status;
	pid_t child;

	OK(vgpu_malloc(gpu, 100, &address));
	child = fork();
	if (!child) {
		GIVES(VGPU_ERROR_CALL_FORKED, vgpu_malloc(gpu, 100, &address));
		GIVES(VGPU_ERROR_CALL_FORKED, vgpu_synchronize(gpu));
		GIVES(VGPU_ERROR_CALL_FORKED, vgpu_copy_h2d(gpu, address, &address, 4));
		if (__tsan_init) /* it allows no threads in a forked child */
			_exit(0);
		own = native_open();
		OK(vgpu_session_close(gpu));
		OK(vgpu_malloc(own, 100, &address));
		native_close(own);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && !WEXITSTATUS(status));
	OK(vgpu_copy_h2d(gpu, address, &address, 8)); /* the parent's is whole */
	OK(vgpu_synchronize(gpu));
	native_close(gpu);
	return 0;
}

int main(void)
{
	pid_t child[PROCESSES + 1];
	int status, failed = 0;

	for (unsigned int i = 0; i <= PROCESSES; i++) {
		child[i] = fork();
		if (!child[i])
			_exit(i < PROCESSES ? one(i) : faulty());
	}
	for (unsigned int i = 0; i <= PROCESSES; i++) {
		CHECK(waitpid(child[i], &status, 0) == child[i]);
		if (!WIFEXITED(status) || WEXITSTATUS(status)) {
			fprintf(stderr, "process %u ended with %#x\n", i, status);
			failed = 1;
		}
	}
	return failed ? 1 : forked();
}
