/* SPDX-License-Identifier: MIT */
/* The two halves of the local transport: transport_local.c (session), link_local.c (link thread). */
#ifndef VGPU_LOCAL_H
#define VGPU_LOCAL_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/un.h>

#include "client/libvgpu/internal.h"
#include "common/link/chan.h"
#include "protocol/link/link.h"

union vgpu_link_message {
	struct vgpu_link_header h;
	struct vgpu_link_welcome welcome;
	struct vgpu_link_result result;
	uint8_t bytes[VGPU_LINK_MESSAGE_MAX];
};

/* Part of the window that is heap; told again after a reconnect. */
struct vgpu_local_run {
	uint64_t heap_offset, window_offset, bytes;
};

enum { VGPU_LOCAL_FDS = 5 };

struct vgpu_local {
	struct vgpu_transport t;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int sock;	/* changed by the link thread, under lock */
	int window_fd;
	int doorbell_fd;
	int interrupt_fd; /* the protocol wants one; a local session is woken by futex */
	int wake_fd;	  /* wakes the link thread */
	uint64_t window_bytes;
	uint64_t window_next; /* extents before it are in use; heap_add only, one at a time */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	/* under lock */
	struct vgpu_local_run *run;
	size_t runs, run_room;
	bool linked, stop;
	uint32_t expected; /* type of the answer that vgpu_local_request waits for, or 0 */
	bool answered;
	unsigned int late; /* answers that nobody waits for any more */
	struct vgpu_link_result answer;
};

static inline struct vgpu_local *vgpu_local_of(struct vgpu_transport *t)
{
	return (struct vgpu_local *)t;
}

static inline int *vgpu_local_fd(struct vgpu_local *l, size_t i)
{
	int *fd[VGPU_LOCAL_FDS] = { &l->sock, &l->window_fd, &l->doorbell_fd, &l->interrupt_fd, &l->wake_fd };

	return fd[i];
}

/* ---- link_local.c ---- */

/* One message, -ETIMEDOUT, -EPIPE: the peer has gone, -EPROTO. */
int vgpu_local_receive(int sock, uint32_t timeout_ms, union vgpu_link_message *ret,
		       struct vgpu_chan_fds *ret_fds);
/* HELLO on l->sock (with the window, to resume, when there is one); WELCOME or REFUSED. */
int vgpu_local_greet(struct vgpu_local *l, uint64_t window_bytes, uint32_t timeout_ms,
		     union vgpu_link_message *ret, struct vgpu_chan_fds *ret_fds);
/* Sends and waits for the answer. -EPIPE: sent, but no answer came; -ETIMEDOUT: there was no link,
 * nothing was sent; -ESHUTDOWN: the session is dead. */
int vgpu_local_request(struct vgpu_local *l, const struct vgpu_link_header *message, uint32_t answer_type,
		       uint32_t timeout_ms, struct vgpu_link_result *ret);
/* Room for one more run, so that vgpu_local_run_add cannot fail. 0, -ENOMEM */
int vgpu_local_run_room(struct vgpu_local *l);
void vgpu_local_run_add(struct vgpu_local *l, uint64_t heap_offset, uint64_t window_offset, uint64_t bytes);
int vgpu_local_thread_start(struct vgpu_local *l);
void vgpu_local_thread_stop(struct vgpu_local *l);

#endif
