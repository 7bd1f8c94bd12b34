/* SPDX-License-Identifier: MIT */
/*
 * vgpu-mediator: who may use the GPU, and with which executor. One thread around epoll; no peer
 * can make it wait. Links (VMs, local clients), executors, the jailer and the control socket are
 * its peers; none is trusted but the jailer.
 *
 * A session:
 *
 *   OPEN ─► WAIT ─► ASSIGN ─► OPEN ──(executor died, admin)──► DEAD ─(CLOSE)─┐
 *             │        │        │└──────────(CLOSE)───────► CLOSING ◄────────┘
 *             └────────┴─► FAILING ─► OPENED with error        │ executor reaped, extents punched
 *   RESUME ─► RESUMING ─► OPEN or DEAD                         └─► CLOSED, freed
 *   link lost, device reset: any ─► VANISHING ─► freed without an answer
 *
 * An executor:   SPAWN ─► STARTING ─► READY (warm) ─► ASSIGNED ─► ENDING ─► DIED: freed
 *                found after a restart: GREETED ─► READY or REPORTED ─► ASSIGNED
 *
 * Rule: a session gives up its quota slot and its extents only when its executor is reaped.
 */
#ifndef VGPU_HOST_MEDIATOR_INTERNAL_H
#define VGPU_HOST_MEDIATOR_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/link/chan.h"
#include "common/log/log.h"
#include "protocol/device/device.h"
#include "protocol/executor/executor.h"
#include "protocol/jailer/jailer.h"
#include "protocol/link/link.h"
#include "protocol/session/session.h"

#define med_container(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

enum med_limits {
	MED_NAME = 64,
	MED_LINKS = 1024,	   /* bounds memory and descriptors */
	MED_LINKS_PENDING_UID = 16, /* of one user, before HELLO: one user cannot shut out others */
	MED_LINK_QUEUE = 512,	   /* answers that a client has not read; more end the link */
	MED_LINK_BUDGET = 32,	   /* messages of a link handled before the others have their turn */
	MED_EXECUTOR_QUEUE = VGPU_SESSION_RUNS_MAX + 16,
	MED_JAILER_QUEUE = 2 * VGPU_JAILER_EXECUTORS,
	MED_OPEN_BURST = 64,	   /* sessions that a VM may open at once ... */
	MED_OPEN_PER_S = 16,	   /* ... and in the long run: creating contexts costs all others */
	MED_HELLO_MS = 5000,
	MED_WAIT_MS = 60000,	   /* for an executor, and for its answer */
	MED_WAIT_JAILER_MS = 5000, /* for a jailer that is not there */
	MED_RETRY_MS = 200,
	MED_BACKOFF_MAX_MS = 30000,
	MED_REFUSALS_LOGGED_PER_S = 5,
	MED_AUDIT_ROWS = 10000,
	MED_CONTROL_CLIENTS = 64,
	MED_CLOSERS = 64,	   /* threads that close what peers have sent */
	MED_CLOSER_STACK = 128 << 10,
	MED_CLOSING_MANY = 4096,	   /* descriptors that wait for them; with more no new connections */
};

struct med;

/* ---- loop.c: epoll and timers */
struct med_source {
	int fd; /* -1: not watched */
	void (*ready)(struct med_source *s, uint32_t events);
};
struct med_timer {
	struct med_timer *next;
	uint64_t due_ns;
	bool armed;
	void (*fire)(struct med_timer *t);
};
uint64_t med_now_ns(void);
int med_loop_init(void);
int med_loop_add(struct med_source *s, int fd, uint32_t events);
int med_loop_change(struct med_source *s, uint32_t events);
/* Also drops events of the batch at hand, so that the owner may be freed at once. The fd stays open. */
void med_loop_remove(struct med_source *s);
void med_timer_start(struct med_timer *t, uint64_t ms);
void med_timer_stop(struct med_timer *t);
/* Until *stop. */
int med_loop_run(const bool *stop);

/* ---- closer.c: for descriptors whose close may take long: sent by peers, or holding what they sent */
void med_close_later(int fd);
bool med_closing_many(void);

/* ---- channel.c: packets to a peer that may be slow */
struct med_packet;
struct med_channel {
	struct med_source source;
	struct med_packet *head, **tail;
	unsigned int queued, queued_max;
	void (*receive)(struct med_channel *c); /* something can be read, or the peer is gone */
};
int med_channel_init(struct med_channel *c, int sock, unsigned int queued_max,
		     void (*receive)(struct med_channel *c));
/* Queues what the socket does not take. -ENOBUFS: the queue is full; -errno: the peer is gone. */
int med_channel_send(struct med_channel *c, const void *message, size_t bytes, const int *fds,
		     unsigned int count);
/* Closes; again is harmless. */
void med_channel_uninit(struct med_channel *c);

/* ---- config.c, config_edit.c, config_run.c: SQLite, this process alone */
enum med_vm_kind { MED_VM = 0, MED_LOCAL = 1 };
#define MED_UNLIMITED UINT64_MAX
struct med_tenant_config {
	int64_t id;
	char name[MED_NAME];
	uint32_t weight;
	uint64_t vram_quota_bytes; /* of all its VMs together, MED_UNLIMITED: none */
};
struct med_vm_config {
	int64_t id;
	char name[MED_NAME];
	uint8_t uuid[16];
	char tenant[MED_NAME];
	enum med_vm_kind kind;
	int64_t uid, gid;	   /* of a local VM; -1: not by this */
	int64_t peer_uid;	   /* who may connect to a VM's socket; -1: root and QEMU's usual users */
	uint64_t vram_quota_bytes; /* MED_UNLIMITED: none */
	uint32_t sessions;
	uint64_t window_bytes;
	uint32_t priority; /* 0 low, 1 medium, 2 high */
	uint32_t weight;
	bool enabled;
};
struct med_config;
int med_config_open(const char *path, struct med_config **ret);
void med_config_close(struct med_config *c);
/* The next number of this mediator's life; stored before it is given. */
int med_config_next_epoch(struct med_config *c, uint32_t *ret_epoch);
int med_config_each_vm(struct med_config *c, void (*f)(void *arg, const struct med_vm_config *vm), void *arg);
int med_config_each_tenant(struct med_config *c, void (*f)(void *arg, const struct med_tenant_config *t),
			   void *arg);
int med_config_get_tenant(struct med_config *c, const char *name, struct med_tenant_config *ret);
void med_vm_config_default(struct med_vm_config *ret);
/* id 0 inserts. Refusals come with a sentence: -EEXIST, -ENOENT (tenant), -EINVAL, -EDQUOT, -EIO. */
int med_config_put_vm(struct med_config *c, const struct med_vm_config *vm, char *ret_text, size_t size);
int med_config_put_tenant(struct med_config *c, const struct med_tenant_config *t, char *ret_text, size_t size);
int med_config_remove_vm(struct med_config *c, const char *name);
int med_config_remove_tenant(struct med_config *c, const char *name, char *ret_text, size_t size);
/* Which executor was given to which VM, with its slot and the file of its quota page. */
int med_config_put_executor(struct med_config *c, uint32_t id, const uint8_t vm_uuid[16], unsigned int slot,
			    int quota_fd);
bool med_config_is_executor(struct med_config *c, uint32_t id, const uint8_t vm_uuid[16], unsigned int slot,
			    int quota_fd);
/* -ENOENT: it was given to none. */
int med_config_find_executor(struct med_config *c, uint32_t id, uint8_t ret_vm_uuid[16]);
bool med_config_vm_has_executor(struct med_config *c, const uint8_t vm_uuid[16]);
void med_config_remove_executor(struct med_config *c, uint32_t id);
int med_config_each_executor(struct med_config *c, void (*f)(void *arg, uint32_t id), void *arg);
void med_config_audit(struct med_config *c, const char *who, const char *what);

/* ---- quota.c */
struct med_quota {
	int fd;
	struct vgpu_quota_page *page;
	uint64_t slots; /* taken */
};
int med_quota_ensure(struct med_quota *q, uint64_t quota_bytes);
/* Takes over the page that executors of an earlier mediator use; fd stays the caller's. */
int med_quota_adopt(struct med_quota *q, int fd, uint64_t quota_bytes);
int med_quota_take(struct med_quota *q, unsigned int *ret_slot);
int med_quota_take_slot(struct med_quota *q, unsigned int slot);
void med_quota_put(struct med_quota *q, unsigned int slot);
uint64_t med_quota_used(const struct med_quota *q);
void med_quota_set(struct med_quota *q, uint64_t quota_bytes);
void med_quota_uninit(struct med_quota *q);
/* A page of 4 KiB that no holder can shrink: made, or checked and mapped. */
int med_page_create(const char *name, int *ret_fd, void **ret_page);
int med_page_map(int fd, void **ret_page);

/* ---- window.c */
struct med_window {
	int fd;
	uint64_t bytes;
	uint64_t device, inode; /* which file it is */
	uint8_t *used;		/* one bit an extent */
};
/* Takes fd over, also on failure. */
int med_window_init(struct med_window *w, int fd, uint64_t bytes);
void med_window_uninit(struct med_window *w);
bool med_window_same(const struct med_window *w, int fd);
/* Takes [offset, offset + bytes): 0, -EINVAL (not extents inside the window), -EEXIST (taken). */
int med_window_take(struct med_window *w, uint64_t offset, uint64_t bytes);
/* Punches and frees. */
int med_window_put(struct med_window *w, uint64_t offset, uint64_t bytes);
/* Punches all: only when no session has any of it. */
int med_window_clear(struct med_window *w);

/* ---- vm.c */
struct med_vm {
	struct med_vm *next;
	struct med *med;
	struct med_vm_config config;
	struct med_source listen; /* kind VM: its socket */
	struct med_quota quota;
	bool removed; /* no longer configured; goes when its last session does */
	/* tokens for opening sessions */
	double open_tokens;
	uint64_t open_tokens_ns;
	uint64_t sessions_opened, refused, faults;
	uint64_t audit_ns;
};
int med_vms_load(struct med *m);
struct med_vm *med_vm_by_name(struct med *m, const char *name);
struct med_vm *med_vm_by_uuid(struct med *m, const uint8_t uuid[16]);
struct med_vm *med_vm_local(struct med *m, int sock, uid_t uid, gid_t gid);
/* The stored configuration has changed. */
int med_vm_apply(struct med *m, const struct med_vm_config *c);
void med_vm_remove(struct med_vm *vm);
/* Frees removed VMs that nothing uses. */
void med_vms_collect(struct med *m);
void med_vms_uninit(struct med *m);
unsigned int med_vm_sessions(const struct med_vm *vm);
unsigned int med_vm_links(const struct med_vm *vm);
/* Takes a token: false when it opens sessions too fast. */
bool med_vm_may_open(struct med_vm *vm);

/* ---- link_parse.c: pure, fuzzed */
struct med_request {
	union {
		struct vgpu_link_header h;
		struct vgpu_link_hello hello;
		struct vgpu_link_open open;
		struct vgpu_link_heap heap;
	};
};
/* Checks shape, sizes, fixed values and the number of descriptors. 0, or -EPROTO and why. */
int med_link_parse(const void *packet, size_t bytes, unsigned int fds, bool greeted,
		   struct med_request *ret, const char **ret_why);

/* ---- identity.c */
void med_uuid_text(const uint8_t uuid[16], char ret[37]);
enum med_label { MED_LABEL_NONE, MED_LABEL_RIGHT, MED_LABEL_WRONG };
/* AppArmor's label of a QEMU that libvirt has started names its VM: "libvirt-<uuid> (enforce)". */
enum med_label med_label_compare(const char *label, const uint8_t uuid[16]);

/* ---- link.c, link_hello.c */
enum med_identity { MED_BY_PATH, MED_BY_LABEL, MED_BY_UID };
struct med_link {
	struct med_link *next;
	struct med *med;
	struct med_vm *vm; /* NULL: a local client that is not configured, to be refused */
	struct med_channel channel;
	struct med_timer hello_timer;
	bool greeted;
	bool gone; /* no peer any more; waits for its executors' end */
	bool local;
	bool resetting;
	bool resuming; /* RESUMEs may come until RESUMED */
	uint32_t epoch;
	uint32_t pid; /* as the client says, for display */
	uid_t uid;
	enum med_identity identity;
	struct med_window window;
	struct med_session *sessions;
	uint64_t malformed, refused;
	uint64_t since_ns;
};
int med_link_accept(struct med *m, struct med_vm *vm, int listen_fd);
/* Ends the link and its sessions. May free it. */
void med_link_drop(struct med_link *l, const char *why);
void med_link_collect(struct med_link *l);
void med_link_refuse(struct med_link *l, uint32_t error, uint32_t value, uint32_t limit,
		     const char *format, ...) __attribute__((format(printf, 5, 6)));
void med_link_result(struct med_link *l, uint32_t type, uint32_t epoch, uint32_t sid, uint32_t error,
		     uint32_t value, uint32_t limit, const char *text);
void med_link_hello(struct med_link *l, const struct vgpu_link_hello *h, struct vgpu_chan_fds *fds);
/* Answers RESET when nothing of an older epoch is left. */
void med_link_check_reset(struct med_link *l);
void med_links_check_resets(struct med *m);

/* ---- session.c, session_end.c */
enum med_session_state {
	MED_WAIT, MED_ASSIGN, MED_RESUMING, MED_OPEN, MED_DEAD, MED_CLOSING, MED_FAILING, MED_VANISHING,
};
struct med_run {
	uint64_t heap_offset, window_offset, bytes;
};
struct med_session {
	struct med_session *next;	/* of the link */
	struct med_session *next_waiting;
	struct med_link *link;
	enum med_session_state state;
	struct med_executor *executor; /* until it is reaped */
	uint32_t sid, epoch;
	uint32_t pid;
	uint32_t arena, features;
	uint64_t control_offset;
	int doorbell, interrupt;
	int slot; /* of the quota page, -1: none */
	int gate_fd;
	struct vgpu_gate_page *gate;
	struct med_run *runs;
	unsigned int run_count, run_space;
	bool heap_pending; /* the last run is not confirmed yet */
	/* CLOSING or VANISHING: asked for while RESUMING, done when its executor is known or has died */
	enum med_session_state wanted;
	bool keep_window;
	/* its executor was not found after a restart: it may be one of its VM's that have not said
	 * what they have, so the extents wait for the end of those */
	bool unmatched;
	uint32_t error, value, limit;
	char text[VGPU_LINK_TEXT];
	struct med_timer timer;
	uint64_t since_ns;
};
void med_session_open(struct med_link *l, const struct vgpu_link_open *o, struct vgpu_chan_fds *fds);
void med_session_heap_add(struct med_link *l, const struct vgpu_link_heap *h);
void med_session_close(struct med_link *l, uint32_t sid);
void med_session_resume(struct med_link *l, const struct vgpu_link_open *o);
void med_session_resume_heap(struct med_link *l, const struct vgpu_link_heap *h);
struct med_session *med_session_find(struct med_link *l, uint32_t sid);
/* The first session that waits for an executor and may have one gets e; false when there is none. */
bool med_session_serve(struct med *m, struct med_executor *e);
unsigned int med_session_waiting(const struct med *m);
void med_session_fail_waiting(struct med *m, uint32_t error, const char *text);
void med_session_assigned(struct med_session *s, const struct vgpu_executor_result *r);
void med_session_heap_added(struct med_session *s, const struct vgpu_executor_result *r);
/* Joins resumed sessions with executors that have reported; with `last`, the rest has died. */
void med_session_match(struct med *m, bool last);
/* session_end.c */
/* Ends it by the host's decision: the client hears ENDED and closes it. */
void med_session_kill(struct med_session *s, uint32_t error, const char *text);
void med_session_fail(struct med_session *s, uint32_t error, uint32_t value, uint32_t limit, const char *text);
void med_session_finish(struct med_session *s);
/* Does what was asked for while it was RESUMING. May free s. */
void med_session_wanted(struct med_session *s);
void med_session_vanish(struct med_session *s);
void med_session_executor_gone(struct med_session *s, uint32_t error, const char *text);
/* An executor of an earlier mediator is gone: what waited for it goes on. */
void med_session_unmatched_gone(struct med *m);
const char *med_session_state_name(enum med_session_state state);

/* ---- executor.c, executor_message.c */
enum med_executor_state { MED_STARTING, MED_READY, MED_REPORTED, MED_ASSIGNED, MED_ENDING };
struct med_executor {
	struct med_executor *next;
	struct med *med;
	struct med_channel channel; /* source.fd -1: none (not adopted, or closed) */
	struct med_timer timer;
	enum med_executor_state state;
	uint32_t id, pid, uid, sandbox;
	bool adopted;  /* of an earlier mediator */
	bool has_vm;   /* and given to vm_uuid by it */
	uint8_t vm_uuid[16];
	bool kill_sent;
	uint64_t ending_ns; /* since when it is MED_ENDING */
	bool lost;     /* closed its socket without being told to end */
	bool seen;     /* listed by the jailer since it was connected */
	struct med_session *session;
	uint32_t error; /* what it said was wrong before it ended */
	char text[VGPU_EXECUTOR_TEXT];
	struct vgpu_executor_ready ready; /* a copy; texts cleaned */
	int report[3];	/* REPORT: window, gate page, quota page */
	int slot;	/* of its VM's quota page, kept for it until it has its session again; -1: none */
	uint64_t since_ns;
};
struct med_executor *med_executor_find(struct med *m, uint32_t id);
/* sock -1: nobody has its socket any more, it can only be ended. */
int med_executor_add(struct med *m, const struct vgpu_jailer_message *j, int sock);
void med_executor_died(struct med_executor *e, uint32_t reason, int32_t status);
/* polite: FINISH first, SIGKILL when it takes too long. */
void med_executor_end(struct med_executor *e, bool polite);
/* One that cannot be ended, or NULL: its GPU is degraded, no new sessions there. *ret_count: of them. */
struct med_executor *med_executor_stuck(const struct med *m, unsigned int *ret_count);
int med_executor_send(struct med_executor *e, uint32_t type, void *message, size_t bytes, const int *fds,
		      unsigned int count);
/* Starts executors until there are enough for waiting sessions and the warm pool. */
void med_executors_balance(struct med *m);
unsigned int med_executors_count(const struct med *m, enum med_executor_state state);
struct med_executor *med_executor_warm(struct med *m);
/* Of an earlier mediator, not heard yet: until they are, their VM's pages are not known and its
 * sessions wait. Of any VM, or of this one. */
bool med_executors_adopting(const struct med *m);
bool med_executors_adopting_vm(const struct med *m, const uint8_t vm_uuid[16]);
/* Of an earlier mediator, given to this VM by it, without a session since: living or dying. */
bool med_executors_unmatched(const struct med *m, const uint8_t vm_uuid[16]);
void med_executors_greet_end(struct med *m);
/* Ends those of an earlier mediator that this link has not resumed. */
void med_executors_end_unresumed(struct med_link *l);
/* Whether any process may still write to what an earlier life of this link had. */
bool med_executors_of_earlier(const struct med_link *l);
void med_executor_spawn_failed(struct med *m, const char *text);
/* executor_message.c */
void med_executor_receive(struct med_channel *c);
void med_executor_hello(struct med_executor *e);

/* ---- jailer_client.c */
struct med_jailer {
	struct med_channel channel;
	struct med_timer retry;
	bool connected, listed, complained;
	bool ever_listed; /* in this mediator's life */
	unsigned int spawning; /* SPAWNs without an answer */
	uint32_t sandbox;      /* of the newest executor */
	uint32_t next_tag;
};
void med_jailer_start(struct med *m);
int med_jailer_spawn(struct med *m, uint32_t gpu);
int med_jailer_kill(struct med *m, uint32_t id);

/* ---- control.c: the control socket; rpc*.c: its methods */
int med_control_start(struct med *m);
void med_control_stop(struct med *m);

/* ---- the mediator */
#define MED_COUNTERS(X) \
	X(links) X(links_refused) X(links_malformed) X(identity_refused) X(second_refused) \
	X(sessions) X(sessions_refused) X(session_limit) X(window_limit) X(rate_limit) X(extent_refused) \
	X(executors_started) X(executors_failed) X(executors_died) X(executors_out_of_memory) \
	X(executors_malformed) X(adopted) X(resumed) X(queue_overflow) X(audited)
struct med_counters {
#define MED_COUNTER_FIELD(name) uint64_t name;
	MED_COUNTERS(MED_COUNTER_FIELD)
#undef MED_COUNTER_FIELD
};

struct med_options {
	const char *config_db;
	const char *run_dir;
	const char *jailer;
	unsigned int warm;
	uint32_t poll_us;
	uint32_t gpu;
	uint64_t window_total_bytes;
	uint32_t grace_ms;
	uint32_t finish_ms;
	uint32_t stuck_ms; /* an executor that takes longer to end makes its GPU degraded */
	uid_t admin_uids[16];
	unsigned int admin_uid_count;
	bool verbose;
};

struct med {
	struct med_options options;
	struct med_config *config;
	uint32_t epoch;
	int lock_fd;
	bool stop;
	struct med_source signals;
	struct med_source local;
	struct med_timer grace; /* armed: links may still come back */
	struct med_vm *vms;
	struct med_link *links;
	unsigned int link_count;
	struct med_executor *executors;
	struct med_session *waiting;
	uint64_t window_bytes; /* of all links */
	struct med_jailer jailer;
	/* starting executors fails: not at once again */
	struct med_timer backoff;
	uint32_t backoff_ms;
	uint32_t start_error;
	char start_text[VGPU_EXECUTOR_TEXT];
	struct vgpu_executor_ready gpu; /* as the newest executor told it */
	bool gpu_known;
	struct med_counters counters;
	uint64_t refusals_logged_ns;
	unsigned int refusals_logged;
};

#endif
