// SPDX-License-Identifier: MIT
/*
 * The device model between a guest and a mediator, both of which do what the input says: register
 * accesses and packets in any order, links that break, time that passes.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/link/chan.h"
#include "device/core/device.h"
#include "protocol/link/link.h"

#define WINDOW (32ull << 20)
#define SESSIONS 5

static struct {
	char dir[64], path[80];
	int listener, peer, watched;
	short events;
	uint64_t now, deadline;
} bench = { .listener = -1 };

struct input {
	const uint8_t *at;
	size_t left;
};

static uint64_t take(struct input *in, size_t bytes)
{
	uint64_t value = 0;

	bytes = bytes < in->left ? bytes : in->left;
	memcpy(&value, in->at, bytes);
	in->at += bytes;
	in->left -= bytes;
	return value;
}

static uint64_t op_now(void *opaque)
{
	return bench.now;
}

static void op_timer(void *opaque, uint64_t deadline)
{
	bench.deadline = deadline;
}

static void op_watch(void *opaque, int fd, bool read, bool write)
{
	bench.watched = read || write ? fd : -1;
	bench.events = (short)((read ? POLLIN : 0) | (write ? POLLOUT : 0));
}

static void op_irq(void *opaque, unsigned int vector)
{
	if (vector >= VGPU_DEVICE_VECTORS_MAX)
		abort();
}

static void op_session_irq_fd(void *opaque, unsigned int sid, int fd, unsigned int vector)
{
	if (sid >= SESSIONS || fd < 0)
		abort();
	op_irq(opaque, vector);
}

static void op_log(void *opaque, enum vgpu_device_level level, const char *sentence)
{
	for (; *sentence; sentence++)
		if ((unsigned char)*sentence < ' ')
			abort();
}

static const struct vgpu_device_ops ops = { op_now, op_timer,	       op_watch,
					    op_irq, op_session_irq_fd, op_log };

static void hang_up(void)
{
	if (bench.peer >= 0)
		close(bench.peer);
	bench.peer = -1;
}

static void turn(struct vgpu_device *dev)
{
	for (int i = 0; i < 100 && bench.watched >= 0; i++) {
		struct pollfd p = { .fd = bench.watched, .events = bench.events };

		if (poll(&p, 1, 0) != 1)
			return;
		vgpu_device_socket_ready(dev);
	}
}

static void send_packet(const void *packet, size_t bytes)
{
	if (bench.peer >= 0 && bytes)
		(void)vgpu_chan_send(bench.peer, packet, bytes, NULL, 0);
}

static void welcome(void)
{
	struct vgpu_link_welcome m = { .h = { VGPU_LINK_WELCOME, sizeof(m), 0, 0 },
				       .version = VGPU_LINK_VERSION,
				       .window_bytes = WINDOW };

	send_packet(&m, sizeof(m));
}

static void result(struct vgpu_device *dev, struct input *in)
{
	struct vgpu_link_result m = { .h = { .bytes = sizeof(m) } };

	m.h.type = VGPU_LINK_WELCOME + take(in, 1) % 9;
	m.h.sid = take(in, 1);
	m.h.epoch = vgpu_device_mmio_read(dev, VGPU_REG_EPOCH, 4) - (m.h.sid >> 7);
	m.h.sid &= 7;
	m.error = take(in, 1) * 0x10001;
	m.status = m.error;
	memset(m.text, (int)take(in, 1), sizeof(m.text) - (m.error != 0x20002));
	send_packet(&m, sizeof(m));
}

static void read_packets(unsigned int n)
{
	uint8_t packet[VGPU_LINK_MESSAGE_MAX];

	while (n-- && bench.peer >= 0)
		if (vgpu_chan_recv(bench.peer, packet, sizeof(packet), NULL) <= 0)
			return;
}

static void command(struct vgpu_device *dev, struct input *in)
{
	uint32_t what = (uint32_t)take(in, 1), where = (uint32_t)take(in, 1);

	for (unsigned int i = 0; i < 3; i++)
		vgpu_device_mmio_write(dev, VGPU_REG_ARG0_LO + 8 * i, 4,
				       (where >> i & 15) << VGPU_EXTENT_SHIFT);
	if ((what & 7) == VGPU_COMMAND_OPEN)
		vgpu_device_mmio_write(dev, VGPU_REG_ARG1_LO, 4, where >> 5);
	vgpu_device_mmio_write(dev, VGPU_REG_COMMAND, 4, VGPU_COMMAND(what & 7, what >> 3 & 7));
}

static void again(struct vgpu_device *dev)
{
	if (bench.deadline) {
		bench.now = bench.deadline;
		bench.deadline = 0;
	}
	vgpu_device_timer(dev);
	hang_up();
	bench.peer = accept4(bench.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static void step(struct vgpu_device *dev, struct input *in)
{
	uint8_t bytes[VGPU_LINK_MESSAGE_MAX + 8];
	uint64_t offset;
	size_t n;
	int small = 0;

	switch (take(in, 1) % 12) {
	case 0:
		offset = take(in, 2);
		vgpu_device_mmio_write(dev, offset * 4, 4, take(in, 4));
		break;
	case 1:
		offset = take(in, 8);
		n = take(in, 1);
		vgpu_device_mmio_read(dev, offset, (unsigned int)n);
		vgpu_device_mmio_write(dev, offset, (unsigned int)n, take(in, 8));
		break;
	case 2:
		offset = take(in, 2);
		vgpu_device_mmio_read(dev, offset * 4, 4);
		break;
	case 3:
		n = take(in, 2) % sizeof(bytes);
		n = n < in->left ? n : in->left;
		memcpy(bytes, in->at, n);
		in->at += n;
		in->left -= n;
		send_packet(bytes, n);
		break;
	case 4:
		hang_up();
		break;
	case 5:
		again(dev);
		break;
	case 6:
		vgpu_device_reset(dev);
		break;
	case 7:
		read_packets((unsigned int)take(in, 1));
		break;
	case 8:
		if (bench.watched >= 0)
			(void)setsockopt(bench.watched, SOL_SOCKET, SO_SNDBUF, &small,
					 sizeof(small));
		break;
	case 9:
		welcome();
		break;
	case 10:
		result(dev, in);
		break;
	default:
		command(dev, in);
	}
	bench.now += 1000000;
	turn(dev);
}

static void clean_up(void)
{
	unlink(bench.path);
	rmdir(bench.dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	strcpy(bench.dir, "/tmp/vgpu-fuzz-device-XXXXXX");
	if (!mkdtemp(bench.dir))
		abort();
	snprintf(bench.path, sizeof(bench.path), "%s/s", bench.dir);
	if (vgpu_chan_listen(bench.path, 0600, SOCK_NONBLOCK, &bench.listener))
		abort();
	atexit(clean_up);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vgpu_device_config config = {
		.socket_path = bench.path,
		.window_bytes = WINDOW,
		.sessions = SESSIONS,
	};
	struct input in = { data, size };
	struct vgpu_device *dev;
	int stale;

	bench.peer = bench.watched = -1;
	bench.now = 1000000000;
	bench.deadline = 0;
	if (vgpu_device_create(&config, &ops, NULL, &dev, NULL))
		abort();
	vgpu_device_start(dev);
	again(dev);
	while (in.left)
		step(dev, &in);
	vgpu_device_free(dev);
	if (bench.watched != -1)
		abort();
	hang_up();
	/* connections that nobody has taken */
	while ((stale = accept4(bench.listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
		close(stale);
	return 0;
}
