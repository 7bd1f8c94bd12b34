/* SPDX-License-Identifier: MIT */
#include "host/executor/harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/link/chan.h"
#include "common/window/window.h"

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static const char *need_env(const char *name)
{
	const char *value = getenv(name);

	if (!value)
		fail_msg("%s is not set: run this through meson test", name);
	return value;
}

struct command {
	char *args[8];
	char relax[128];
};

/* In the parent: a test that fails in a forked child would go on there with all tests after it. */
static void command_make(struct command *c)
{
	const char *relax = getenv("VGPU_TEST_RELAX");
	int n = 3;

	*c = (struct command){ { (char *)need_env("VGPU_TEST_EXECUTOR"), "--driver",
				 (char *)need_env("VGPU_TEST_DRIVER") } };
	snprintf(c->relax, sizeof(c->relax), "%s", relax ? relax : "");
	for (char *word = strtok(c->relax, " "); word && n < 7; word = strtok(NULL, " "))
		c->args[n++] = word;
}

/* In the child: never returns, and calls nothing of cmocka. */
__attribute__((noreturn)) static void exec_executor(const struct command *c, int sock, const char *extra)
{
	if (dup2(sock, VGPU_EXECUTOR_SOCKET_FD) < 0 || fcntl(VGPU_EXECUTOR_SOCKET_FD, F_SETFD, 0) < 0)
		_exit(126);
	if (extra)
		putenv((char *)extra);
	execv(c->args[0], c->args);
	perror(c->args[0]);
	_exit(127);
}

void h_send(struct harness *h, const void *message, uint32_t type, uint32_t bytes, const int *fds,
	    unsigned int count)
{
	uint8_t copy[VGPU_EXECUTOR_MESSAGE_MAX];
	struct vgpu_executor_header head = { type, bytes, VGPU_EXECUTOR_VERSION, 1 };

	memcpy(copy, message, bytes);
	memcpy(copy, &head, sizeof(head));
	assert_int_equal(vgpu_chan_send(h->sock, copy, bytes, fds, count), 0);
}

void h_expect(struct harness *h, void *message, size_t size, uint32_t type)
{
	struct vgpu_executor_header head;
	struct vgpu_chan_fds fds;
	ssize_t got = vgpu_chan_recv(h->sock, message, size, &fds);

	vgpu_chan_fds_close(&fds);
	assert_true(got >= (ssize_t)sizeof(head));
	memcpy(&head, message, sizeof(head));
	if (head.type == VGPU_EXECUTOR_FAILED)
		print_message("executor: %s\n", ((struct vgpu_executor_result *)message)->text);
	assert_int_equal(head.type, type);
	assert_int_equal(head.bytes, got);
}

void h_spawn(struct harness *h, const char *extra)
{
	const struct timeval limit = { .tv_sec = 60 };
	struct vgpu_executor_header hello = { 0 };
	struct command command;
	int pair[2];

	command_make(&command);
	*h = (struct harness){ .arena = VGPU_ARENAS - 1, .window = -1 };
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	h->pid = fork();
	assert_true(h->pid >= 0);
	if (!h->pid)
		exec_executor(&command, pair[1], extra);
	close(pair[1]);
	h->sock = pair[0];
	setsockopt(h->sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	h_send(h, &hello, VGPU_EXECUTOR_HELLO, sizeof(hello), NULL, 0);
	h_expect(h, &h->ready, sizeof(h->ready), VGPU_EXECUTOR_READY);
}

static int page_fd(const char *name, void **ret_map)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	*ret_map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(*ret_map, MAP_FAILED);
	return fd;
}

void h_assign(struct harness *h, uint32_t poll_us)
{
	struct vgpu_executor_assign assign = { .sid = 1,
					       .link_epoch = 7,
					       .window_bytes = H_WINDOW,
					       .arena = h->arena,
					       .wake_futex = 1,
					       .quota_slot = 3,
					       .poll_us = poll_us };
	struct vgpu_executor_heap heap = { .window_offset = 2 * H_MIB, .bytes = H_HEAP };
	struct vgpu_executor_result result;
	int fds[5];

	assert_int_equal(vgpu_window_create("test", H_WINDOW, &h->window), 0);
	h->map = mmap(NULL, H_WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED, h->window, 0);
	assert_ptr_not_equal(h->map, MAP_FAILED);
	h->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	h->interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	h->gate_fd = page_fd("gate", (void **)&h->gate);
	h->quota_fd = page_fd("quota", (void **)&h->quota);
	h->gate->gate = 1;
	h->quota->quota_bytes = H_QUOTA;
	memset(assign.vm_uuid, 0x5a, sizeof(assign.vm_uuid));
	fds[0] = h->window;
	fds[1] = h->doorbell;
	fds[2] = h->interrupt;
	fds[3] = h->gate_fd;
	fds[4] = h->quota_fd;
	h_send(h, &assign, VGPU_EXECUTOR_ASSIGN, sizeof(assign), fds, 5);
	h_expect(h, &result, sizeof(result), VGPU_EXECUTOR_ASSIGNED);
	if (result.error)
		fail_msg("ASSIGN: %s", result.text);
	h_send(h, &heap, VGPU_EXECUTOR_HEAP_ADD, sizeof(heap), NULL, 0);
	h_expect(h, &result, sizeof(result), VGPU_EXECUTOR_HEAP_ADDED);
	if (result.error)
		fail_msg("HEAP_ADD: %s", result.text);
	h->producer.control = vgpu_control_at(h->map);
	assert_int_equal(h->producer.control.header->magic, VGPU_SESSION_MAGIC);
}

void h_start(struct harness *h, const char *extra)
{
	h_spawn(h, extra);
	if (h->ready.error)
		fail_msg("READY: %#x %s", h->ready.error, h->ready.text);
	h_assign(h, 50);
}

int h_reap(struct harness *h)
{
	int status = -1;

	close(h->sock);
	assert_int_equal(waitpid(h->pid, &status, 0), h->pid);
	if (h->window >= 0) {
		munmap(h->map, H_WINDOW);
		munmap(h->gate, 4096);
		munmap(h->quota, 4096);
		close(h->window);
		close(h->doorbell);
		close(h->interrupt);
		close(h->gate_fd);
		close(h->quota_fd);
	}
	return status;
}

void h_stop(struct harness *h)
{
	struct vgpu_executor_header finish = { 0 };

	h_send(h, &finish, VGPU_EXECUTOR_FINISH, sizeof(finish), NULL, 0);
	assert_int_equal(h_reap(h), 0);
}

static void ring_bell(struct harness *h)
{
	uint64_t one = 1;

	assert_int_equal(write(h->doorbell, &one, sizeof(one)), sizeof(one));
}

static bool op_is_stream(uint16_t op)
{
	switch (op) {
#define OP_CLASS(name, code, class, posted) \
	case code: \
		return VGPU_CLASS_##class == VGPU_CLASS_STREAM;
		VGPU_OPS(OP_CLASS)
#undef OP_CLASS
	default:
		return false;
	}
}

uint32_t h_put(struct harness *h, const struct h_call *c)
{
	uint8_t bytes[VGPU_ENTRY_MAX];
	struct vgpu_entry e = {
		.bytes = (uint32_t)sizeof(e) + c->head_bytes + c->tail_bytes,
		.op = c->op,
		.slot = c->slot,
		.seq = ++h->seq,
		.stream = c->stream,
	};
	double end = now_s() + 20;
	uint64_t pos;

	while (h->posted[c->stream % VGPU_STREAMS] + VGPU_ENTRY_MAX -
		       __atomic_load_n(&h->producer.control.stream[c->stream % VGPU_STREAMS].issued_bytes,
				       __ATOMIC_ACQUIRE) >
	       VGPU_STREAM_BACKLOG)
		if (now_s() > end)
			fail_msg("stream %u takes nothing more", c->stream);
	memcpy(bytes, &e, sizeof(e));
	if (c->head_bytes)
		memcpy(bytes + sizeof(e), c->head, c->head_bytes);
	if (c->tail_bytes)
		memcpy(bytes + sizeof(e) + c->head_bytes, c->tail, c->tail_bytes);
	while (vgpu_ring_reserve(&h->producer, e.bytes, &pos) < 0)
		if (now_s() > end)
			fail_msg("the ring stays full");
	vgpu_ring_write(&h->producer.control, pos, bytes, e.bytes);
	if (vgpu_ring_commit(&h->producer, pos))
		ring_bell(h);
	if (op_is_stream(c->op))
		h->posted[c->stream % VGPU_STREAMS] += vgpu_ring_cells(e.bytes) * VGPU_CELL_BYTES;
	return e.seq;
}

bool h_replied(const struct harness *h, uint32_t slot, uint32_t seq)
{
	return __atomic_load_n(&h->producer.control.slot[slot].seq, __ATOMIC_ACQUIRE) == seq;
}

struct h_reply h_wait(struct harness *h, uint32_t slot, uint32_t seq)
{
	struct vgpu_slot *s = &h->producer.control.slot[slot];
	double end = now_s() + 20;
	struct h_reply r;

	for (int spins = 0; !h_replied(h, slot, seq); spins++) {
		if (spins < 2000) {
			__builtin_ia32_pause();
			continue;
		}
		if (waitpid(h->pid, NULL, WNOHANG) != 0)
			fail_msg("the executor has died");
		if (now_s() > end)
			fail_msg("no reply in slot %u", slot);
		usleep(50);
	}
	r.status = s->status;
	memcpy(r.value, s->value, sizeof(r.value));
	return r;
}

struct h_reply h_call(struct harness *h, uint16_t op, uint32_t stream, const void *head,
		      uint32_t head_bytes, const void *tail, uint32_t tail_bytes)
{
	const struct h_call c = { op, stream, 0, head, head_bytes, tail, tail_bytes };

	return h_wait(h, 0, h_put(h, &c));
}

void h_post(struct harness *h, uint16_t op, uint32_t stream, const void *head, uint32_t head_bytes)
{
	const struct h_call c = { op, stream, VGPU_NO_SLOT, head, head_bytes, NULL, 0 };

	h_put(h, &c);
}

uint64_t h_alloc(struct harness *h, uint64_t bytes)
{
	const struct vgpu_call_mem mem = { .bytes = bytes };
	struct h_reply r = h_call(h, VGPU_OP_MEM_ALLOC, 0, &mem, sizeof(mem), NULL, 0);

	assert_int_equal(r.status, 0);
	assert_int_not_equal(r.value[0], 0);
	return r.value[0];
}

uint32_t h_free(struct harness *h, uint64_t address)
{
	const struct vgpu_call_mem mem = { .address = address };

	return h_call(h, VGPU_OP_MEM_FREE, 0, &mem, sizeof(mem), NULL, 0).status;
}

uint32_t h_copy(struct harness *h, uint16_t op, uint32_t stream, uint64_t dst, uint64_t src,
		uint64_t bytes)
{
	const struct vgpu_call_copy copy = { dst, src, bytes };

	return h_call(h, op, stream, &copy, sizeof(copy), NULL, 0).status;
}

uint32_t h_finish(struct harness *h, uint32_t stream)
{
	const struct vgpu_call_mark mark = { ++h->mark };
	struct vgpu_session_header *header = h->producer.control.header;
	double end = now_s() + 20;

	h_post(h, VGPU_OP_STREAM_MARK, stream, &mark, sizeof(mark));
	while (__atomic_load_n(&h->producer.control.stream[stream].completed, __ATOMIC_ACQUIRE) <
	       mark.value) {
		uint32_t sticky = __atomic_load_n(&header->sticky, __ATOMIC_ACQUIRE);

		if (sticky)
			return sticky;
		if (now_s() > end)
			fail_msg("the mark of stream %u never comes", stream);
		usleep(20);
	}
	return 0;
}

uint32_t h_module(struct harness *h, const char *file)
{
	struct vgpu_call_module m = { .image = h_address(h, 0),
				      .log = h_address(h, 8 * H_MIB),
				      .log_bytes = 4096 };
	char path[512];
	struct h_reply r;
	ssize_t bytes;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", need_env("VGPU_TEST_KERNELS"), file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail_msg("%s: %s", path, strerror(errno));
	bytes = read(fd, h_heap(h, 0), 8 * H_MIB);
	close(fd);
	assert_true(bytes > 0);
	m.image_bytes = (uint64_t)bytes;
	r = h_call(h, VGPU_OP_MODULE_LOAD, 0, &m, sizeof(m), NULL, 0);
	if (r.status)
		fail_msg("%s: error %u: %.*s", file, r.status, (int)r.value[1], h_heap(h, 8 * H_MIB));
	return (uint32_t)r.value[0];
}

uint32_t h_function(struct harness *h, uint32_t module, const char *name,
		    struct vgpu_function_info *ret_info)
{
	const struct vgpu_call_name call = { .module = module,
					     .name_bytes = (uint32_t)strlen(name),
					     .out = { h_address(h, 9 * H_MIB), 65536 } };
	struct h_reply r = h_call(h, VGPU_OP_FUNCTION_GET, 0, &call, sizeof(call), name,
				  call.name_bytes);

	if (r.status)
		fail_msg("%s: error %u", name, r.status);
	memcpy(ret_info, h_heap(h, 9 * H_MIB), sizeof(*ret_info));
	assert_int_equal(ret_info->function, r.value[0]);
	assert_int_equal(r.value[1], sizeof(*ret_info) +
					     ret_info->param_count * sizeof(struct vgpu_param_info));
	return (uint32_t)r.value[0];
}

uint32_t h_launch(struct harness *h, uint16_t op, uint32_t slot, uint32_t stream, uint32_t function,
		  uint32_t blocks, uint32_t threads, const void *params, uint32_t bytes)
{
	const struct vgpu_call_launch l = { .function = function,
					    .grid = { blocks, 1, 1 },
					    .block = { threads, 1, 1 },
					    .param_bytes = bytes };
	const struct h_call c = { op, stream, slot, &l, sizeof(l), params, bytes };
	uint32_t seq = h_put(h, &c);

	return slot == VGPU_NO_SLOT ? 0 : h_wait(h, slot, seq).status;
}

uint32_t h_stream(struct harness *h, uint32_t flags)
{
	const struct vgpu_call_stream create = { .flags = flags };
	struct h_reply r = h_call(h, VGPU_OP_STREAM_CREATE, 0, &create, sizeof(create), NULL, 0);

	assert_int_equal(r.status, 0);
	h->posted[r.value[0]] = 0;
	return (uint32_t)r.value[0];
}
