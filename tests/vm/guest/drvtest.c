// SPDX-License-Identifier: MIT
/*
 * Uses and misuses /dev/vgpu0 as tests/vm/test_driver.py asks: drvtest COMMAND [ARGUMENT]. Ends
 * with 0, or with 1 and a line that says what was expected. It knows the protocol headers alone.
 */
#include "protocol/device/device.h"
#include "protocol/session/session.h"
#include "protocol/uapi/vgpu.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MIB = 1 << 20, EXTENT = 2 << 20 };

/* What the fake mediator serves on a doorbell, in the reply slots. */
struct probe {
	uint32_t number;
	uint32_t operation;
	uint64_t offset;
	uint64_t bytes;
	uint8_t pad[40];
	uint32_t answer;
};
enum { OP_ECHO = 1, OP_INVERT = 2, OP_SILENT = 3 };
enum { ANSWER_OFFSET = VGPU_SLOT_OFFSET + 64 };

static const char *device = "/dev/vgpu0";

static __attribute__((noreturn, format(printf, 2, 3))) void fail(int line, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("FAILED line %d: ", line);
	vprintf(format, args);
	printf("\n");
	va_end(args);
	fflush(stdout);
	_exit(1);
}

#define CHECK(condition)                                                                          \
	do {                                                                                       \
		errno = 0;                                                                         \
		if (!(condition))                                                                  \
			fail(__LINE__, "%s (errno %d, %s)", #condition, errno, strerror(errno));   \
	} while (0)

/* The expression fails with this errno. */
#define CHECK_ERRNO(expression, code)                                                             \
	do {                                                                                       \
		long value_;                                                                       \
		errno = 0;                                                                         \
		value_ = (long)(expression);                                                       \
		if (value_ != -1 || errno != (code))                                               \
			fail(__LINE__, "%s gave %ld, errno %d, not %s", #expression, value_, errno, \
			     #code);                                                               \
	} while (0)

static void say(const char *text)
{
	printf("%s\n", text);
	fflush(stdout);
}

/* Reads a line from the test, so that both go on together. */
static void wait_for_test(void)
{
	char line[64];

	if (!fgets(line, sizeof(line), stdin))
		fail(__LINE__, "the test has gone");
}

struct gpu {
	int fd;
	struct vgpu_uapi_open open;
	uint8_t *control;
	volatile uint32_t *doorbell;
	uint8_t *heap;
	uint8_t *view;
	uint64_t heap_bytes; /* mapped; only what was added can be touched */
};

static int gpu_open_session(struct gpu *gpu)
{
	memset(gpu, 0, sizeof(*gpu));
	gpu->fd = open(device, O_RDWR | O_CLOEXEC);
	CHECK(gpu->fd >= 0);
	gpu->open.features = VGPU_SESSION_FEATURE_BASE;
	gpu->open.arena = 2;
	return ioctl(gpu->fd, VGPU_IOC_OPEN, &gpu->open);
}

static void gpu_map(struct gpu *gpu, uint64_t heap_bytes)
{
	int rw = PROT_READ | PROT_WRITE;

	gpu->control = mmap(NULL, VGPU_CONTROL_BYTES, rw, MAP_SHARED, gpu->fd, VGPU_MMAP_CONTROL);
	CHECK(gpu->control != MAP_FAILED);
	gpu->doorbell = mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, gpu->fd, VGPU_MMAP_DOORBELL);
	CHECK(gpu->doorbell != MAP_FAILED);
	gpu->heap = mmap((void *)vgpu_arena_base(2), heap_bytes, rw, MAP_SHARED | MAP_FIXED_NOREPLACE,
			 gpu->fd, VGPU_MMAP_HEAP);
	CHECK(gpu->heap == (void *)vgpu_arena_base(2));
	gpu->view = mmap(NULL, heap_bytes, rw, MAP_SHARED, gpu->fd, VGPU_MMAP_VIEW);
	CHECK(gpu->view != MAP_FAILED);
	gpu->heap_bytes = heap_bytes;
}

static void gpu_start(struct gpu *gpu, uint64_t heap_bytes)
{
	if (gpu_open_session(gpu))
		fail(__LINE__, "OPEN: errno %d, result %#x, value %u, limit %u", errno,
		     gpu->open.result, gpu->open.value, gpu->open.limit);
	gpu_map(gpu, heap_bytes);
	CHECK(((struct vgpu_session_header *)gpu->control)->magic == VGPU_SESSION_MAGIC);
}

static int heap_add(struct gpu *gpu, uint64_t offset, uint64_t bytes, struct vgpu_uapi_heap_add *ret)
{
	*ret = (struct vgpu_uapi_heap_add){ .heap_offset = offset, .bytes = bytes };
	return ioctl(gpu->fd, VGPU_IOC_HEAP_ADD, ret);
}

static void gpu_grow(struct gpu *gpu, uint64_t offset, uint64_t bytes)
{
	struct vgpu_uapi_heap_add add;

	if (heap_add(gpu, offset, bytes, &add))
		fail(__LINE__, "HEAP_ADD(%#lx, %#lx): errno %d, result %#x, value %u, limit %u", offset,
		     bytes, errno, add.result, add.value, add.limit);
}

static void gpu_end(struct gpu *gpu)
{
	munmap(gpu->control, VGPU_CONTROL_BYTES);
	munmap((void *)gpu->doorbell, 4096);
	munmap(gpu->heap, gpu->heap_bytes);
	munmap(gpu->view, gpu->heap_bytes);
	close(gpu->fd);
}

static struct probe *gpu_probe(struct gpu *gpu)
{
	return (struct probe *)(gpu->control + VGPU_SLOT_OFFSET);
}

static int gpu_wait(struct gpu *gpu, uint32_t expected, uint64_t timeout_ns, uint32_t *ret_result)
{
	struct vgpu_uapi_wait wait = { .offset = ANSWER_OFFSET, .expected = expected,
				       .timeout_ns = timeout_ns };
	int ret = ioctl(gpu->fd, VGPU_IOC_WAIT, &wait);

	if (ret_result)
		*ret_result = wait.result;
	return ret;
}

/* One call through doorbell, host, interrupt. */
static void gpu_call(struct gpu *gpu, uint32_t operation, uint64_t offset, uint64_t bytes)
{
	volatile struct probe *probe = gpu_probe(gpu);
	uint32_t before = probe->answer;

	probe->operation = operation;
	probe->offset = offset;
	probe->bytes = bytes;
	probe->number = before + 1;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	*gpu->doorbell = 0;
	while (probe->answer != before + 1)
		CHECK(gpu_wait(gpu, before, ~0ull, NULL) == 0);
}

static uint64_t mix(uint64_t n)
{
	n *= 0x9e3779b97f4a7c15ull;
	return n ^ n >> 29;
}

/* Fills a part of the heap, has the host invert it, and compares every byte. */
static void heap_round_trip(struct gpu *gpu, uint64_t offset, uint64_t bytes, uint64_t seed)
{
	uint64_t *words = (uint64_t *)(gpu->heap + offset), i;

	for (i = 0; i < bytes / 8; i++)
		if (words[i])
			fail(__LINE__, "heap byte %#lx is not 0 but %#lx", offset + i * 8, words[i]);
	for (i = 0; i < bytes / 8; i++)
		words[i] = mix(seed + i);
	gpu_call(gpu, OP_INVERT, offset, bytes);
	for (i = 0; i < bytes / 8; i++)
		if (words[i] != ~mix(seed + i))
			fail(__LINE__, "heap byte %#lx is wrong", offset + i * 8);
}

/* Whether memory can be read, without a signal. */
static int read_errno(const void *address)
{
	int fds[2], code;

	CHECK(pipe(fds) == 0);
	code = write(fds[1], address, 1) == 1 ? 0 : errno;
	close(fds[0]);
	close(fds[1]);
	return code;
}

static void child_must_succeed(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	if (status)
		fail(__LINE__, "child ended with wait status %#x", status);
}

/* ---- commands ---- */

static void do_info(void)
{
	struct vgpu_uapi_info info;
	int fd = open(device, O_RDWR);

	CHECK(fd >= 0);
	CHECK(ioctl(fd, VGPU_IOC_INFO, &info) == 0);
	CHECK(info.version == VGPU_UAPI_VERSION);
	CHECK(info.device_version == VGPU_DEVICE_VERSION);
	printf("status %u error %#x window %llu free %llu sessions %u vectors %u\n", info.status,
	       info.error, info.window_bytes, info.free_bytes, info.sessions, info.vectors);
}

static void do_basic(void)
{
	struct gpu gpu;

	gpu_start(&gpu, 64 * MIB);
	gpu_call(&gpu, OP_ECHO, 0, 0);
	gpu_grow(&gpu, 0, 2 * EXTENT);
	gpu_grow(&gpu, 5 * EXTENT, EXTENT);
	heap_round_trip(&gpu, 0, 2 * EXTENT, 1);
	heap_round_trip(&gpu, 5 * EXTENT, EXTENT, 2);
	CHECK(read_errno(gpu.heap + 3 * EXTENT) == EFAULT);
	for (int i = 0; i < 100; i++)
		gpu_call(&gpu, OP_ECHO, 0, 0);
	gpu_end(&gpu);
}

static void misuse_before_open(int fd)
{
	struct vgpu_uapi_wait wait = { .timeout_ns = 0 };
	struct vgpu_uapi_heap_add add = { .bytes = EXTENT };
	struct vgpu_uapi_open args = { .arena = VGPU_ARENAS };

	CHECK_ERRNO(ioctl(fd, VGPU_IOC_WAIT, &wait), EINVAL);
	CHECK_ERRNO(ioctl(fd, VGPU_IOC_HEAP_ADD, &add), EINVAL);
	CHECK_ERRNO(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, VGPU_MMAP_CONTROL), EINVAL);
	CHECK_ERRNO(ioctl(fd, VGPU_IOC_OPEN, &args), EINVAL);
	args = (struct vgpu_uapi_open){ .reserved = 1 };
	CHECK_ERRNO(ioctl(fd, VGPU_IOC_OPEN, &args), EINVAL);
	CHECK_ERRNO(ioctl(fd, VGPU_IOC_OPEN, NULL), EFAULT);
	CHECK_ERRNO(ioctl(fd, VGPU_IOC_INFO, (void *)~0xfffull), EFAULT);
	CHECK_ERRNO(ioctl(fd, _IO('G', 0xa0), NULL), ENOTTY);
	CHECK_ERRNO(ioctl(fd, _IOWR('G', 0xa1, struct vgpu_uapi_info), &args), ENOTTY);
	CHECK_ERRNO(lseek(fd, 0, SEEK_SET), ESPIPE);
	CHECK_ERRNO(read(fd, &args, 1), EINVAL);
	CHECK_ERRNO(write(fd, &args, 1), EINVAL);
}

static void misuse_ioctls(struct gpu *gpu)
{
	static const struct vgpu_uapi_wait waits[] = {
		{ .offset = 1 }, { .offset = VGPU_CONTROL_BYTES }, { .offset = ~3u },
		{ .offset = VGPU_CONTROL_BYTES - 2 }, { .reserved = 1 },
	};
	static const struct vgpu_uapi_heap_add adds[] = {
		{ .bytes = 0 }, { .bytes = 4096 }, { .bytes = EXTENT, .heap_offset = 4096 },
		{ .bytes = EXTENT, .heap_offset = VGPU_ARENA_BYTES },
		{ .bytes = EXTENT, .heap_offset = -(uint64_t)EXTENT },
		{ .bytes = -(uint64_t)EXTENT, .heap_offset = EXTENT },
		{ .bytes = VGPU_ARENA_BYTES, .heap_offset = EXTENT },
		{ .bytes = EXTENT, .reserved = 1 },
	};
	struct vgpu_uapi_open again = { 0 };
	struct vgpu_uapi_heap_add add;

	for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		struct vgpu_uapi_wait wait = waits[i];

		CHECK_ERRNO(ioctl(gpu->fd, VGPU_IOC_WAIT, &wait), EINVAL);
	}
	for (size_t i = 0; i < sizeof(adds) / sizeof(adds[0]); i++) {
		add = adds[i];
		CHECK_ERRNO(ioctl(gpu->fd, VGPU_IOC_HEAP_ADD, &add), EINVAL);
	}
	CHECK_ERRNO(ioctl(gpu->fd, VGPU_IOC_OPEN, &again), EBUSY);
	gpu_grow(gpu, 0, EXTENT);
	CHECK_ERRNO(heap_add(gpu, 0, EXTENT, &add), EINVAL);
	CHECK_ERRNO(heap_add(gpu, 0, 2 * EXTENT, &add), EINVAL);
}

static void misuse_maps(struct gpu *gpu)
{
	static const struct {
		uint64_t offset;
		size_t bytes;
		int prot;
		int flags;
		int code;
	} maps[] = {
		{ 0, 4096, PROT_READ, MAP_PRIVATE, EINVAL },
		{ 0, VGPU_CONTROL_BYTES + 4096, PROT_READ, MAP_SHARED, EINVAL },
		{ VGPU_CONTROL_BYTES, 4096, PROT_READ, MAP_SHARED, EINVAL },
		{ VGPU_CONTROL_BYTES - 4096, 8192, PROT_READ, MAP_SHARED, EINVAL },
		{ VGPU_MMAP_DOORBELL - 4096, 4096, PROT_WRITE, MAP_SHARED, EINVAL },
		{ VGPU_MMAP_DOORBELL, 8192, PROT_WRITE, MAP_SHARED, EINVAL },
		{ VGPU_MMAP_DOORBELL + 4096, 4096, PROT_WRITE, MAP_SHARED, EINVAL },
		{ VGPU_MMAP_HEAP - 4096, 8192, PROT_READ, MAP_SHARED, EINVAL },
		{ VGPU_MMAP_HEAP + VGPU_ARENA_BYTES, 4096, PROT_READ, MAP_SHARED, EINVAL },
		{ VGPU_MMAP_VIEW - 4096, 8192, PROT_READ, MAP_SHARED, EINVAL },
		{ VGPU_MMAP_VIEW + VGPU_ARENA_BYTES, 4096, PROT_READ, MAP_SHARED, EINVAL },
		{ 0x7ffffffffffff000ull, 4096, PROT_READ, MAP_SHARED, EINVAL },
		{ 0, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, EPERM },
	};
	void *at;

	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
		errno = 0;
		at = mmap(NULL, maps[i].bytes, maps[i].prot, maps[i].flags, gpu->fd, maps[i].offset);
		if (at != MAP_FAILED || errno != maps[i].code)
			fail(__LINE__, "map %zu gave %p, errno %d, not %d", i, at, errno, maps[i].code);
	}
	CHECK_ERRNO(mprotect(gpu->control, 4096, PROT_READ | PROT_EXEC), EACCES);
	CHECK_ERRNO(madvise(gpu->control, VGPU_CONTROL_BYTES, MADV_DOFORK), EINVAL);
	CHECK_ERRNO(mremap(gpu->control, 4096, 8192, MREMAP_MAYMOVE), EFAULT);
	/* A part with other rights, moved elsewhere, and a hole: what is left still works. */
	CHECK(mprotect(gpu->control + 0x100000, 4096, PROT_READ) == 0);
	gpu_grow(gpu, 4 * EXTENT, 2 * EXTENT);
	CHECK(munmap(gpu->heap + 4 * EXTENT + 8192, 4096) == 0);
	heap_round_trip(gpu, 5 * EXTENT, EXTENT, 3);
	memset(gpu->heap + 4 * EXTENT, 1, 8192);
	memset(gpu->heap + 4 * EXTENT + 12288, 2, EXTENT - 12288);
	at = mmap(NULL, 4 * EXTENT, PROT_READ, MAP_SHARED, gpu->fd, VGPU_MMAP_HEAP + 4 * EXTENT + 4096);
	CHECK(at != MAP_FAILED);
	CHECK(*(uint8_t *)at == 1 && ((uint8_t *)at)[8192] == 2);
	CHECK(read_errno(at + 2 * EXTENT) == EFAULT);
}

static void do_misuse(void)
{
	struct gpu gpu;
	int fd = open(device, O_RDWR);

	CHECK(fd >= 0);
	misuse_before_open(fd);
	close(fd);
	gpu_start(&gpu, 64 * MIB);
	misuse_ioctls(&gpu);
	misuse_maps(&gpu);
	gpu_call(&gpu, OP_ECHO, 0, 0);
	gpu_end(&gpu);
}

static void child_uses(struct gpu *gpu)
{
	struct vgpu_uapi_heap_add add;

	CHECK_ERRNO(gpu_wait(gpu, 0, 0, NULL), EACCES);
	CHECK_ERRNO(heap_add(gpu, 4 * EXTENT, EXTENT, &add), EACCES);
	CHECK_ERRNO(mmap(NULL, 4096, PROT_READ, MAP_SHARED, gpu->fd, VGPU_MMAP_CONTROL), EACCES);
}

static void do_fork(void)
{
	struct gpu gpu, own;
	pid_t pid;

	gpu_start(&gpu, 64 * MIB);
	gpu_grow(&gpu, 0, EXTENT);
	memset(gpu.heap, 0x5a, EXTENT);
	pid = fork();
	if (!pid) {
		CHECK(read_errno(gpu.control) == EFAULT);
		CHECK(read_errno(gpu.heap) == EFAULT);
		CHECK(read_errno((void *)gpu.doorbell) == EFAULT);
		child_uses(&gpu);
		gpu_start(&own, 64 * MIB);
		gpu_grow(&own, 0, EXTENT);
		heap_round_trip(&own, 0, EXTENT, 4);
		_exit(0);
	}
	child_must_succeed(pid);
	gpu_call(&gpu, OP_ECHO, 0, 0);
	CHECK(gpu.heap[EXTENT - 1] == 0x5a);
	gpu_end(&gpu);
}

static void send_fd(int socket, int fd)
{
	char byte = 0, space[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec io = { &byte, 1 };
	struct msghdr message = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = space,
				  .msg_controllen = sizeof(space) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);

	*c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
			       .cmsg_len = CMSG_LEN(sizeof(int)) };
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	CHECK(sendmsg(socket, &message, 0) == 1);
}

static int receive_fd(int socket)
{
	char byte, space[CMSG_SPACE(sizeof(int))];
	struct iovec io = { &byte, 1 };
	struct msghdr message = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = space,
				  .msg_controllen = sizeof(space) };
	int fd;

	CHECK(recvmsg(socket, &message, 0) == 1);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	return fd;
}

/* Before OPEN a descriptor may go to another process, after it the session stays its opener's. */
static void do_pass(void)
{
	struct gpu gpu = { 0 };
	int pair[2], fd;
	pid_t pid;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	fd = open(device, O_RDWR);
	CHECK(fd >= 0);
	pid = fork();
	if (!pid) {
		gpu.fd = receive_fd(pair[1]);
		gpu.open = (struct vgpu_uapi_open){ .arena = 2 };
		CHECK(ioctl(gpu.fd, VGPU_IOC_OPEN, &gpu.open) == 0);
		gpu_map(&gpu, 16 * MIB);
		gpu_call(&gpu, OP_ECHO, 0, 0);
		gpu_end(&gpu);
		/* And one that is open, the other way. */
		gpu_start(&gpu, 16 * MIB);
		send_fd(pair[1], gpu.fd);
		CHECK(read(pair[1], &fd, 1) == 1);
		_exit(0);
	}
	send_fd(pair[0], fd);
	close(fd);
	gpu.fd = receive_fd(pair[0]);
	child_uses(&gpu);
	CHECK(write(pair[0], "x", 1) == 1);
	child_must_succeed(pid);
	child_uses(&gpu);
	close(gpu.fd);
}

static void on_alarm(int signal)
{
	(void)signal;
}

static void do_signals(void)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval often = { { 0, 50000 }, { 0, 50000 } }, never = { 0 };
	struct gpu gpu;
	uint32_t answer;

	gpu_start(&gpu, 64 * MIB);
	answer = gpu_probe(&gpu)->answer;
	CHECK_ERRNO(gpu_wait(&gpu, answer, 20000000, NULL), ETIMEDOUT);
	CHECK_ERRNO(gpu_wait(&gpu, answer, 0, NULL), ETIMEDOUT);
	CHECK(gpu_wait(&gpu, answer + 1, ~0ull, NULL) == 0);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	CHECK_ERRNO(gpu_wait(&gpu, answer, ~0ull, NULL), EINTR);
	setitimer(ITIMER_REAL, &never, NULL);
	gpu_call(&gpu, OP_ECHO, 0, 0);
	gpu_end(&gpu);
}

/* Signals come while the host holds its answers back: each call is repeated until it is through. */
static void do_interrupted(void)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval often = { { 0, 50000 }, { 0, 50000 } }, never = { 0 };
	struct vgpu_uapi_heap_add add;
	struct gpu gpu;
	int ret;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	CHECK_ERRNO(gpu_open_session(&gpu), EINTR);
	say("open interrupted");
	while ((ret = ioctl(gpu.fd, VGPU_IOC_OPEN, &gpu.open)) && errno == EINTR)
		;
	CHECK(ret == 0);
	setitimer(ITIMER_REAL, &never, NULL);
	say("open");
	wait_for_test(); /* it holds HEAP_ADD back now */
	gpu_map(&gpu, 64 * MIB);
	setitimer(ITIMER_REAL, &often, NULL);
	CHECK_ERRNO(heap_add(&gpu, 0, 3 * EXTENT, &add), EINTR);
	CHECK(read_errno(gpu.heap) == EFAULT);
	say("add interrupted");
	while ((ret = heap_add(&gpu, 0, 3 * EXTENT, &add)) && errno == EINTR)
		;
	CHECK(ret == 0);
	setitimer(ITIMER_REAL, &never, NULL);
	heap_round_trip(&gpu, 0, 3 * EXTENT, 5);
	gpu_end(&gpu);
	say("done");
}

/* OPEN or HEAP_ADD is refused with the numbers that the test has told the host. */
static void do_refused(const char *what)
{
	struct vgpu_uapi_heap_add add;
	struct gpu gpu;
	int ret = gpu_open_session(&gpu);

	if (!strcmp(what, "open")) {
		printf("errno %d result %#x value %u limit %u\n", errno, gpu.open.result, gpu.open.value,
		       gpu.open.limit);
		return;
	}
	CHECK(ret == 0);
	gpu_map(&gpu, 64 * MIB);
	ret = heap_add(&gpu, 0, EXTENT, &add);
	printf("errno %d result %#x value %u limit %u\n", ret ? errno : 0, add.result, add.value,
	       add.limit);
	CHECK(read_errno(gpu.heap) == EFAULT);
	say("refused");
	wait_for_test();
	gpu_grow(&gpu, 0, EXTENT);
	heap_round_trip(&gpu, 0, EXTENT, 6);
	gpu_end(&gpu);
}

/* Grows until the driver refuses; then another process still gets a session and a heap. */
static void do_full(void)
{
	struct vgpu_uapi_heap_add add;
	struct gpu gpu, other;
	uint64_t at = 0;
	pid_t pid;

	gpu_start(&gpu, 1ull << 30);
	for (; heap_add(&gpu, at, EXTENT, &add) == 0; at += EXTENT)
		memset(gpu.heap + at, 0xee, EXTENT);
	CHECK(add.result == VGPU_ERROR_CALL_HEAP_FULL);
	CHECK(add.value == EXTENT >> 10 && add.limit == 0);
	CHECK_ERRNO(heap_add(&gpu, at, 1ull << 36, &add), EIO);
	CHECK(add.value == 1u << 26);
	pid = fork();
	if (!pid) {
		gpu_start(&other, 64 * MIB);
		gpu_grow(&other, 0, EXTENT);
		heap_round_trip(&other, 0, EXTENT, 7);
		_exit(0);
	}
	child_must_succeed(pid);
	printf("grew to %lu MiB\n", at >> 20);
	gpu_end(&gpu);
}

/* Holds all that it can get until it is killed. */
static void do_fill(void)
{
	struct vgpu_uapi_heap_add add;
	struct gpu gpu;
	uint64_t at = 0;

	gpu_start(&gpu, 1ull << 30);
	for (; heap_add(&gpu, at, EXTENT, &add) == 0; at += EXTENT)
		memset(gpu.heap + at, 0xdd, EXTENT);
	CHECK(add.result == VGPU_ERROR_CALL_HEAP_FULL);
	say("filled");
	for (;;)
		pause();
}

/* Takes every session id, checks the next OPEN, and gives them back. */
static void do_ids(void)
{
	struct vgpu_uapi_info info;
	struct gpu gpus[VGPU_DEVICE_SESSIONS], more;
	unsigned int count = 0;

	CHECK(gpu_open_session(&gpus[count++]) == 0);
	CHECK(ioctl(gpus[0].fd, VGPU_IOC_INFO, &info) == 0);
	while (count < info.sessions)
		CHECK(gpu_open_session(&gpus[count++]) == 0);
	CHECK_ERRNO(gpu_open_session(&more), EIO);
	CHECK(more.open.result == VGPU_ERROR_HOST_SESSION_LIMIT && more.open.limit == info.sessions);
	for (unsigned int i = 0; i < count; i++)
		close(gpus[i].fd);
}

/* Several processes at once, each with threads that call and wait. */
struct caller {
	struct gpu *gpu;
	pthread_mutex_t *one;
};

static void *caller_run(void *data)
{
	struct caller *caller = data;

	for (int i = 0; i < 20; i++) {
		pthread_mutex_lock(caller->one);
		gpu_call(caller->gpu, OP_ECHO, 0, 0);
		pthread_mutex_unlock(caller->one);
	}
	return NULL;
}

static void do_many(const char *text)
{
	int processes = atoi(text);
	pid_t pids[64];

	for (int p = 0; p < processes; p++) {
		pids[p] = fork();
		if (pids[p])
			continue;
		for (int round = 0; round < 3; round++) {
			pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
			pthread_t threads[3];
			struct caller caller;
			struct gpu gpu;

			gpu_start(&gpu, 64 * MIB);
			caller = (struct caller){ &gpu, &one };
			for (int t = 0; t < 3; t++)
				CHECK(pthread_create(&threads[t], NULL, caller_run, &caller) == 0);
			for (int i = 0; i < 3; i++) {
				gpu_grow(&gpu, i * EXTENT, EXTENT);
				pthread_mutex_lock(&one);
				heap_round_trip(&gpu, i * EXTENT, EXTENT, p * 100 + i);
				pthread_mutex_unlock(&one);
			}
			for (int t = 0; t < 3; t++)
				pthread_join(threads[t], NULL);
			gpu_end(&gpu);
		}
		_exit(0);
	}
	for (int p = 0; p < processes; p++)
		child_must_succeed(pids[p]);
}

/* Holds a session with a full heap part, a waiter inside the driver, until it is killed. */
static void do_hold(void)
{
	struct gpu gpu;

	gpu_start(&gpu, 64 * MIB);
	gpu_grow(&gpu, 0, 2 * EXTENT);
	memset(gpu.heap, 0xc3, 2 * EXTENT);
	say("holding");
	for (;;)
		gpu_wait(&gpu, gpu_probe(&gpu)->answer, ~0ull, NULL);
}

static void do_open_only(void)
{
	struct gpu gpu;

	say("opening");
	gpu_open_session(&gpu);
	say("opened");
}

/* ---- the end of a session from outside ---- */

static sigjmp_buf on_bus_jump;

static void on_bus(int signal)
{
	siglongjmp(on_bus_jump, signal);
}

struct waiter {
	struct gpu *gpu;
	uint32_t result;
	int code;
};

static void *waiter_run(void *data)
{
	struct waiter *waiter = data;
	uint32_t answer = gpu_probe(waiter->gpu)->answer;

	do
		waiter->code = gpu_wait(waiter->gpu, answer, ~0ull, &waiter->result) ? errno : 0;
	while (waiter->code == EINTR);
	return NULL;
}

static bool touch_kills(volatile uint8_t *at)
{
	struct sigaction action = { .sa_handler = on_bus };
	bool killed = true;

	sigaction(SIGBUS, &action, NULL);
	if (!sigsetjmp(on_bus_jump, 1)) {
		*at = 1;
		killed = false;
	}
	action.sa_handler = SIG_DFL;
	sigaction(SIGBUS, &action, NULL);
	return killed;
}

/*
 * Waits for the end with this code, then looks at everything: the error is where calls look for
 * it, nothing else of the session is left, the heap is gone. `revoked`: not for a session that
 * the host has ended alone, whose memory stays until it is closed.
 */
static void survive(struct gpu *gpu, uint32_t code, bool revoked)
{
	struct waiter waiter = { .gpu = gpu };
	uint8_t *ring = gpu->control + VGPU_RING_OFFSET;
	struct vgpu_uapi_heap_add add;
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, waiter_run, &waiter) == 0);
	say("waiting");
	pthread_join(thread, NULL);
	if (waiter.code != ENODEV || waiter.result != code)
		fail(__LINE__, "WAIT ended with errno %d, result %#x, not %#x", waiter.code,
		     waiter.result, code);
	CHECK_ERRNO(heap_add(gpu, 4 * EXTENT, EXTENT, &add), ENODEV);
	CHECK(add.result == code);
	for (int i = 0; ((volatile struct vgpu_session_header *)gpu->control)->sticky != code; i++) {
		if (i == 10000)
			fail(__LINE__, "the header says %#x",
			     ((struct vgpu_session_header *)gpu->control)->sticky);
		usleep(1000);
	}
	if (revoked) {
		/* One page and one mapping after the other is revoked: these may be the last. */
		for (int i = 0; i < 10000 && *(volatile uint8_t *)ring; i++)
			usleep(1000);
		CHECK(*ring == 0);
		*ring = 1;
		*gpu->doorbell = 0;
		for (int i = 0; i < 10000 && !touch_kills(gpu->heap + EXTENT - 1); i++)
			usleep(1000);
		CHECK(touch_kills(gpu->heap + EXTENT - 1));
		for (int i = 0; i < 10000 && !touch_kills(gpu->heap); i++)
			usleep(1000);
		CHECK(touch_kills(gpu->heap));
		for (int i = 0; i < 10000 && gpu->view[EXTENT - 1] == 0x77; i++)
			usleep(1000);
		CHECK(gpu->view[EXTENT - 1] != 0x77 && gpu->view[0] != 0x77);
		CHECK(!touch_kills(gpu->view + EXTENT - 1));
	} else {
		CHECK(gpu->view[EXTENT - 1] == 0x77);
		CHECK(gpu->heap[EXTENT - 1] == 0x77);
	}
}

/* After a reset or sleep the host takes a moment. */
static void wait_for_link(void)
{
	struct vgpu_uapi_info info = { 0 };
	int fd = open(device, O_RDWR);

	CHECK(fd >= 0);
	for (int i = 0; i < 1200 && !(info.status & VGPU_STATUS_LINKED); i++) {
		CHECK(ioctl(fd, VGPU_IOC_INFO, &info) == 0);
		usleep(50000);
	}
	CHECK(info.status & VGPU_STATUS_LINKED);
	close(fd);
}

static void do_survive(const char *code_text, const char *after)
{
	uint32_t code = strtoul(code_text, NULL, 0);
	struct gpu gpu;
	int fd;

	gpu_start(&gpu, 64 * MIB);
	gpu_grow(&gpu, 0, EXTENT);
	memset(gpu.heap, 0x77, EXTENT);
	gpu.control[VGPU_RING_OFFSET] = 0x77;
	survive(&gpu, code, strcmp(after, "dead"));
	say("ended");
	wait_for_test();
	fd = open(device, O_RDWR);
	if (!strcmp(after, "gone")) {
		CHECK(fd == -1);
		CHECK_ERRNO(ioctl(gpu.fd, VGPU_IOC_INFO, &(struct vgpu_uapi_info){ 0 }), ENODEV);
	} else {
		close(fd);
		gpu_end(&gpu);
		wait_for_link();
		do_basic();
	}
	say("survived");
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "", *arg = argc > 2 ? argv[2] : "";

	if (getenv("VGPU_DEVICE"))
		device = getenv("VGPU_DEVICE");
	if (!strcmp(command, "info"))
		do_info();
	else if (!strcmp(command, "basic"))
		do_basic();
	else if (!strcmp(command, "misuse"))
		do_misuse();
	else if (!strcmp(command, "fork"))
		do_fork();
	else if (!strcmp(command, "pass"))
		do_pass();
	else if (!strcmp(command, "signals"))
		do_signals();
	else if (!strcmp(command, "interrupted"))
		do_interrupted();
	else if (!strcmp(command, "refused"))
		do_refused(arg);
	else if (!strcmp(command, "full"))
		do_full();
	else if (!strcmp(command, "fill"))
		do_fill();
	else if (!strcmp(command, "ids"))
		do_ids();
	else if (!strcmp(command, "many"))
		do_many(arg);
	else if (!strcmp(command, "hold"))
		do_hold();
	else if (!strcmp(command, "open"))
		do_open_only();
	else if (!strcmp(command, "survive") && argc == 4)
		do_survive(arg, argv[3]);
	else
		fail(__LINE__, "unknown command %s", command);
	say("ok");
	return 0;
}
