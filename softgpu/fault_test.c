/* SPDX-License-Identifier: MIT */
/* Configuration and injected faults. Each case is a process of its own, since both are read once by cuInit. */
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "softgpu/testlib.h"

static CUfunction empty;

static void start(const char *config)
{
	setenv("SOFTGPU", config, 1);
	assert_int_equal(softgpu_test_setup(NULL), 0);
	empty = softgpu_test_function(softgpu_test_module("basic.ptx"), "empty");
}

static CUresult run_empty(void)
{
	return RUN(empty, 2, 32, 0, NULL);
}

/* cmocka's failures jump out of the body, in the child into a copy of the test's runner: that must not go on. */
static void in_child(void (*body)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		setenv("CMOCKA_TEST_ABORT", "1", 1); /* a failed check ends the child */
		body();
		_exit(0);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void body_config(void)
{
	size_t total;
	int count, version, value;

	start("vram=64M,devices=3,driver=12040,multiprocessors=5,threads=2,spin_us=0");
	OK(cu.cuDeviceGetCount(&count));
	OK(cu.cuDriverGetVersion(&version));
	OK(cu.cuDeviceTotalMem(&total, 2));
	OK(cu.cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
	if (count != 3 || version != 12040 || total != 64 << 20 || value != 5)
		_exit(2);
	OK(run_empty());
}

static void body_bad_config(void)
{
	char err[256];

	setenv("SOFTGPU", "vram=64M,colour=blue", 1);
	if (cuda_driver_load(getenv("SOFTGPU_LIBRARY"), &cu, err, sizeof(err)))
		_exit(2);
	IS(CUDA_ERROR_UNKNOWN, cu.cuInit(0));
}

static void body_file(void)
{
	char path[] = "/tmp/softgpu-XXXXXX";
	int fd = mkstemp(path);
	size_t total;

	if (fd < 0 || dprintf(fd, "# a device of little memory\nvram=16M\n") < 0)
		_exit(2);
	setenv("SOFTGPU_CONFIG", path, 1);
	start("");
	unlink(path);
	OK(cu.cuDeviceTotalMem(&total, 0));
	if (total != 16 << 20)
		_exit(3);
}

static void body_fault_launch(void)
{
	start("fault_launch=3");
	OK(run_empty());
	OK(run_empty());
	IS(CUDA_ERROR_ILLEGAL_ADDRESS, run_empty());
	IS(CUDA_ERROR_ILLEGAL_ADDRESS, run_empty());
}

static void body_fault_kernel(void)
{
	start("fault_kernel=em*");
	IS(CUDA_ERROR_ILLEGAL_ADDRESS, run_empty());
}

static void body_endless(void)
{
	start("endless_kernel=empty");
	OK(cu.cuLaunchKernel(empty, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	usleep(20000);
	IS(CUDA_ERROR_NOT_READY, cu.cuStreamQuery(NULL));
}

static void body_endless_launch(void)
{
	start("endless_launch=2");
	OK(run_empty());
	OK(cu.cuLaunchKernel(empty, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	usleep(20000);
	IS(CUDA_ERROR_NOT_READY, cu.cuStreamQuery(NULL));
}

static void body_fail_alloc(void)
{
	CUdeviceptr address;

	start("fail_alloc=2");
	OK(cu.cuMemAlloc(&address, 100));
	IS(CUDA_ERROR_OUT_OF_MEMORY, cu.cuMemAlloc(&address, 100));
	OK(cu.cuMemAlloc(&address, 100));
}

static void body_slow_copy(void)
{
	static char data[200000];
	struct timespec before, after;
	CUdeviceptr address;

	start("copy_rate=1M");
	OK(cu.cuMemAlloc(&address, sizeof(data)));
	clock_gettime(CLOCK_MONOTONIC, &before);
	OK(cu.cuMemcpyHtoD(address, data, sizeof(data)));
	clock_gettime(CLOCK_MONOTONIC, &after);
	if ((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 < 150)
		_exit(2);
}

static void body_lost(void)
{
	CUcontext context;

	start("lost_launch=2");
	OK(run_empty());
	IS(CUDA_ERROR_DEVICE_UNAVAILABLE, run_empty());
	IS(CUDA_ERROR_DEVICE_UNAVAILABLE, cu.cuCtxSynchronize());
	IS(CUDA_ERROR_DEVICE_UNAVAILABLE, cu.cuCtxCreate(&context, 0, 0));
}

static void body_ecc(void)
{
	start("ecc_launch=1");
	IS(CUDA_ERROR_ECC_UNCORRECTABLE, run_empty());
	IS(CUDA_ERROR_ECC_UNCORRECTABLE, cu.cuCtxSynchronize());
}

/* A kernel that ends only with its process, in one context; another context's fault ends its own at once. */
static void body_fault_ends_others(void)
{
	CUfunction endless, write;
	CUdeviceptr never, bad = 64;
	unsigned int value = 1;
	CUmodule module;
	CUstream a, b;

	start("");
	module = softgpu_test_module("basic.ptx");
	endless = softgpu_test_function(module, "endless");
	write = softgpu_test_function(module, "write_oob");
	never = softgpu_test_upload(NULL, 4);
	OK(cu.cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
	OK(cu.cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
	OK(cu.cuLaunchKernel(endless, 9, 1, 1, 64, 1, 1, 0, a, (void *[]){ &never }, NULL));
	OK(cu.cuLaunchKernel(write, 1, 1, 1, 1, 1, 1, 0, b, (void *[]){ &bad, &value }, NULL));
	IS(CUDA_ERROR_ILLEGAL_ADDRESS, cu.cuStreamSynchronize(b));
	IS(CUDA_ERROR_ILLEGAL_ADDRESS, cu.cuCtxSynchronize());
}

/* Worker threads do not survive a fork, so nothing works in the child; and it says so. */
static void body_fork(void)
{
	int status, count;
	pid_t pid;

	start("");
	OK(run_empty());
	pid = fork();
	if (!pid)
		_exit(cu.cuDeviceGetCount(&count) == CUDA_ERROR_NOT_INITIALIZED &&
				      cu.cuInit(0) == CUDA_ERROR_NOT_INITIALIZED ?
			      0 :
			      1);
	if (waitpid(pid, &status, 0) != pid || status)
		_exit(2);
}

#define CASE(name)                                                                                                     \
	static void test_##name(void **state)                                                                          \
	{                                                                                                              \
		in_child(body_##name);                                                                                 \
	}
CASE(config)
CASE(bad_config)
CASE(file)
CASE(fault_launch)
CASE(fault_kernel)
CASE(endless)
CASE(endless_launch)
CASE(fail_alloc)
CASE(slow_copy)
CASE(lost)
CASE(ecc)
CASE(fault_ends_others)
CASE(fork)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config),	       cmocka_unit_test(test_bad_config),
		cmocka_unit_test(test_file),	       cmocka_unit_test(test_fault_launch),
		cmocka_unit_test(test_fault_kernel),   cmocka_unit_test(test_endless),
		cmocka_unit_test(test_endless_launch), cmocka_unit_test(test_fail_alloc),
		cmocka_unit_test(test_slow_copy),      cmocka_unit_test(test_lost),
		cmocka_unit_test(test_ecc),	       cmocka_unit_test(test_fault_ends_others),
		cmocka_unit_test(test_fork),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
