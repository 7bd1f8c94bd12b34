// SPDX-License-Identifier: MIT
/* The mediator's side of local links, for tests of the library alone. One thread. */
#include "client/libvgpu/fake_internal.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/link/chan.h"
#include "common/window/window.h"
#include "protocol/link/link.h"

enum { LINKS = 64 };

static void answer(int sock, uint32_t type, uint32_t error, const char *text)
{
	struct vgpu_link_result r = { .h = { .type = type, .bytes = sizeof(r) }, .error = error };

	snprintf(r.text, sizeof(r.text), "%s", text);
	vgpu_chan_send(sock, &r, sizeof(r), NULL, 0);
}

static void hello(struct fake_host *h, unsigned int i, const struct vgpu_link_hello *m, struct vgpu_chan_fds *fds)
{
	struct vgpu_link_welcome w = { .h = { .type = VGPU_LINK_WELCOME, .bytes = sizeof(w) },
				       .version = VGPU_LINK_VERSION, .features = VGPU_LINK_FEATURE_BASE,
				       .sessions = 64, .window_bytes = h->window_bytes };

	if (m->resume) {
		h->window[i] = vgpu_chan_fds_take(fds, 0);
		if (vgpu_window_check(h->window[i], m->window_bytes))
			h->count.malformed++;
		vgpu_chan_send(h->link[i], &w, sizeof(w), NULL, 0);
		return;
	}
	if (m->window_bytes)
		w.window_bytes = m->window_bytes;
	if (vgpu_window_create("fake", w.window_bytes, &h->window[i]))
		abort();
	vgpu_chan_send(h->link[i], &w, sizeof(w), &h->window[i], 1);
}

static void open_session(struct fake_host *h, unsigned int i, const struct vgpu_link_open *m, struct vgpu_chan_fds *fds)
{
	if (h->refuse) {
		answer(h->link[i], VGPU_LINK_OPENED, h->refuse, "the test refuses");
		h->refuse = 0;
		return;
	}
	h->executor[i] = fake_executor_start(h, h->window[i], m->control_offset, m->arena, vgpu_chan_fds_take(fds, 0));
	h->count.sessions++;
	answer(h->link[i], VGPU_LINK_OPENED, 0, "");
}

static void stop_executor(struct fake_host *h, unsigned int i)
{
	struct fake_executor *x = h->executor[i];

	if (!x)
		return;
	h->executor[i] = NULL;
	pthread_mutex_unlock(&h->lock);
	fake_executor_stop(x);
	pthread_mutex_lock(&h->lock);
}

static void drop(struct fake_host *h, unsigned int i, bool keep_executor)
{
	close(h->link[i]);
	close(h->window[i]);
	h->link[i] = h->window[i] = -1;
	if (!keep_executor)
		stop_executor(h, i);
}

/* Which executor a RESUME means: the test resumes at most one at a time. */
static void resume(struct fake_host *h, unsigned int i)
{
	for (unsigned int j = 0; j < LINKS; j++)
		if (j != i && h->executor[j] && h->link[j] < 0) {
			h->executor[i] = h->executor[j];
			h->executor[j] = NULL;
			h->count.resumed++;
			return;
		}
	answer(h->link[i], VGPU_LINK_ENDED, VGPU_ERROR_SESSION_EXECUTOR_DIED, "not here any more");
}

static void receive(struct fake_host *h, unsigned int i)
{
	union {
		struct vgpu_link_header h;
		struct vgpu_link_hello hello;
		struct vgpu_link_open open;
		struct vgpu_link_heap heap;
		uint8_t bytes[VGPU_LINK_MESSAGE_MAX];
	} m;
	struct vgpu_chan_fds fds;
	ssize_t got = vgpu_chan_recv(h->link[i], &m, sizeof(m), &fds);

	if (got <= 0) {
		drop(h, i, false);
		return;
	}
	switch (m.h.type) {
	case VGPU_LINK_HELLO:
		hello(h, i, &m.hello, &fds);
		break;
	case VGPU_LINK_OPEN:
		open_session(h, i, &m.open, &fds);
		break;
	case VGPU_LINK_RESUME:
		resume(h, i);
		break;
	case VGPU_LINK_HEAP_ADD:
		h->count.heap_adds++;
		if (!(m.heap.flags & VGPU_LINK_FLAG_RESUME))
			answer(h->link[i], VGPU_LINK_HEAP_ADDED, 0, "");
		break;
	case VGPU_LINK_CLOSE:
		stop_executor(h, i); /* it uses the client's mapping */
		answer(h->link[i], VGPU_LINK_CLOSED, 0, "");
		break;
	case VGPU_LINK_RESUMED:
		break;
	default:
		h->count.malformed++;
	}
	vgpu_chan_fds_close(&fds);
}

static void *host_main(void *arg)
{
	struct fake_host *h = arg;

	pthread_mutex_lock(&h->lock);
	while (!h->stop) {
		struct pollfd p[LINKS + 2] = { { .fd = h->wake, .events = POLLIN }, { .fd = h->listener, .events = POLLIN } };
		uint64_t n;

		for (unsigned int i = 0; i < LINKS; i++)
			p[i + 2] = (struct pollfd){ .fd = h->link[i], .events = POLLIN };
		pthread_mutex_unlock(&h->lock);
		poll(p, LINKS + 2, -1);
		pthread_mutex_lock(&h->lock);
		if (p[0].revents && read(h->wake, &n, sizeof(n)) > 0)
			continue; /* something has changed: look anew */
		for (unsigned int i = 0; i < LINKS; i++)
			if (p[i + 2].revents && h->link[i] == p[i + 2].fd)
				receive(h, i);
		if (p[1].revents && h->listener >= 0) {
			int sock = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC);
			unsigned int i = 0;

			while (i < LINKS && (h->link[i] >= 0 || h->executor[i]))
				i++;
			if (sock >= 0 && i == LINKS) {
				close(sock);
			} else if (sock >= 0) {
				h->link[i] = sock;
				h->count.links++;
			}
		}
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

static void rouse(struct fake_host *h)
{
	uint64_t one = 1;

	if (write(h->wake, &one, sizeof(one)) < 0)
		abort();
}

struct fake_host *fake_host_start(const char *path, uint64_t window_bytes)
{
	struct fake_host *h = calloc(1, sizeof(*h));

	if (!h)
		abort();
	snprintf(h->path, sizeof(h->path), "%s", path);
	h->window_bytes = window_bytes;
	pthread_mutex_init(&h->lock, NULL);
	for (unsigned int i = 0; i < LINKS; i++)
		h->link[i] = h->window[i] = -1;
	h->wake = eventfd(0, EFD_CLOEXEC);
	h->memory = mmap(NULL, FAKE_DEVICE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (h->memory == MAP_FAILED || vgpu_chan_listen(path, 0600, 0, &h->listener))
		abort();
	pthread_create(&h->thread, NULL, host_main, h);
	return h;
}

void fake_host_stop(struct fake_host *h)
{
	pthread_mutex_lock(&h->lock);
	h->stop = true;
	pthread_mutex_unlock(&h->lock);
	rouse(h);
	pthread_join(h->thread, NULL);
	pthread_mutex_lock(&h->lock);
	for (unsigned int i = 0; i < LINKS; i++)
		if (h->link[i] >= 0 || h->executor[i])
			drop(h, i, false);
	pthread_mutex_unlock(&h->lock);
	if (h->listener >= 0)
		close(h->listener);
	close(h->wake);
	unlink(h->path);
	munmap(h->memory, FAKE_DEVICE_BYTES);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

void fake_host_hold(struct fake_host *h, uint32_t stream, bool hold)
{
	atomic_store(&h->hold[stream], hold);
}

void fake_host_stall(struct fake_host *h, bool stall)
{
	atomic_store(&h->stall, stall);
}

void fake_host_sticky(struct fake_host *h, uint32_t error)
{
	atomic_store(&h->sticky, error);
}

void fake_host_mediator(struct fake_host *h, bool up)
{
	pthread_mutex_lock(&h->lock);
	if (up && vgpu_chan_listen(h->path, 0600, 0, &h->listener))
		abort();
	if (!up) {
		close(h->listener);
		unlink(h->path);
		h->listener = -1;
		for (unsigned int i = 0; i < LINKS; i++)
			if (h->link[i] >= 0)
				drop(h, i, true);
	}
	pthread_mutex_unlock(&h->lock);
	rouse(h);
}

void fake_host_end(struct fake_host *h, uint32_t reason)
{
	pthread_mutex_lock(&h->lock);
	for (unsigned int i = 0; i < LINKS; i++)
		if (h->link[i] >= 0 && h->executor[i])
			answer(h->link[i], VGPU_LINK_ENDED, reason, "the test ends it");
	pthread_mutex_unlock(&h->lock);
}

void fake_host_refuse(struct fake_host *h, uint32_t error)
{
	pthread_mutex_lock(&h->lock);
	h->refuse = error;
	pthread_mutex_unlock(&h->lock);
}

void fake_host_collide(struct fake_host *h, unsigned int n)
{
	pthread_mutex_lock(&h->lock);
	h->collide = n;
	pthread_mutex_unlock(&h->lock);
}

struct fake_host_counters fake_host_counters(struct fake_host *h)
{
	struct fake_host_counters c;

	pthread_mutex_lock(&h->lock);
	c = h->count;
	pthread_mutex_unlock(&h->lock);
	return c;
}
