/* SPDX-License-Identifier: MIT */
/* Streams, events, memory and contexts behave as CUDA's do. */
#include <pthread.h>
#include <unistd.h>
#include <sys/mman.h>

#include "softgpu/testlib.h"

static CUmodule basic;

static int setup(void **state)
{
	int error = softgpu_test_setup(state);

	if (!error)
		basic = softgpu_test_module("basic.ptx");
	return error;
}

static CUfunction function(const char *name)
{
	return softgpu_test_function(basic, name);
}

static void launch(CUfunction f, CUstream stream, void **params)
{
	OK(cu.cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL));
}

/* A pinned flag, and kernels that wait for it and set it. */
struct flag {
	volatile unsigned int *host;
	CUdeviceptr device;
};

static struct flag flag_new(void)
{
	struct flag flag;

	OK(cu.cuMemHostAlloc((void **)&flag.host, 4096, CU_MEMHOSTALLOC_DEVICEMAP));
	OK(cu.cuMemHostGetDevicePointer(&flag.device, (void *)flag.host, 0));
	assert_true(flag.device == (CUdeviceptr)(uintptr_t)flag.host);
	return flag;
}

static void spin(struct flag *flag, CUstream stream, unsigned int value)
{
	launch(function("spin_flag"), stream, (void *[]){ &flag->device, &value });
}

static void set(struct flag *flag, CUstream stream, unsigned int value)
{
	launch(function("set_flag"), stream, (void *[]){ &flag->device, &value });
}

static void test_device(void **state)
{
	int count, value, version;
	size_t total, free_bytes;
	char name[64];
	const char *text;

	OK(cu.cuDeviceGetCount(&count));
	assert_int_equal(count, 1);
	OK(cu.cuDeviceGetName(name, sizeof(name), 0));
	assert_string_equal(name, "vgpu software GPU");
	OK(cu.cuDeviceTotalMem(&total, 0));
	OK(cu.cuMemGetInfo(&free_bytes, &total));
	assert_true(free_bytes <= total);
	OK(cu.cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 0));
	assert_int_equal(value, 32);
	OK(cu.cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS, 0));
	assert_int_equal(value, 0);
	IS(CUDA_ERROR_INVALID_DEVICE, cu.cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 1));
	OK(cu.cuDriverGetVersion(&version));
	assert_int_equal(version, 13000);
	OK(cu.cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
	assert_string_equal(text, "CUDA_ERROR_ILLEGAL_ADDRESS");
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuGetErrorName((CUresult)12345, &text));
}

/* Launches return while the kernel runs; another stream's kernel lets it end. */
static void test_streams_run_at_once(void **state)
{
	struct flag flag = flag_new();
	CUstream a, b;

	OK(cu.cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
	OK(cu.cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
	spin(&flag, a, 7);
	IS(CUDA_ERROR_NOT_READY, cu.cuStreamQuery(a));
	OK(cu.cuStreamSynchronize(b));
	set(&flag, b, 7);
	OK(cu.cuStreamSynchronize(a));
	OK(cu.cuStreamQuery(a));
	OK(cu.cuStreamDestroy(a));
	OK(cu.cuStreamDestroy(b));
	IS(CUDA_ERROR_INVALID_HANDLE, cu.cuStreamQuery(a));
	OK(cu.cuMemFreeHost((void *)flag.host));
}

/* The host sets the flag while many streams spin: each has a thread of its own. */
static void test_many_spinning_streams(void **state)
{
	struct flag flag = flag_new();
	CUstream streams[16];

	for (int i = 0; i < 16; i++) {
		OK(cu.cuStreamCreate(&streams[i], CU_STREAM_NON_BLOCKING));
		spin(&flag, streams[i], 3);
	}
	*flag.host = 3;
	OK(cu.cuCtxSynchronize());
	for (int i = 0; i < 16; i++)
		OK(cu.cuStreamDestroy(streams[i]));
	OK(cu.cuMemFreeHost((void *)flag.host));
}

static void *release_later(void *argument)
{
	struct flag *flag = argument;

	usleep(50000);
	__atomic_store_n(flag->host, 1, __ATOMIC_RELAXED);
	return NULL;
}

/* The 1,025th command waits for room: while the first one spins, only a release from elsewhere lets it in. */
static void test_depth(void **state)
{
	struct flag flag = flag_new();
	CUfunction empty = function("empty");
	CUstream stream;
	pthread_t thread;

	OK(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	spin(&flag, stream, 1);
	for (int i = 0; i < 1023; i++)
		launch(empty, stream, NULL);
	assert_int_equal(*flag.host, 0);
	pthread_create(&thread, NULL, release_later, &flag);
	launch(empty, stream, NULL);
	assert_int_equal(__atomic_load_n(flag.host, __ATOMIC_RELAXED), 1);
	pthread_join(thread, NULL);
	OK(cu.cuStreamSynchronize(stream));
	OK(cu.cuStreamDestroy(stream));
	OK(cu.cuMemFreeHost((void *)flag.host));
}

/* The legacy stream waits for blocking streams and they for it; non-blocking ones do neither. */
static void test_legacy_stream(void **state)
{
	struct flag flag = flag_new();
	CUstream blocking, other, free_stream;
	CUfunction empty = function("empty");

	OK(cu.cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
	OK(cu.cuStreamCreate(&other, CU_STREAM_DEFAULT));
	OK(cu.cuStreamCreate(&free_stream, CU_STREAM_NON_BLOCKING));
	spin(&flag, blocking, 1);
	launch(empty, NULL, NULL);
	launch(empty, other, NULL);
	launch(empty, free_stream, NULL);
	OK(cu.cuStreamSynchronize(free_stream));
	IS(CUDA_ERROR_NOT_READY, cu.cuStreamQuery(NULL));
	IS(CUDA_ERROR_NOT_READY, cu.cuStreamQuery(other));
	*flag.host = 1;
	OK(cu.cuStreamSynchronize(other));
	OK(cu.cuStreamQuery(NULL));
	OK(cu.cuStreamQuery(blocking));
	OK(cu.cuStreamDestroy(blocking));
	OK(cu.cuStreamDestroy(other));
	OK(cu.cuStreamDestroy(free_stream));
	OK(cu.cuMemFreeHost((void *)flag.host));
}

static void test_events(void **state)
{
	struct flag flag = flag_new();
	CUstream a, b;
	CUevent first, second, untimed;
	float ms;

	OK(cu.cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
	OK(cu.cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
	OK(cu.cuEventCreate(&first, CU_EVENT_DEFAULT));
	OK(cu.cuEventCreate(&second, CU_EVENT_DEFAULT));
	OK(cu.cuEventCreate(&untimed, CU_EVENT_DISABLE_TIMING));
	OK(cu.cuEventQuery(first)); /* never recorded: nothing to wait for */
	IS(CUDA_ERROR_INVALID_HANDLE, cu.cuEventElapsedTime(&ms, first, second));
	OK(cu.cuEventRecord(first, a));
	spin(&flag, a, 1);
	OK(cu.cuEventRecord(second, a));
	OK(cu.cuStreamWaitEvent(b, second, 0));
	launch(function("empty"), b, NULL);
	OK(cu.cuEventSynchronize(first));
	IS(CUDA_ERROR_NOT_READY, cu.cuEventQuery(second));
	IS(CUDA_ERROR_NOT_READY, cu.cuStreamQuery(b));
	IS(CUDA_ERROR_NOT_READY, cu.cuEventElapsedTime(&ms, first, second));
	usleep(2000);
	*flag.host = 1;
	OK(cu.cuStreamSynchronize(b));
	OK(cu.cuEventQuery(second));
	OK(cu.cuEventElapsedTime(&ms, first, second));
	assert_true(ms >= 2);
	OK(cu.cuEventRecord(untimed, a));
	OK(cu.cuEventSynchronize(untimed));
	IS(CUDA_ERROR_INVALID_HANDLE, cu.cuEventElapsedTime(&ms, first, untimed));
	OK(cu.cuEventDestroy(first));
	IS(CUDA_ERROR_INVALID_HANDLE, cu.cuEventQuery(first));
	OK(cu.cuEventDestroy(second));
	OK(cu.cuEventDestroy(untimed));
	OK(cu.cuStreamDestroy(a));
	OK(cu.cuStreamDestroy(b));
	OK(cu.cuMemFreeHost((void *)flag.host));
}

static void *free_in_thread(void *argument)
{
	CUdeviceptr *address = argument;
	CUcontext context;

	OK(cu.cuDevicePrimaryCtxRetain(&context, 0));
	OK(cu.cuCtxSetCurrent(context));
	OK(cu.cuMemFree(*address));
	__atomic_store_n(address, 0, __ATOMIC_RELAXED);
	OK(cu.cuDevicePrimaryCtxRelease(0));
	return NULL;
}

/* cuMemFree waits for all that runs. */
static void test_free_waits(void **state)
{
	struct flag flag = flag_new();
	CUdeviceptr memory = softgpu_test_upload(NULL, 100);
	CUstream stream;
	pthread_t thread;

	OK(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	spin(&flag, stream, 1);
	pthread_create(&thread, NULL, free_in_thread, &memory);
	usleep(20000);
	assert_true(__atomic_load_n(&memory, __ATOMIC_RELAXED) != 0);
	*flag.host = 1;
	pthread_join(thread, NULL);
	assert_true(memory == 0);
	OK(cu.cuStreamDestroy(stream));
	OK(cu.cuMemFreeHost((void *)flag.host));
}

static void test_values(void **state)
{
	CUdeviceptr word = softgpu_test_upload(NULL, 16);
	unsigned long long got[2];
	CUstream a, b;

	OK(cu.cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
	OK(cu.cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
	OK(cu.cuStreamWaitValue32(a, word, 5, CU_STREAM_WAIT_VALUE_GEQ));
	OK(cu.cuStreamWaitValue32(a, word, 0x100, CU_STREAM_WAIT_VALUE_AND));
	OK(cu.cuStreamWriteValue64(a, word + 8, 0x123456789abcdefull, 0));
	OK(cu.cuStreamWriteValue32(b, word, 6, 0));
	OK(cu.cuStreamSynchronize(b));
	IS(CUDA_ERROR_NOT_READY, cu.cuStreamQuery(a));
	OK(cu.cuStreamWriteValue32(b, word, 0x105, 0));
	OK(cu.cuStreamWaitValue64(b, word + 8, 0x123456789abcdefull, CU_STREAM_WAIT_VALUE_EQ));
	OK(cu.cuStreamSynchronize(b));
	softgpu_test_download(got, word, sizeof(got));
	assert_true(got[0] == 0x105 && got[1] == 0x123456789abcdefull);
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuStreamWriteValue32(a, word + 2, 1, 0));
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuStreamWriteValue32(a, 0x1234000, 1, 0));
	OK(cu.cuStreamDestroy(a));
	OK(cu.cuStreamDestroy(b));
	OK(cu.cuMemFree(word));
}

static void note(void *data)
{
	++*(volatile int *)data;
}

static void note_status(CUstream stream, CUresult status, void *data)
{
	*(volatile int *)data += status == CUDA_SUCCESS ? 100 : 10000;
}

static void test_host_functions(void **state)
{
	volatile int count = 0;
	CUstream stream;

	OK(cu.cuStreamCreate(&stream, CU_STREAM_DEFAULT));
	OK(cu.cuLaunchHostFunc(stream, note, (void *)&count));
	OK(cu.cuStreamAddCallback(stream, note_status, (void *)&count, 0));
	OK(cu.cuStreamDestroy(stream));
	OK(cu.cuCtxSynchronize()); /* also what a destroyed stream still had to do */
	assert_int_equal(count, 101);
}

static void test_copies(void **state)
{
	enum { SIZE = 3000001 };
	unsigned char *from = malloc(SIZE), *to = malloc(SIZE), *pinned;
	CUdeviceptr a, b;
	CUstream stream;

	assert_true(from && to);
	for (int i = 0; i < SIZE; i++)
		from[i] = (unsigned char)(i * 7 + i / 251);
	a = softgpu_test_upload(from, SIZE);
	b = softgpu_test_upload(NULL, SIZE);
	OK(cu.cuMemHostAlloc((void **)&pinned, SIZE, 0));
	OK(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	OK(cu.cuMemcpyDtoDAsync(b + 1, a, SIZE - 1, stream));
	OK(cu.cuMemcpyDtoHAsync(pinned, b, SIZE, stream));
	OK(cu.cuStreamSynchronize(stream));
	assert_memory_equal(pinned + 1, from, SIZE - 1);
	OK(cu.cuMemcpyDtoHAsync(to, a + 3, SIZE - 3, stream)); /* pageable: done on return */
	assert_memory_equal(to, from + 3, SIZE - 3);
	memset(to, 1, 1000);
	OK(cu.cuMemcpyHtoDAsync(b, to, 1000, stream));
	memset(to, 2, 1000); /* the source may change at once */
	OK(cu.cuMemcpyDtoHAsync(pinned, b, 1000, stream));
	OK(cu.cuStreamSynchronize(stream));
	for (int i = 0; i < 1000; i++)
		assert_int_equal(pinned[i], 1);
	OK(cu.cuMemcpy((CUdeviceptr)(uintptr_t)to, a, 77));
	assert_memory_equal(to, from, 77);
	OK(cu.cuMemcpyHtoD(a, from, 0));
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyHtoD(a, from, SIZE + 1));
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyDtoH(to, a + SIZE, 1));
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyDtoD(a, 0x1000, 1));
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpy(a, b + SIZE + 100, 1));
	OK(cu.cuStreamDestroy(stream));
	OK(cu.cuMemFreeHost(pinned));
	OK(cu.cuMemFree(a));
	OK(cu.cuMemFree(b));
	free(from);
	free(to);
}

static void test_fills(void **state)
{
	CUdeviceptr memory = softgpu_test_upload(NULL, 256);
	unsigned char got[256];
	unsigned int word;

	OK(cu.cuMemsetD8(memory, 0x11, 256));
	OK(cu.cuMemsetD16(memory + 2, 0x2233, 3));
	OK(cu.cuMemsetD32(memory + 16, 0x44556677, 2));
	OK(cu.cuMemsetD2D8(memory + 64, 32, 0x88, 5, 3));
	OK(cu.cuMemsetD2D32(memory + 192, 16, 0x99aabbcc, 2, 4));
	softgpu_test_download(got, memory, sizeof(got));
	assert_int_equal(got[1], 0x11);
	assert_int_equal(got[2], 0x33);
	assert_int_equal(got[7], 0x22);
	assert_int_equal(got[8], 0x11);
	memcpy(&word, got + 20, 4);
	assert_int_equal(word, 0x44556677);
	assert_int_equal(got[24], 0x11);
	for (int i = 64; i < 160; i++)
		assert_int_equal(got[i], (i - 64) % 32 < 5 ? 0x88 : 0x11);
	memcpy(&word, got + 192 + 48 + 4, 4);
	assert_int_equal(word, 0x99aabbcc);
	assert_int_equal(got[192 + 8], 0x11);
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuMemsetD8(memory + 200, 0, 57));
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuMemsetD32(memory + 2, 0, 1));
	OK(cu.cuMemFree(memory));
}

static void test_memory(void **state)
{
	CUdeviceptr a, base;
	size_t size, total, before, after, pitch;
	unsigned int type, flags;
	int ordinal;
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CUpointer_attribute wanted[] = { CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_RANGE_SIZE };
	void *where[] = { &type, &size };

	OK(cu.cuMemGetInfo(&before, &total));
	OK(cu.cuMemAlloc(&a, 5000));
	assert_int_equal(a % 256, 0);
	OK(cu.cuMemGetInfo(&after, &total));
	assert_int_equal(before - after, 8192);
	OK(cu.cuMemGetAddressRange(&base, &size, a + 4999));
	assert_true(base == a && size == 5000);
	IS(CUDA_ERROR_NOT_FOUND, cu.cuMemGetAddressRange(&base, &size, a + 5000));
	OK(cu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, a + 10));
	assert_int_equal(type, CU_MEMORYTYPE_DEVICE);
	OK(cu.cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, a));
	assert_int_equal(ordinal, 0);
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, 4096));
	OK(cu.cuPointerGetAttributes(2, wanted, where, 4096));
	assert_true(type == 0 && size == 0);
	IS(CUDA_ERROR_OUT_OF_MEMORY, cu.cuMemAlloc(&base, total + 1));
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuMemAlloc(&base, 0));
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuMemFree(a + 1));
	OK(cu.cuMemFree(a));
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuMemFree(a));
	OK(cu.cuMemFree(0));
	OK(cu.cuMemGetInfo(&after, &total));
	assert_true(before == after);
	OK(cu.cuMemAllocPitch(&a, &pitch, 100, 10, 4));
	assert_int_equal(pitch, 512);
	OK(cu.cuMemFree(a));
	OK(cu.cuMemHostRegister(pages, 8192, CU_MEMHOSTREGISTER_DEVICEMAP));
	IS(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cu.cuMemHostRegister(pages + 4096, 4096, 0));
	OK(cu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr)(uintptr_t)pages));
	assert_int_equal(type, CU_MEMORYTYPE_HOST);
	OK(cu.cuMemHostGetFlags(&flags, pages));
	assert_true(flags & CU_MEMHOSTREGISTER_DEVICEMAP);
	OK(cu.cuMemHostUnregister(pages));
	IS(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cu.cuMemHostUnregister(pages));
	munmap(pages, 8192);
}

/* Contexts of one's own: an error stays in the one where it happened. */
static void test_sticky_error(void **state)
{
	CUcontext primary, own;
	CUdeviceptr memory, bad;
	CUmodule module;
	CUfunction write, empty;
	CUstream stream;
	unsigned int value = 5, got;

	OK(cu.cuCtxGetCurrent(&primary));
	OK(cu.cuCtxCreate(&own, 0, 0));
	module = softgpu_test_module("basic.ptx");
	write = softgpu_test_function(module, "write_oob");
	empty = softgpu_test_function(module, "empty");
	OK(cu.cuStreamCreate(&stream, 0));
	memory = softgpu_test_upload(NULL, 102);
	bad = memory + 96;
	launch(write, stream, (void *[]){ &bad, &value });
	OK(cu.cuStreamSynchronize(stream));
	softgpu_test_download(&got, bad, 4);
	assert_int_equal(got, 5);
	bad = memory + 100; /* the last two bytes are beyond the end */
	launch(write, stream, (void *[]){ &bad, &value });
	IS(CUDA_ERROR_ILLEGAL_ADDRESS, cu.cuStreamSynchronize(stream));
	IS(CUDA_ERROR_ILLEGAL_ADDRESS, cu.cuLaunchKernel(empty, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL));
	IS(CUDA_ERROR_ILLEGAL_ADDRESS, cu.cuMemAlloc(&bad, 100));
	IS(CUDA_ERROR_ILLEGAL_ADDRESS, cu.cuCtxSynchronize());
	IS(CUDA_ERROR_ILLEGAL_ADDRESS, cu.cuMemFree(memory));
	OK(cu.cuCtxDestroy(own));
	OK(cu.cuCtxGetCurrent(&own));
	assert_true(own == primary);
	launch(function("empty"), NULL, NULL);
	OK(cu.cuCtxSynchronize());
}

/* Each bad address, each misalignment ends its own context only, with its own error. */
static void expect_fault(CUdeviceptr address, CUresult expected)
{
	CUdeviceptr out;
	CUcontext own;
	CUfunction read;

	OK(cu.cuCtxCreate(&own, 0, 0));
	read = softgpu_test_function(softgpu_test_module("basic.ptx"), "read64");
	out = softgpu_test_upload(NULL, 8);
	IS(expected, RUN(read, 1, 1, 0, &address, &out));
	OK(cu.cuCtxDestroy(own));
}

static void test_faults(void **state)
{
	static unsigned long long host_variable;
	CUdeviceptr memory = softgpu_test_upload(NULL, 64);

	expect_fault(0, CUDA_ERROR_ILLEGAL_ADDRESS);
	expect_fault((CUdeviceptr)(uintptr_t)&host_variable, CUDA_ERROR_ILLEGAL_ADDRESS);
	expect_fault(memory, CUDA_ERROR_ILLEGAL_ADDRESS); /* another context's */
	expect_fault(UINT64_MAX - 7, CUDA_ERROR_ILLEGAL_ADDRESS);
	expect_fault(0x7f00000000000000ull, CUDA_ERROR_ILLEGAL_ADDRESS); /* no shared memory in this kernel */
	expect_fault(0x7c00000000000010ull, CUDA_ERROR_ILLEGAL_ADDRESS);
	expect_fault(memory + 4, CUDA_ERROR_MISALIGNED_ADDRESS);
	OK(cu.cuMemFree(memory));
}

static void test_launch_checks(void **state)
{
	CUfunction empty = function("empty"), scan;
	int value;

	IS(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(empty, 0, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(empty, 1, 65536, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(empty, 1, 1, 1, 1025, 1, 1, 0, NULL, NULL, NULL));
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(empty, 1, 1, 1, 32, 33, 1, 0, NULL, NULL, NULL));
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(empty, 1, 1, 1, 1, 1, 65, 0, NULL, NULL, NULL));
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(empty, 1, 1, 1, 1, 1, 1, 49 << 10, NULL, NULL, NULL));
	IS(CUDA_ERROR_INVALID_HANDLE, cu.cuLaunchKernel((CUfunction)&value, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	IS(CUDA_ERROR_INVALID_HANDLE,
	   cu.cuLaunchKernel(empty, 1, 1, 1, 1, 1, 1, 0, (CUstream)&value, NULL, NULL));
	OK(cu.cuFuncSetAttribute(empty, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 227 << 10));
	OK(cu.cuLaunchKernel(empty, 1, 1, 1, 1, 1, 1, 227 << 10, NULL, NULL, NULL));
	IS(CUDA_ERROR_INVALID_VALUE,
	   cu.cuFuncSetAttribute(empty, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (227 << 10) + 1));
	OK(cu.cuCtxSynchronize());
	scan = softgpu_test_function(softgpu_test_module("reduce.ptx"), "reduce_sum");
	OK(cu.cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, scan));
	assert_int_equal(value, 1024);
	OK(cu.cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, scan));
	assert_int_equal(value, 1024);
	OK(cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(&value, scan, 256, 0));
	assert_int_equal(value, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_device),
		cmocka_unit_test(test_streams_run_at_once),
		cmocka_unit_test(test_many_spinning_streams),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_legacy_stream),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_free_waits),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_host_functions),
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_fills),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_sticky_error),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_launch_checks),
	};

	return cmocka_run_group_tests(tests, setup, softgpu_test_teardown);
}
