// SPDX-License-Identifier: MIT
/* epoll and timers of the one thread. */
#include "host/mediator/internal.h"

#include <errno.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64 };

static int epoll_fd = -1;
static struct epoll_event batch[BATCH];
static int batch_count;
static struct med_timer *timers;

uint64_t med_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int med_loop_init(void)
{
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return epoll_fd < 0 ? -errno : 0;
}

int med_loop_add(struct med_source *s, int fd, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = s };

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0)
		return -errno;
	s->fd = fd;
	return 0;
}

int med_loop_change(struct med_source *s, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = s };

	return epoll_ctl(epoll_fd, EPOLL_CTL_MOD, s->fd, &e) < 0 ? -errno : 0;
}

void med_loop_remove(struct med_source *s)
{
	if (s->fd < 0)
		return;
	epoll_ctl(epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
	s->fd = -1;
	for (int i = 0; i < batch_count; i++)
		if (batch[i].data.ptr == s)
			batch[i].data.ptr = NULL;
}

void med_timer_start(struct med_timer *t, uint64_t ms)
{
	t->due_ns = med_now_ns() + ms * 1000000u;
	if (t->armed)
		return;
	t->armed = true;
	t->next = timers;
	timers = t;
}

void med_timer_stop(struct med_timer *t)
{
	if (!t->armed)
		return;
	for (struct med_timer **at = &timers; *at; at = &(*at)->next) {
		if (*at == t) {
			*at = t->next;
			break;
		}
	}
	t->armed = false;
}

static int timeout_ms(void)
{
	uint64_t now = med_now_ns(), first = UINT64_MAX;

	for (struct med_timer *t = timers; t; t = t->next)
		if (t->due_ns < first)
			first = t->due_ns;
	if (first == UINT64_MAX)
		return -1;
	return first <= now ? 0 : (int)((first - now) / 1000000u) + 1;
}

static void fire_due(void)
{
	uint64_t now = med_now_ns();
	struct med_timer *t = timers;

	/* what fires may stop or free any timer: begin again after each */
	while (t) {
		if (t->due_ns > now) {
			t = t->next;
			continue;
		}
		med_timer_stop(t);
		t->fire(t);
		t = timers;
	}
}

int med_loop_run(const bool *stop)
{
	while (!*stop) {
		int n = epoll_wait(epoll_fd, batch, BATCH, timeout_ms());

		if (n < 0 && errno != EINTR)
			return -errno;
		batch_count = n > 0 ? n : 0;
		for (int i = 0; i < batch_count; i++) {
			struct med_source *s = batch[i].data.ptr;

			if (s)
				s->ready(s, batch[i].events);
		}
		batch_count = 0;
		fire_due();
	}
	return 0;
}
