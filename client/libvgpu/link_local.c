// SPDX-License-Identifier: MIT
/*
 * The link of a local session after it is open: one thread reads it, and connects again when the
 * mediator has gone, for as long as the session lives. Calls and copies do not need the link;
 * growing the heap and closing do.
 */
#include "client/libvgpu/local.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
	GREET_MS = 5000,
	BACKOFF_FIRST_MS = 20,
	BACKOFF_LAST_MS = 1000,
};

int vgpu_local_receive(int sock, uint32_t timeout_ms, union vgpu_link_message *ret, struct vgpu_chan_fds *ret_fds)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	ssize_t got;
	int rc;

	memset(ret, 0, sizeof(*ret));
	if (ret_fds)
		ret_fds->count = 0;
	do {
		rc = poll(&p, 1, timeout_ms > INT_MAX ? INT_MAX : (int)timeout_ms);
	} while (rc < 0 && errno == EINTR);
	if (rc <= 0)
		return rc ? -errno : -ETIMEDOUT;
	got = vgpu_chan_recv(sock, ret, sizeof(*ret), ret_fds);
	if (got <= 0)
		return got == 0 || got == -ECONNRESET ? -EPIPE : (int)got;
	if ((size_t)got < sizeof(ret->h) || ret->h.bytes != (size_t)got)
		return -EPROTO;
	if ((size_t)got < (ret->h.type == VGPU_LINK_WELCOME ? sizeof(ret->welcome) : sizeof(ret->result)))
		return -EPROTO;
	return 0;
}

int vgpu_local_greet(struct vgpu_local *l, uint64_t window_bytes, uint32_t timeout_ms, union vgpu_link_message *ret,
		     struct vgpu_chan_fds *ret_fds)
{
	bool resume = l->window_fd >= 0;
	struct vgpu_link_hello hello = { .h = { .type = VGPU_LINK_HELLO, .bytes = sizeof(hello) },
					 .magic = VGPU_LINK_MAGIC, .version_oldest = VGPU_LINK_VERSION_OLDEST,
					 .version = VGPU_LINK_VERSION, .kind = VGPU_LINK_KIND_LOCAL,
					 .features = VGPU_LINK_FEATURE_BASE, .resume = resume,
					 .window_bytes = resume ? l->window_bytes : window_bytes,
					 .pid = (uint32_t)getpid() };
	int rc = vgpu_chan_send(l->sock, &hello, sizeof(hello), &l->window_fd, resume);

	memset(ret, 0, sizeof(*ret));
	ret_fds->count = 0;
	if (!rc)
		rc = vgpu_local_receive(l->sock, timeout_ms, ret, ret_fds);
	if (rc)
		return rc;
	return ret->h.type == VGPU_LINK_WELCOME || ret->h.type == VGPU_LINK_REFUSED ? 0 : -EPROTO;
}

/* ---- the end of a session ---- */

static void wake_word(uint32_t *word)
{
	/* another value: who is just about to sleep will not */
	__atomic_fetch_add(word, 0x40000000, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Ends all waiting with that reason. Nobody writes replies any more. */
static void die(struct vgpu_local *l, uint32_t reason)
{
	struct vgpu_control c = vgpu_control_at(l->t.control);
	uint32_t none = 0;

	if (!atomic_compare_exchange_strong(&l->t.dead, &none, reason ? reason : VGPU_ERROR_SESSION_CLOSED))
		return;
	for (unsigned int i = 0; i < VGPU_SLOTS; i++)
		wake_word(&c.slot[i].seq);
	wake_word(&c.header->space_seq);
}

/* ---- the link thread ---- */

static bool stopping(struct vgpu_local *l)
{
	bool stop;

	pthread_mutex_lock(&l->lock);
	stop = l->stop;
	pthread_mutex_unlock(&l->lock);
	return stop;
}

static void handle(struct vgpu_local *l, const union vgpu_link_message *m)
{
	if (m->h.type == VGPU_LINK_ENDED)
		die(l, m->result.error);
	pthread_mutex_lock(&l->lock);
	if (l->late && m->h.type == VGPU_LINK_HEAP_ADDED) {
		l->late--;
	} else if (l->expected && m->h.type == l->expected) {
		l->answer = m->result;
		l->answered = true;
	}
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

static void drop_link(struct vgpu_local *l)
{
	pthread_mutex_lock(&l->lock);
	l->linked = false;
	l->late = 0;
	if (l->sock >= 0)
		close(l->sock);
	l->sock = -1;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

/* Tells a new mediator about the session. */
static int resume(struct vgpu_local *l)
{
	struct vgpu_link_open open = { .h = { .type = VGPU_LINK_RESUME, .bytes = sizeof(open) },
				       .arena = l->t.arena, .features = VGPU_SESSION_FEATURE_BASE,
				       .pid = (uint32_t)getpid() };
	struct vgpu_link_header resumed = { .type = VGPU_LINK_RESUMED, .bytes = sizeof(resumed) };
	int rc = vgpu_chan_send(l->sock, &open, sizeof(open), NULL, 0);

	pthread_mutex_lock(&l->lock);
	for (size_t i = 0; i < l->runs && !rc; i++) {
		struct vgpu_link_heap add = { .h = { .type = VGPU_LINK_HEAP_ADD, .bytes = sizeof(add) },
					      .heap_offset = l->run[i].heap_offset,
					      .window_offset = l->run[i].window_offset,
					      .bytes = l->run[i].bytes, .flags = VGPU_LINK_FLAG_RESUME };

		rc = vgpu_chan_send(l->sock, &add, sizeof(add), NULL, 0);
	}
	if (!rc)
		rc = vgpu_chan_send(l->sock, &resumed, sizeof(resumed), NULL, 0);
	l->linked = !rc;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	return rc;
}

/* Answers that will be the same next time: the session has no host any more. */
static bool is_final(uint32_t error)
{
	return error == VGPU_ERROR_HOST_UNKNOWN_VM || error == VGPU_ERROR_HOST_IDENTITY ||
	       error == VGPU_ERROR_HOST_QUARANTINE || error == VGPU_ERROR_HOST_VERSION ||
	       error == VGPU_ERROR_HOST_WINDOW_LIMIT;
}

static int reconnect(struct vgpu_local *l)
{
	union vgpu_link_message m;
	struct vgpu_chan_fds fds;
	int sock, rc = vgpu_chan_connect(l->path, 0, &sock);

	if (rc)
		return rc;
	pthread_mutex_lock(&l->lock);
	l->sock = sock;
	if (l->stop) /* who said so has not seen this socket */
		shutdown(sock, SHUT_RDWR);
	pthread_mutex_unlock(&l->lock);
	rc = vgpu_local_greet(l, 0, GREET_MS, &m, &fds);
	vgpu_chan_fds_close(&fds);
	if (!rc && m.h.type == VGPU_LINK_REFUSED) {
		if (is_final(m.result.error))
			die(l, m.result.error);
		rc = -EAGAIN;
	}
	if (!rc)
		rc = resume(l);
	if (rc)
		drop_link(l);
	return rc;
}

/* Until there is a link again, the session is dead, or closed. */
static void reconnect_for_ever(struct vgpu_local *l)
{
	int wait_ms = BACKOFF_FIRST_MS;

	while (!stopping(l) && !atomic_load(&l->t.dead)) {
		struct pollfd p = { .fd = l->wake_fd, .events = POLLIN };

		if (!reconnect(l))
			return;
		poll(&p, 1, wait_ms);
		wait_ms = wait_ms * 2 < BACKOFF_LAST_MS ? wait_ms * 2 : BACKOFF_LAST_MS;
	}
}

static void *link_main(void *arg)
{
	struct vgpu_local *l = arg;

	while (!stopping(l)) {
		struct pollfd p[2] = { { .fd = l->wake_fd, .events = POLLIN }, { .fd = l->sock, .events = POLLIN } };
		union vgpu_link_message m;
		int rc;

		if (l->sock < 0 && !atomic_load(&l->t.dead)) {
			reconnect_for_ever(l);
			continue;
		}
		if (poll(p, 2, -1) < 0 || !p[1].revents) /* a negative descriptor is not looked at */
			continue;
		rc = vgpu_local_receive(l->sock, GREET_MS, &m, NULL);
		if (!rc)
			handle(l, &m);
		else if (rc != -ETIMEDOUT)
			drop_link(l);
	}
	return NULL;
}

int vgpu_local_thread_start(struct vgpu_local *l)
{
	pthread_condattr_t clock;
	pthread_attr_t attr;
	sigset_t all, old;
	int rc;

	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&l->changed, &clock);
	pthread_condattr_destroy(&clock);
	l->linked = true;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 << 10);
	sigfillset(&all); /* the program's signals are not for this thread */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&l->thread, &attr, link_main, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -rc;
}

void vgpu_local_thread_stop(struct vgpu_local *l)
{
	uint64_t one = 1;

	pthread_mutex_lock(&l->lock);
	l->stop = true;
	if (l->sock >= 0)
		shutdown(l->sock, SHUT_RDWR); /* ends a wait for WELCOME too */
	pthread_mutex_unlock(&l->lock);
	if (write(l->wake_fd, &one, sizeof(one)) < 0)
		return; /* cannot happen: the counter starts at 0 */
	pthread_join(l->thread, NULL);
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
}

/* ---- requests ---- */

static struct timespec deadline(uint32_t ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

int vgpu_local_request(struct vgpu_local *l, const struct vgpu_link_header *message, uint32_t answer_type,
		       uint32_t timeout_ms, struct vgpu_link_result *ret)
{
	bool closing = answer_type == VGPU_LINK_CLOSED;
	struct timespec until = deadline(timeout_ms);
	int rc = 0;

	pthread_mutex_lock(&l->lock);
	/* a dead session still wants its CLOSE; without a link it ends by itself */
	while (!rc && !l->linked && !closing && !atomic_load(&l->t.dead))
		rc = pthread_cond_timedwait(&l->changed, &l->lock, &until);
	if (!rc && !closing && atomic_load(&l->t.dead))
		rc = ESHUTDOWN;
	if (!rc && !l->linked)
		rc = ETIMEDOUT;
	if (!rc) {
		l->expected = answer_type;
		l->answered = false;
		if (vgpu_chan_send(l->sock, message, message->bytes, NULL, 0))
			rc = EPIPE;
		while (!rc && !l->answered) {
			if (!l->linked)
				rc = EPIPE;
			else if (!closing && atomic_load(&l->t.dead))
				rc = ESHUTDOWN;
			else
				rc = pthread_cond_timedwait(&l->changed, &l->lock, &until);
		}
		l->expected = 0;
		if (l->answered) {
			rc = 0;
			*ret = l->answer;
		} else if (rc == ETIMEDOUT) {
			rc = EPIPE;
			l->late += answer_type == VGPU_LINK_HEAP_ADDED;
		}
	}
	pthread_mutex_unlock(&l->lock);
	return -rc;
}

int vgpu_local_run_room(struct vgpu_local *l)
{
	struct vgpu_local_run *run;
	int rc = 0;

	pthread_mutex_lock(&l->lock);
	if (l->runs == l->run_room) {
		run = realloc(l->run, (l->run_room + 16) * sizeof(*run));
		if (run) {
			l->run = run;
			l->run_room += 16;
		} else {
			rc = -ENOMEM;
		}
	}
	pthread_mutex_unlock(&l->lock);
	return rc;
}

void vgpu_local_run_add(struct vgpu_local *l, uint64_t heap_offset, uint64_t window_offset, uint64_t bytes)
{
	pthread_mutex_lock(&l->lock);
	l->run[l->runs++] = (struct vgpu_local_run){ heap_offset, window_offset, bytes };
	pthread_mutex_unlock(&l->lock);
}
