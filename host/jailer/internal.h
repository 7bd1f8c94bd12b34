/* SPDX-License-Identifier: MIT */
/*
 * vgpu-jailer: the only root process. It starts executors inside a sandbox, keeps the mediator's
 * end of each one's socket, and reports deaths. One thread; the only input that it reads is the
 * mediator's fixed-size messages (protocol/jailer), executors' log lines (copied, not parsed) and
 * its own state files.
 *
 * Life of an executor:
 *
 *   SPAWN ─► clone, cgroup, state file, "go" ─► LIVE ─► exit or KILL ─► DYING ─► nothing with its
 *                                                ▲                       cgroup or uid is left
 *   restart of the jailer: state file, pidfd ────┘                       ─► GONE: DIED sent, freed
 */
#ifndef VGPU_HOST_JAILER_INTERNAL_H
#define VGPU_HOST_JAILER_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/executor/executor.h"
#include "protocol/jailer/jailer.h"

enum {
	JAIL_ENV_MAX = 32,
	JAIL_CONTROLLERS = 4,	   /* cgroup v1: memory, pids, cpu, freezer */
	JAIL_EXECUTOR_PIDS = 256,  /* threads that libcuda and the executor may make */
	JAIL_EXECUTOR_FILES = 1024, /* 46 of the driver, 36 more a context, the rest is room */
	JAIL_SETUP_TIMEOUT_MS = 10000,
	JAIL_RETRY_MS = 20,
	JAIL_LOG_MAX = 1 << 20, /* bytes of log of one executor: one that was taken over cannot flood the journal */
};

struct jail_options {
	const char *socket;
	const char *state_dir;
	const char *executor;
	const char *driver;
	const char *cgroup; /* relative to the mounts of the cgroup controllers */
	uid_t mediator_uid;
	uid_t uid_base;
	unsigned int uid_count;
	uint64_t memory_limit_bytes;
	unsigned int relaxed; /* enum vgpu_sandbox_bit that the administrator has switched off */
	char *env[JAIL_ENV_MAX + 1];
	unsigned int env_count;
};

enum jail_state { JAIL_LIVE, JAIL_DYING, JAIL_GONE };
enum jail_pending { JAIL_SEND_EXECUTOR = 1, JAIL_SEND_DIED = 2 };

struct jail_executor {
	struct jail_executor *next;
	uint32_t id;
	uint32_t tag;
	pid_t pid;
	uint64_t start_time; /* of the process, in clock ticks since boot: tells pids of today from yesterday's */
	uid_t uid;
	uint32_t sandbox;
	bool child;   /* ours to wait for */
	bool started; /* exec was reached: the mediator knows of it, or will */
	int sock;   /* the mediator's end; -1 until ADOPT after a restart */
	int log;    /* read end of its standard error */
	int pidfd;  /* -1 where the kernel has none, before Linux 5.3 */
	char log_line[512];
	unsigned int log_used;
	unsigned int log_bytes; /* in all; see JAIL_LOG_MAX */
	enum jail_state state;
	unsigned int pending; /* messages that the mediator has not been sent yet */
	uint32_t reason;
	int32_t status;
};

struct jailer {
	struct jail_options options;
	unsigned int sandbox; /* what can be had on this machine */
	struct jail_executor *executors;
	unsigned int count;
	uint32_t next_id;
	int listen_fd;
	int conn; /* the mediator, or -1 */
	int signal_fd;
	bool said_hello;   /* on conn */
	bool greeted;	   /* and it can still be written to */
	bool send_listed;
	bool stop;
};

/* main.c */
int jail_options_parse(int argc, char **argv, struct jail_options *ret);

/* loop.c */
int jail_loop(struct jailer *j);

/* executor.c: the table of executors */
struct jail_executor *jail_executor_find(struct jailer *j, uint32_t id);
int jail_executor_spawn(struct jailer *j, const struct vgpu_jailer_message *request,
			char *ret_text, size_t text_size);
void jail_executor_kill(struct jailer *j, struct jail_executor *e);
/* Waits (without blocking) for children, looks at the others, finishes what is dying. */
void jail_executors_check(struct jailer *j);
/* Frees what is GONE and has nothing left to send. */
void jail_executors_collect(struct jailer *j);
/* Finds the executors that an earlier jailer has started. */
int jail_executors_load(struct jailer *j);
void jail_executor_read_log(struct jail_executor *e);

/* keep.c: copies of executors' sockets with systemd, which outlive a restart of everybody */
/* Gives the sockets that an earlier jailer has left there to the executors in the table. */
void jail_keep_take(struct jailer *j);
/* Leaves a copy of the executor's socket there. */
void jail_keep_socket(const struct jail_executor *e);
void jail_keep_forget(uint32_t id);
/* Says that the jailer's socket can be connected to. */
void jail_keep_ready(void);

/* state.c: what survives a restart of the jailer */
int jail_state_init(const struct jail_options *o, uint32_t *ret_next_id);
int jail_state_take_id(const struct jail_options *o, uint32_t id);
int jail_state_save(const struct jail_options *o, const struct jail_executor *e);
void jail_state_remove(const struct jail_options *o, uint32_t id);
/* Calls `found` for each executor on file; pid 0: only its number, cgroup and log may be left. */
int jail_state_each(const struct jail_options *o,
		    void (*found)(void *arg, const struct jail_executor *e), void *arg);
/* Opens the log pipe of an executor: the read end, and the write end when ret_write is not NULL. */
int jail_state_log_open(const struct jail_options *o, uint32_t id, int *ret_read, int *ret_write);

/* process.c */
int jail_process_start_time(pid_t pid, uint64_t *ret_ticks);
int jail_process_pidfd(pid_t pid, int *ret_pidfd);
int jail_process_pidfd_kill(int pidfd);
/* Whether any process has this real uid; with `end` they are sent SIGKILL. */
bool jail_process_uid_used(uid_t uid, bool end);

/* cgroup.c */
/* Prepares the parent; 0 when memory is limited there, -errno when there is no usable cgroup. */
int jail_cgroup_init(const char *parent);
int jail_cgroup_create(uint32_t id, uint64_t memory_limit_bytes, bool *ret_limited);
int jail_cgroup_add(uint32_t id, pid_t pid);
/* SIGKILL to all in it. */
void jail_cgroup_kill(uint32_t id);
/* -EBUSY while processes are in it. */
int jail_cgroup_remove(uint32_t id);
/* Whether its memory limit has killed something. */
bool jail_cgroup_out_of_memory(uint32_t id);

/* sandbox.c */
/* Tries each part in a child process of its own; logs what cannot be had. */
unsigned int jail_sandbox_probe(const struct jail_options *o);
int jail_sandbox_clone_flags(unsigned int sandbox);
/* In the child: everything from mounts to exec. Returns only on failure: -errno, and what failed.
 * `report` stays open for the caller until exec. */
int jail_sandbox_enter(const struct jail_options *o, unsigned int sandbox, uid_t uid, uint32_t gpu,
		       int sock, int log, int report, const char **ret_step);

/* mount.c: a root file system with what the GPU's driver needs and nothing else */
int jail_mount_tree(const struct jail_options *o, bool own_pid, uint32_t gpu, const char **ret_step);

/* library.c: the file that dlopen would take for a bare name, with the executors' environment */
bool jail_library_find(const struct jail_options *o, const char *name, char *ret, size_t size);

#endif
