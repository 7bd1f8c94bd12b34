// SPDX-License-Identifier: MIT
/*
 * The same calls to the CUDA driver and to libvgpu: a random sequence of copies of every size and
 * alignment, memsets and kernels, and the same bytes everywhere after it. What the driver refuses
 * libvgpu refuses too. The driver's side is a child process, so that device addresses of the two do
 * not meet; both go through the same sequence and compare through shared memory. run.py names the
 * driver in VGPU_DRIVER.
 */
#include "tests/native/native.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/cuda_abi.h"

enum {
	BUFFERS = 3,
	HOSTS = 2,   /* host memory: the first is pinned */
	STREAMS = 3, /* the first is the default stream */
	KERNELS = 2,
	STEPS = 400,
	LOOK_EACH = 40,
};

enum kernel { SAXPY, HISTOGRAM };

static const size_t buffer_bytes = 24 * MIB + 12;
static const char *const kernel_file[KERNELS] = { "vector.ptx", "reduce.ptx" };
static const char *const kernel_name[KERNELS] = { "saxpy", "histogram256" };

/* One way to the GPU. Calls return whether they succeeded. */
struct side {
	void (*open)(void);
	void (*close)(void);
	void (*load)(enum kernel k, const char *ptx, size_t bytes);
	void *(*alloc_pinned)(size_t bytes);
	uint64_t (*alloc)(size_t bytes);
	bool (*free)(uint64_t at);
	bool (*h2d)(uint64_t to, const void *from, size_t bytes, int stream, bool async);
	bool (*d2h)(void *to, uint64_t from, size_t bytes, int stream, bool async);
	bool (*d2d)(uint64_t to, uint64_t from, size_t bytes, int stream);
	bool (*set)(uint64_t at, unsigned int width, uint32_t value, size_t count, int stream);
	bool (*launch)(enum kernel k, uint32_t blocks, uint32_t threads, int stream, void **params);
	bool (*synchronize)(int stream);
};

/* Between the two processes. */
struct shared {
	pthread_barrier_t barrier;
	bool refused[16];
	uint8_t bytes[HOSTS + BUFFERS][24 * MIB + 12];
};

/* ---- the driver ---- */

static struct {
	struct cuda_driver cu;
	CUstream stream[STREAMS];
	CUfunction function[KERNELS];
} n;

#define CU(call) \
	do { \
		CUresult cu_ = n.cu.call; \
		if (cu_) \
			FAIL("%s: CUDA error %d", #call, (int)cu_); \
	} while (0)

static void native_side_open(void)
{
	const char *driver = getenv("VGPU_DRIVER");
	CUcontext context;
	CUdevice device;
	char err[256];

	if (cuda_driver_load(driver ? driver : "libcuda.so.1", &n.cu, err, sizeof(err)))
		FAIL("%s", err);
	CU(cuInit(0));
	CU(cuDeviceGet(&device, 0));
	CU(cuCtxCreate(&context, 0, device));
	for (int i = 1; i < STREAMS; i++)
		CU(cuStreamCreate(&n.stream[i], CU_STREAM_NON_BLOCKING));
}

static void native_side_close(void)
{
	CU(cuCtxSynchronize());
}

static void native_load(enum kernel k, const char *ptx, size_t bytes)
{
	CUmodule module;

	(void)bytes;
	CU(cuModuleLoadData(&module, ptx));
	CU(cuModuleGetFunction(&n.function[k], module, kernel_name[k]));
}

static void *native_alloc_pinned(size_t bytes)
{
	void *memory;

	CU(cuMemHostAlloc(&memory, bytes, 0));
	return memory;
}

static uint64_t native_alloc(size_t bytes)
{
	CUdeviceptr at;

	CU(cuMemAlloc(&at, bytes));
	return at;
}

static bool native_free(uint64_t at)
{
	return !n.cu.cuMemFree(at);
}

static bool native_h2d(uint64_t to, const void *from, size_t bytes, int stream, bool async)
{
	return !(async ? n.cu.cuMemcpyHtoDAsync(to, from, bytes, n.stream[stream]) : n.cu.cuMemcpyHtoD(to, from, bytes));
}

static bool native_d2h(void *to, uint64_t from, size_t bytes, int stream, bool async)
{
	return !(async ? n.cu.cuMemcpyDtoHAsync(to, from, bytes, n.stream[stream]) : n.cu.cuMemcpyDtoH(to, from, bytes));
}

static bool native_d2d(uint64_t to, uint64_t from, size_t bytes, int stream)
{
	return !n.cu.cuMemcpyDtoDAsync(to, from, bytes, n.stream[stream]);
}

static bool native_set(uint64_t at, unsigned int width, uint32_t value, size_t count, int stream)
{
	if (width == 1)
		return !n.cu.cuMemsetD8Async(at, (unsigned char)value, count, n.stream[stream]);
	if (width == 2)
		return !n.cu.cuMemsetD16Async(at, (unsigned short)value, count, n.stream[stream]);
	return !n.cu.cuMemsetD32Async(at, value, count, n.stream[stream]);
}

static bool native_side_launch(enum kernel k, uint32_t blocks, uint32_t threads, int stream, void **params)
{
	return !n.cu.cuLaunchKernel(n.function[k], blocks, 1, 1, threads, 1, 1, 0, n.stream[stream], params, NULL);
}

static bool native_synchronize(int stream)
{
	return !n.cu.cuStreamSynchronize(n.stream[stream]);
}

static const struct side native_side = {
	native_side_open, native_side_close, native_load, native_alloc_pinned, native_alloc, native_free,
	native_h2d, native_d2h, native_d2d, native_set, native_side_launch, native_synchronize,
};

/* ---- libvgpu ---- */

static struct {
	struct vgpu_session *gpu;
	struct vgpu_stream *stream[STREAMS];
	struct vgpu_function *function[KERNELS];
} o;

static void our_open(void)
{
	o.gpu = native_open();
	for (int i = 1; i < STREAMS; i++)
		OK(vgpu_stream_create(o.gpu, VGPU_STREAM_NON_BLOCKING, 0, &o.stream[i]));
}

static void our_close(void)
{
	native_close(o.gpu);
}

static void our_load(enum kernel k, const char *ptx, size_t bytes)
{
	struct vgpu_module *module;

	OK(vgpu_module_load(o.gpu, ptx, bytes, NULL, 0, &module));
	OK(vgpu_function_get(module, kernel_name[k], &o.function[k]));
}

static void *our_alloc_pinned(size_t bytes)
{
	void *memory;

	OK(vgpu_host_malloc(o.gpu, bytes, &memory));
	return memory;
}

static uint64_t our_alloc(size_t bytes)
{
	uint64_t at;

	OK(vgpu_malloc(o.gpu, bytes, &at));
	return at;
}

static bool our_free(uint64_t at)
{
	return !vgpu_free(o.gpu, at);
}

static bool our_h2d(uint64_t to, const void *from, size_t bytes, int stream, bool async)
{
	return !(async ? vgpu_copy_h2d_async(o.gpu, to, from, bytes, o.stream[stream]) :
			 vgpu_copy_h2d(o.gpu, to, from, bytes));
}

static bool our_d2h(void *to, uint64_t from, size_t bytes, int stream, bool async)
{
	return !(async ? vgpu_copy_d2h_async(o.gpu, to, from, bytes, o.stream[stream]) :
			 vgpu_copy_d2h(o.gpu, to, from, bytes));
}

static bool our_d2d(uint64_t to, uint64_t from, size_t bytes, int stream)
{
	return !vgpu_copy_d2d_async(o.gpu, to, from, bytes, o.stream[stream]);
}

static bool our_set(uint64_t at, unsigned int width, uint32_t value, size_t count, int stream)
{
	if (width == 1)
		return !vgpu_memset8_async(o.gpu, at, (uint8_t)value, count, o.stream[stream]);
	if (width == 2)
		return !vgpu_memset16_async(o.gpu, at, (uint16_t)value, count, o.stream[stream]);
	return !vgpu_memset32_async(o.gpu, at, value, count, o.stream[stream]);
}

static bool our_launch(enum kernel k, uint32_t blocks, uint32_t threads, int stream, void **params)
{
	return !vgpu_launch(o.function[k], (struct vgpu_dim3){ blocks, 1, 1 }, (struct vgpu_dim3){ threads, 1, 1 }, 0,
			    o.stream[stream], params);
}

static bool our_synchronize(int stream)
{
	return !(stream ? vgpu_stream_synchronize(o.stream[stream]) : vgpu_default_synchronize(o.gpu));
}

static const struct side our_side = {
	our_open, our_close, our_load, our_alloc_pinned, our_alloc, our_free,
	our_h2d, our_d2h, our_d2d, our_set, our_launch, our_synchronize,
};

/* ---- the sequence, gone through by both ---- */

static const struct side *gpu;
static struct shared *shared;
static uint64_t device[BUFFERS];
static uint8_t *host[HOSTS];
static uint64_t state = 88172645463325252ull;

#define WORKS(call) \
	do { \
		if (!(call)) \
			FAIL("%s: refused by the %s: %s", #call, gpu == &our_side ? "library" : "driver", \
			     vgpu_session_error_text()); \
	} while (0)

static uint64_t pick(uint64_t limit)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % limit;
}

static void load(enum kernel k)
{
	char path[512], *text = calloc(1, 1 << 20);
	size_t bytes;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", getenv("VGPU_KERNELS"), kernel_file[k]);
	f = fopen(path, "rb");
	if (!f || !text)
		FAIL("%s cannot be read", path);
	bytes = fread(text, 1, (1 << 20) - 1, f) + 1;
	fclose(f);
	gpu->load(k, text, bytes);
	free(text);
}

static void start(void)
{
	gpu->open();
	load(SAXPY);
	load(HISTOGRAM);
	for (int i = 0; i < BUFFERS; i++) {
		device[i] = gpu->alloc(buffer_bytes);
		WORKS(gpu->set(device[i], 1, (uint32_t)i, buffer_bytes, 0));
	}
	host[0] = gpu->alloc_pinned(buffer_bytes);
	host[1] = malloc(buffer_bytes);
	CHECK(host[1]);
	for (int i = 0; i < HOSTS; i++)
		native_fill(host[i], buffer_bytes, (uint32_t)i + 40);
}

/* Nothing, a few bytes, a page and its neighbours, or up to all of it. */
static size_t pick_size(void)
{
	switch (pick(8)) {
	case 0:
		return 0;
	case 1:
	case 2:
		return pick(100);
	case 3:
		return 4096 + pick(3) - 1;
	case 4:
		return (32 << 10) + pick(9) - 4;
	case 5:
		return pick(MIB);
	default:
		return pick(buffer_bytes);
	}
}

static void copy(int stream)
{
	size_t bytes = pick_size(), room = buffer_bytes - bytes, at = pick(room + 1), host_at = pick(room + 1);
	int b = (int)pick(BUFFERS), h = (int)pick(HOSTS);
	bool async = pick(2);

	switch (pick(3)) {
	case 0:
		WORKS(gpu->h2d(device[b] + at, host[h] + host_at, bytes, stream, async));
		break;
	case 1:
		WORKS(gpu->d2h(host[h] + host_at, device[b] + at, bytes, stream, async));
		break;
	default:
		WORKS(gpu->d2d(device[(b + 1) % BUFFERS] + host_at, device[b] + at, bytes, stream));
	}
}

static void set(int stream)
{
	unsigned int width = 1u << pick(3);
	size_t count = pick_size() / width, at = pick(buffer_bytes / width - count + 1) * width;
	uint32_t value = (uint32_t)pick(UINT32_MAX);

	WORKS(gpu->set(device[pick(BUFFERS)] + at, width, value, count, stream));
}

/* Of whatever the buffers hold: saxpy(a, x, y, n), or histogram256(bytes, bins, n). */
static void launch(int stream)
{
	int from = (int)pick(BUFFERS), count = (int)pick(100000) + 1;
	uint64_t x = device[from] + pick(1000) * 16, y = device[(from + 1) % BUFFERS] + pick(1000) * 16;
	float a = 0.5f;
	void *saxpy[] = { &a, &x, &y, &count }, *histogram[] = { &x, &y, &count };

	if (pick(2))
		WORKS(gpu->launch(SAXPY, (uint32_t)(count + 255) / 256, 256, stream, saxpy));
	else
		WORKS(gpu->launch(HISTOGRAM, (uint32_t)(count + 255) / 256, 256, stream, histogram));
}

/* Both are here; what the driver's process has left in shared memory is looked at by the other. */
static void meet(void)
{
	pthread_barrier_wait(&shared->barrier);
}

static void same(const uint8_t *mine, int number, int step)
{
	const uint8_t *drivers = shared->bytes[number];

	for (size_t i = 0; memcmp(drivers, mine, buffer_bytes) && i < buffer_bytes; i++)
		if (drivers[i] != mine[i])
			FAIL("after step %d byte %zu of memory %d is %#x natively, %#x here", step, i, number, drivers[i],
			     mine[i]);
}

static void look(int step, uint8_t *scratch)
{
	bool native = gpu == &native_side;

	for (int i = 0; i < HOSTS + BUFFERS; i++) {
		const uint8_t *mine = scratch;

		if (i < HOSTS)
			mine = host[i];
		else
			WORKS(gpu->d2h(scratch, device[i - HOSTS], buffer_bytes, 0, false));
		if (native)
			memcpy(shared->bytes[i], mine, buffer_bytes);
		meet();
		if (!native)
			same(mine, i, step);
	}
	meet();
}

static void refusals(void)
{
	void *none[4] = { 0 };
	uint8_t byte = 0;
	bool refused[] = {
		!gpu->h2d(0, &byte, 1, 0, false),
		!gpu->d2h(&byte, 64, 1, 0, false),
		!gpu->h2d(device[0], host[1], 1ull << 40, 0, false),
		!gpu->set(device[0] + 1, 4, 0, 1, 0),
		!gpu->set(device[0] + 1, 2, 0, 1, 0),
		!gpu->free(device[0] + 1),
		!gpu->launch(SAXPY, 1, 4096, 0, none),
		!gpu->launch(SAXPY, 0, 32, 0, none),
	};

	for (size_t i = 0; i < sizeof(refused); i++) {
		if (gpu == &native_side)
			shared->refused[i] = refused[i];
		meet();
		if (refused[i] != shared->refused[i])
			FAIL("wrong call %zu: %s natively, %s here", i, shared->refused[i] ? "refused" : "done",
			     refused[i] ? "refused" : "done");
	}
}

static void go(void)
{
	uint8_t *scratch = malloc(buffer_bytes);
	int stream = 0;

	CHECK(scratch);
	start();
	refusals();
	for (int step = 1; step <= STEPS; step++) {
		/* one stream at a time, so that the order is the same on both sides */
		if (!pick(3)) {
			WORKS(gpu->synchronize(stream));
			stream = (int)pick(STREAMS);
		}
		switch (pick(8)) {
		case 0:
			set(stream);
			break;
		case 1:
			launch(stream);
			break;
		default: /* a copy without a stream does not wait for the others */
			WORKS(gpu->synchronize(stream));
			copy(stream);
			WORKS(gpu->synchronize(stream));
		}
		if (step % LOOK_EACH == 0) {
			WORKS(gpu->synchronize(stream));
			look(step, scratch);
		}
	}
	gpu->close();
	free(scratch);
}

/* A side that has failed must not leave the other at the barrier. */
static void child_ended(int number)
{
	int status;

	(void)number;
	if (wait(&status) > 0 && status)
		_exit(1);
}

int main(void)
{
	pthread_barrierattr_t attr;
	pid_t parent = getpid();

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	CHECK(!pthread_barrier_init(&shared->barrier, &attr, 2));
	signal(SIGCHLD, child_ended);
	switch (fork()) {
	case -1:
		FAIL("no second process");
	case 0:
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		CHECK(getppid() == parent);
		gpu = &native_side;
		break;
	default:
		gpu = &our_side;
	}
	go();
	return 0;
}
