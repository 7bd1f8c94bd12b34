// SPDX-License-Identifier: MIT
/*
 * hammer SEED PROCESSES STEPS: processes that do random things with /dev/vgpu*, some of which are
 * killed at random. Nothing is expected to succeed; the kernel and the other sessions are looked
 * at by the test. Ends with 0 when all processes have ended.
 */
#include "protocol/device/device.h"
#include "protocol/session/session.h"
#include "protocol/uapi/vgpu.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FDS = 4, MAPS = 8, EXTENT = 2 << 20, DEVICES = 2 };

struct map {
	uint8_t *at;
	size_t bytes;
};

static uint64_t state;
static int fds[FDS];
static struct map maps[MAPS];
static __thread sigjmp_buf jump;
static __thread volatile int jumping;

static uint64_t pick(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % below;
}

/* Numbers near where something changes. */
static uint64_t odd_number(void)
{
	static const uint64_t edges[] = { 0, 4096, EXTENT, 2 * EXTENT, 8 * EXTENT, VGPU_ARENA_BYTES,
					  VGPU_CONTROL_BYTES, 1ull << 31, 1ull << 32, 1ull << 63, ~0ull };
	uint64_t edge = edges[pick(sizeof(edges) / sizeof(edges[0]))];

	switch (pick(4)) {
	case 0:
		return edge;
	case 1:
		return edge - 1;
	case 2:
		return edge + 4;
	default:
		return pick(16) * EXTENT;
	}
}

static void on_fault(int signal)
{
	if (jumping)
		siglongjmp(jump, signal);
	_exit(3);
}

static void on_alarm(int signal)
{
	(void)signal;
}

static void touch(volatile uint8_t *at, int write)
{
	jumping = 1;
	if (!sigsetjmp(jump, 1)) {
		if (write)
			*at = 1;
		else
			(void)*at;
	}
	jumping = 0;
}

static void step_open(int *fd)
{
	struct vgpu_uapi_open args = { .arena = pick(VGPU_ARENAS + 1), .timeout_ms = 1 + pick(3000) };
	char name[32];

	if (*fd < 0) {
		snprintf(name, sizeof(name), "/dev/vgpu%d", (int)pick(DEVICES));
		*fd = open(name, pick(8) ? O_RDWR : O_RDONLY);
	}
	ioctl(*fd, VGPU_IOC_OPEN, &args);
}

static void step_heap(int fd)
{
	struct vgpu_uapi_heap_add add = { .heap_offset = pick(24) * EXTENT, .bytes = (1 + pick(6)) * EXTENT };

	if (!pick(4)) {
		add.heap_offset = odd_number();
		add.bytes = odd_number();
	}
	ioctl(fd, VGPU_IOC_HEAP_ADD, &add);
}

static void step_wait(int fd)
{
	struct vgpu_uapi_wait wait = { .offset = pick(VGPU_CONTROL_BYTES / 4) * 4, .timeout_ns = pick(5000000) };

	if (!pick(8))
		wait.offset = odd_number();
	ioctl(fd, VGPU_IOC_WAIT, &wait);
}

static void step_map(int fd, struct map *map)
{
	static const uint64_t areas[] = { VGPU_MMAP_CONTROL, VGPU_MMAP_DOORBELL, VGPU_MMAP_HEAP,
					  VGPU_MMAP_VIEW };
	static const size_t sizes[] = { 4096, 8192, EXTENT, EXTENT + 4096, 32 * EXTENT };
	uint64_t area = areas[pick(4)];

	if (map->at)
		munmap(map->at, map->bytes);
	if (area >= VGPU_MMAP_HEAP)
		area += pick(4) ? pick(8) * EXTENT : (odd_number() & ~4095ull);
	map->bytes = area == VGPU_MMAP_DOORBELL ? 4096 : sizes[pick(5)];
	map->at = mmap(NULL, map->bytes, pick(4) ? PROT_READ | PROT_WRITE : PROT_READ,
		       pick(16) ? MAP_SHARED : MAP_PRIVATE, fd, area);
	if (map->at == MAP_FAILED)
		map->at = NULL;
}

static void step_memory(struct map *map)
{
	uint8_t *at = map->at;
	int null;

	if (!at)
		return;
	at += pick(map->bytes / 4096) * 4096;
	switch (pick(8)) {
	case 0:
		mprotect(at, 4096, pick(4) ? PROT_READ : PROT_NONE);
		break;
	case 1:
		munmap(at, 4096);
		break;
	case 2:
		madvise(at, 4096, pick(2) ? MADV_DONTNEED : MADV_DOFORK);
		break;
	case 3:
		null = open("/dev/null", O_WRONLY);
		if (write(null, at, 4096) < 0)
			touch(at, 0);
		close(null);
		break;
	default:
		touch(at + pick(4096), pick(2));
	}
}

static void *step_thread(void *data)
{
	struct map *map = data;

	for (size_t at = 0; at < map->bytes; at += 4096)
		touch(map->at + at, 1);
	return NULL;
}

static void step(void)
{
	int *fd = &fds[pick(FDS)];
	struct map *map = &maps[pick(MAPS)];
	struct map copy = *map;
	pthread_t thread;

	switch (pick(16)) {
	case 0:
	case 1:
		step_open(fd);
		break;
	case 2:
		close(*fd);
		*fd = -1;
		break;
	case 3:
	case 4:
		step_heap(*fd);
		break;
	case 5:
	case 6:
		step_wait(*fd);
		break;
	case 7:
	case 8:
		step_map(*fd, map);
		break;
	case 9:
		if (!pick(4) && !fork()) {
			for (int i = 0; i < 5; i++) {
				step_wait(*fd);
				step_heap(*fd);
				step_memory(map);
			}
			_exit(0);
		}
		break;
	case 10:
		ioctl(*fd, _IOC(pick(4), 'G', 0xa0 + pick(5), pick(80)), odd_number());
		break;
	case 11:
		if (copy.at && !pthread_create(&thread, NULL, step_thread, &copy)) {
			step_memory(map);
			pthread_join(thread, NULL);
		}
		break;
	default:
		step_memory(map);
	}
}

static void child(uint64_t seed, int steps)
{
	struct sigaction fault = { .sa_handler = on_fault }, alarm = { .sa_handler = on_alarm };
	struct itimerval often = { { 0, 7000 }, { 0, 7000 } };

	state = seed * 0x9e3779b97f4a7c15ull + 1;
	sigaction(SIGBUS, &fault, NULL);
	sigaction(SIGSEGV, &fault, NULL);
	sigaction(SIGALRM, &alarm, NULL);
	if (pick(2))
		setitimer(ITIMER_REAL, &often, NULL);
	memset(fds, -1, sizeof(fds));
	while (steps--)
		step();
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	_exit(0);
}

int main(int argc, char **argv)
{
	int processes, steps, status;
	uint64_t seed;

	if (argc != 4)
		return 2;
	seed = strtoull(argv[1], NULL, 0);
	processes = atoi(argv[2]);
	steps = atoi(argv[3]);
	state = seed + 77;
	for (int i = 0; i < processes; i++) {
		pid_t pid = fork();

		if (!pid)
			child(seed * 1000 + i, steps);
		/* Every third one does not come to its end by itself. */
		if (i % 3 == 2) {
			usleep(pick(200000));
			kill(pid, SIGKILL);
		}
	}
	while (waitpid(-1, &status, 0) > 0)
		;
	printf("ok\n");
	return 0;
}
