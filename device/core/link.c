// SPDX-License-Identifier: MIT
/*
 * The connection to the mediator. There is no queue: what has to be said follows from the device's
 * state, and is said when the socket takes it. So a guest, or a mediator that does not read, cannot
 * make anything here grow or wait.
 */
#include "device/core/internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/link/chan.h"

#define DELAY_LEAST_NS 50000000ull
#define DELAY_MOST_NS 1000000000ull
/* A link that stood this long ended for a new reason: try again soon. */
#define LINK_STABLE_NS 1000000000ull
/* Packets taken at once: the hypervisor's main loop has other work. */
#define RECEIVE_BUDGET 128

static struct vgpu_link_header header(const struct vgpu_device *dev, uint32_t type, size_t bytes,
				      unsigned int sid)
{
	return (struct vgpu_link_header){
		.type = type, .bytes = (uint32_t)bytes, .epoch = dev->link_epoch, .sid = sid
	};
}

static int send_bare(struct vgpu_device *dev, uint32_t type, unsigned int sid)
{
	struct vgpu_link_header h = header(dev, type, sizeof(h), sid);

	return vgpu_chan_send(dev->sock, &h, sizeof(h), NULL, 0);
}

static int send_hello(struct vgpu_device *dev)
{
	struct vgpu_link_hello m = {
		.magic = VGPU_LINK_MAGIC,
		.version_oldest = VGPU_LINK_VERSION_OLDEST,
		.version = VGPU_LINK_VERSION,
		.kind = VGPU_LINK_KIND_STUB,
		.features = VGPU_LINK_FEATURE_BASE,
		.resume = dev->met,
		.window_bytes = dev->config.window_bytes,
		.pid = (uint32_t)getpid(),
	};
	int rc;

	dev->link_epoch = dev->epoch;
	m.h = header(dev, VGPU_LINK_HELLO, sizeof(m), 0);
	memcpy(m.uuid, dev->config.uuid, sizeof(m.uuid));
	rc = vgpu_chan_send(dev->sock, &m, sizeof(m), &dev->window_fd, 1);
	dev->greeted = !rc;
	return rc;
}

/* OPEN with descriptors, RESUME without. */
static int send_open(struct vgpu_device *dev, uint32_t type, unsigned int sid)
{
	const struct vgpu_device_session *s = &dev->session[sid];
	struct vgpu_link_open m = {
		.h = header(dev, type, sizeof(m), sid),
		.control_offset = s->control_offset,
		.arena = s->arena,
		.features = s->features,
		.pid = s->pid,
	};
	int fds[2] = { s->doorbell_fd, s->irq_fd };

	return vgpu_chan_send(dev->sock, &m, sizeof(m), fds, type == VGPU_LINK_OPEN ? 2 : 0);
}

static int send_heap(struct vgpu_device *dev, unsigned int sid, unsigned int run, uint32_t flags)
{
	const struct vgpu_device_run *r = &dev->session[sid].run[run];
	struct vgpu_link_heap m = {
		.h = header(dev, VGPU_LINK_HEAP_ADD, sizeof(m), sid),
		.heap_offset = r->heap_offset,
		.window_offset = r->window_offset,
		.bytes = r->bytes,
		.flags = flags,
	};

	return vgpu_chan_send(dev->sock, &m, sizeof(m), NULL, 0);
}

/* The next message of RESUME, HEAP_ADD..., RESUME, ..., RESUMED. resume_run 0 is RESUME itself. */
static int send_resume(struct vgpu_device *dev)
{
	const struct vgpu_device_session *s;
	int rc;

	while (dev->resume_sid < dev->config.sessions) {
		s = &dev->session[dev->resume_sid];
		/* An OPEN that waits for its turn is nothing that the mediator could know. */
		if (s->state != VGPU_SESSION_FREE && s->request != VGPU_LINK_OPEN &&
		    dev->resume_run <= s->runs)
			break;
		dev->resume_sid++;
		dev->resume_run = 0;
	}
	if (dev->resume_sid == dev->config.sessions) {
		rc = send_bare(dev, VGPU_LINK_RESUMED, 0);
		if (!rc)
			dev->link = LINK_UP;
		return rc;
	}
	rc = dev->resume_run
		     ? send_heap(dev, dev->resume_sid, dev->resume_run - 1, VGPU_LINK_FLAG_RESUME)
		     : send_open(dev, VGPU_LINK_RESUME, dev->resume_sid);
	if (!rc)
		dev->resume_run++;
	return rc;
}

static int send_reset(struct vgpu_device *dev)
{
	uint32_t before = dev->link_epoch;
	int rc;

	dev->link_epoch = dev->epoch;
	rc = send_bare(dev, VGPU_LINK_RESET, 0);
	if (rc)
		dev->link_epoch = before;
	dev->reset_sent = !rc;
	return rc;
}

static int send_request(struct vgpu_device *dev, unsigned int sid)
{
	struct vgpu_device_session *s = &dev->session[sid];
	int rc;

	if (s->request == VGPU_LINK_OPEN)
		rc = send_open(dev, VGPU_LINK_OPEN, sid);
	else if (s->request == VGPU_LINK_HEAP_ADD)
		rc = send_heap(dev, sid, s->runs, 0);
	else
		rc = send_bare(dev, VGPU_LINK_CLOSE, sid);
	s->sent = !rc;
	return rc;
}

/* 1: something was sent; 0: there is nothing to say; -EAGAIN, -errno. */
static int send_next(struct vgpu_device *dev)
{
	bool reset_due = dev->resetting && !dev->reset_sent &&
			 !(dev->reset_failed && dev->link_epoch == dev->epoch);
	int rc;

	if (dev->link == LINK_GREETING)
		return dev->greeted ? 0 : (rc = send_hello(dev)) ? rc : 1;
	if (dev->link == LINK_RESUMING)
		return (rc = send_resume(dev)) ? rc : 1;
	if (reset_due)
		return (rc = send_reset(dev)) ? rc : 1;
	for (unsigned int i = 0; i < dev->config.sessions; i++) {
		unsigned int sid = (dev->send_turn + i) % dev->config.sessions;

		if (!dev->session[sid].request || dev->session[sid].sent)
			continue;
		rc = send_request(dev, sid);
		dev->send_turn = sid + 1;
		return rc ? rc : 1;
	}
	return 0;
}

void vgpu_device_link_pump(struct vgpu_device *dev)
{
	bool full;
	int rc;

	if (dev->link == LINK_DOWN)
		return;
	do {
		rc = send_next(dev);
	} while (rc == 1);
	full = rc == -EAGAIN;
	if (rc < 0 && !full) {
		vgpu_device_link_drop(dev, VGPU_ERROR_HOST_NO_MEDIATOR, strerror(-rc));
		return;
	}
	if (full != dev->watch_write)
		dev->ops.watch(dev->opaque, dev->sock, true, full);
	dev->watch_write = full;
}

static void connect_later(struct vgpu_device *dev)
{
	dev->ops.timer_set(dev->opaque, dev->ops.now_ns(dev->opaque) + dev->delay_ns);
	dev->delay_ns = dev->delay_ns * 2 < DELAY_MOST_NS ? dev->delay_ns * 2 : DELAY_MOST_NS;
}

void vgpu_device_link_drop(struct vgpu_device *dev, uint32_t error, const char *why)
{
	bool stood = dev->link >= LINK_RESUMING;

	dev->ops.watch(dev->opaque, dev->sock, false, false);
	close(dev->sock);
	dev->sock = -1;
	if (stood || error != dev->link_error)
		vgpu_device_log(
			dev, VGPU_DEVICE_WARNING,
			"the link to the mediator at %s ended: %s; trying again until it is back",
			dev->socket_path, why);
	if (stood && dev->ops.now_ns(dev->opaque) - dev->linked_ns >= LINK_STABLE_NS)
		dev->delay_ns = DELAY_LEAST_NS;
	if (error != VGPU_ERROR_HOST_NO_MEDIATOR)
		dev->delay_ns = DELAY_MOST_NS;
	dev->link = LINK_DOWN;
	dev->link_error = error;
	vgpu_device_sessions_unlink(dev);
	vgpu_device_status_update(dev);
	connect_later(dev);
}

static void try_connect(struct vgpu_device *dev)
{
	int rc = vgpu_chan_connect(dev->socket_path, SOCK_NONBLOCK, &dev->sock);

	if (rc) {
		/* Said once, not twenty times a second. */
		if (!dev->started)
			vgpu_device_log(dev, VGPU_DEVICE_WARNING,
					"no mediator at %s (%s): the VM runs without its GPU until "
					"there is one",
					dev->socket_path, strerror(-rc));
		dev->started = true;
		dev->link_error = VGPU_ERROR_HOST_NO_MEDIATOR;
		vgpu_device_status_update(dev);
		connect_later(dev);
		return;
	}
	dev->started = true;
	dev->link = LINK_GREETING;
	dev->greeted = dev->watch_write = false;
	dev->ops.watch(dev->opaque, dev->sock, true, false);
	vgpu_device_link_pump(dev);
}

void vgpu_device_start(struct vgpu_device *dev)
{
	if (dev->started)
		return;
	dev->delay_ns = DELAY_LEAST_NS;
	try_connect(dev);
}

void vgpu_device_timer(struct vgpu_device *dev)
{
	if (dev->started && dev->link == LINK_DOWN)
		try_connect(dev);
}

void vgpu_device_socket_ready(struct vgpu_device *dev)
{
	union {
		struct vgpu_link_header h;
		uint8_t bytes[VGPU_LINK_MESSAGE_MAX];
	} packet;

	for (unsigned int i = 0; i < RECEIVE_BUDGET && dev->link != LINK_DOWN; i++) {
		ssize_t got = vgpu_chan_recv(dev->sock, &packet, sizeof(packet), NULL);
		uint32_t error = VGPU_ERROR_HOST_NO_MEDIATOR;
		const char *why = NULL;

		if (got == -EAGAIN)
			break;
		if (got > 0)
			why = vgpu_device_receive(dev, &packet, (size_t)got, &error);
		else
			why = got == 0 ? "closed by the mediator" : strerror((int)-got);
		if (why)
			vgpu_device_link_drop(dev, error, why);
	}
	vgpu_device_link_pump(dev);
}
