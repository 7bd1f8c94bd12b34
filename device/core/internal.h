/* SPDX-License-Identifier: MIT */
#ifndef VGPU_DEVICE_INTERNAL_H
#define VGPU_DEVICE_INTERNAL_H

#include "device/core/device.h"
#include "protocol/link/link.h"

struct vgpu_device_run {
	uint64_t heap_offset;
	uint64_t window_offset;
	uint64_t bytes;
};

/*
 * A session's request is what goes to the mediator: OPEN, HEAP_ADD or CLOSE. One at a time, so that
 * the session itself is the send queue and no guest can make it longer:
 *
 *   0 ── command ──► request, !sent ── socket takes it ──► request, sent ── answer ──► 0
 *                          ▲                                   │
 *                          └────── link lost: ask again ───────┘   (OPEN: DEAD instead)
 */
struct vgpu_device_session {
	enum vgpu_session_state state;
	uint32_t result, value, limit;
	uint32_t cause;	   /* DEAD: why */
	uint32_t request;  /* enum vgpu_link_type, or 0 */
	bool sent;	   /* the mediator has the request and has not answered */
	bool close_wanted; /* CLOSE follows the request that is under way */
	bool late;	   /* ENDED has overtaken the answer to a HEAP_ADD */
	bool doubtful;	   /* an earlier link took the HEAP_ADD that is to be sent: the host may
			      have the run */
	uint32_t arena, features, pid;
	uint64_t control_offset;
	unsigned int runs; /* known to be part of the heap; run[runs] is the one being added */
	struct vgpu_device_run run[VGPU_SESSION_RUNS_MAX];
	int doorbell_fd, irq_fd;
};

enum vgpu_device_link { LINK_DOWN, LINK_GREETING, LINK_RESUMING, LINK_UP };

struct vgpu_device {
	struct vgpu_device_ops ops;
	void *opaque;
	struct vgpu_device_config config;
	char *socket_path;
	int window_fd;
	uint8_t *owner; /* of each extent: sid + 1, or 0. After a reset: dirty until RESET_DONE */

	/* registers */
	uint32_t epoch;
	uint32_t driver_features;
	bool features_refused;
	uint32_t vectors;
	uint64_t event;
	uint32_t event_device;
	uint32_t arg[6];
	uint32_t shown_status, shown_error; /* as of the last event */

	/* link */
	enum vgpu_device_link link;
	int sock;
	bool started, greeted, watch_write;
	bool met;	   /* a mediator has welcomed this device before */
	bool resetting;	   /* sessions of older epochs may live */
	bool reset_sent;   /* RESET is unanswered; otherwise it is due when resetting */
	bool reset_failed; /* and the answer was an error: not again on this link */
	bool quarantine;
	uint32_t link_epoch; /* as the mediator knows it */
	uint32_t link_error; /* why there is no link */
	uint64_t linked_ns, delay_ns;
	unsigned int resume_sid, resume_run;
	unsigned int send_turn; /* session that may send next */

	uint64_t logged_ns;
	unsigned int log_skipped;

	struct vgpu_device_session session[VGPU_DEVICE_SESSIONS];
};

/* device.c */
void vgpu_device_log(struct vgpu_device *dev, enum vgpu_device_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* For what a guest can cause at will. */
void vgpu_device_log_limited(struct vgpu_device *dev, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Looks whether STATUS or ERROR changed, and tells the guest. */
void vgpu_device_status_update(struct vgpu_device *dev);
/* Tells the front end which vector each session's interrupts fire. */
void vgpu_device_vectors_bind(struct vgpu_device *dev);

/* session.c */
void vgpu_device_command(struct vgpu_device *dev, uint32_t command);
/* Answers of the mediator; NULL, or why this one is not valid now. */
const char *vgpu_device_session_opened(struct vgpu_device *dev, const struct vgpu_link_result *m);
const char *vgpu_device_session_heap_added(struct vgpu_device *dev,
					   const struct vgpu_link_result *m);
const char *vgpu_device_session_ended(struct vgpu_device *dev, const struct vgpu_link_result *m);
const char *vgpu_device_session_closed(struct vgpu_device *dev, const struct vgpu_link_result *m);
/* The link is gone: what was under way fails, waits, or is asked again. */
void vgpu_device_sessions_unlink(struct vgpu_device *dev);
/* All sessions are FREE; their extents stay dirty. */
void vgpu_device_sessions_reset(struct vgpu_device *dev);
/* No executor has the window any more: all extents are zero and free. */
void vgpu_device_extents_clean(struct vgpu_device *dev);

/* link.c */
void vgpu_device_link_pump(struct vgpu_device *dev);
void vgpu_device_link_drop(struct vgpu_device *dev, uint32_t error, const char *why);

/* receive.c */
/* Takes one packet of `bytes` bytes, in a buffer of at least VGPU_LINK_MESSAGE_MAX. NULL, or why
 * the link has to end (the sentence may lie in the packet); *ret_error: the code that the guest
 * then sees. */
const char *vgpu_device_receive(struct vgpu_device *dev, const void *packet, size_t bytes,
				uint32_t *ret_error);

#endif
