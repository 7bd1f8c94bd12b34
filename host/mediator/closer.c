// SPDX-License-Identifier: MIT
/*
 * Closing what peers have sent. The last close of a file takes as long as its owner likes: a TCP
 * socket with SO_LINGER and a peer that does not read, a file of a FUSE daemon. So the loop never
 * does it for a descriptor that it has not checked, nor for a socket that may hold such ones unread.
 *
 * A thread is made when none is free, so that one file holds up only itself; at most MED_CLOSERS, and
 * what waits for them is limited by refusing new connections (med_closing_many).
 */
#include "host/mediator/internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

struct closing {
	struct closing *next;
	int fd;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t work;
	/* under lock */
	struct closing *first, **last;
	unsigned int queued, threads, idle;
} closer = { .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .last = &closer.first };

static void *closer_thread(void *unused)
{
	pthread_mutex_lock(&closer.lock);
	for (;;) {
		struct closing *c;

		while (!closer.first) {
			closer.idle++;
			pthread_cond_wait(&closer.work, &closer.lock);
			closer.idle--;
		}
		c = closer.first;
		closer.first = c->next;
		if (!closer.first)
			closer.last = &closer.first;
		closer.queued--;
		pthread_mutex_unlock(&closer.lock);
		close(c->fd);
		free(c);
		pthread_mutex_lock(&closer.lock);
	}
	return NULL;
}

static void add_thread(void)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, MED_CLOSER_STACK);
	closer.threads += !pthread_create(&thread, &attr, closer_thread, NULL);
	pthread_attr_destroy(&attr);
}

void med_close_later(int fd)
{
	struct closing *c = malloc(sizeof(*c));
	bool alone;

	if (c) {
		pthread_mutex_lock(&closer.lock);
		if (closer.queued >= closer.idle && closer.threads < MED_CLOSERS)
			add_thread();
		alone = !closer.threads;
		if (!alone) {
			*c = (struct closing){ .fd = fd };
			*closer.last = c;
			closer.last = &c->next;
			closer.queued++;
			pthread_cond_signal(&closer.work);
		}
		pthread_mutex_unlock(&closer.lock);
		if (!alone)
			return;
	}
	/* without memory or threads: better slow than a descriptor lost */
	free(c);
	close(fd);
}

bool med_closing_many(void)
{
	bool many;

	pthread_mutex_lock(&closer.lock);
	many = closer.queued > MED_CLOSING_MANY;
	pthread_mutex_unlock(&closer.lock);
	return many;
}
