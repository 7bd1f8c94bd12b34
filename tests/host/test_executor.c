// SPDX-License-Identifier: MIT
/*
 * A tiny executor for tests of the jailer and the mediator: it speaks protocol/executor and uses
 * no GPU. What it does wrong, on request, is chosen by TEST_EXECUTOR (see `act`).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/link/chan.h"
#include "protocol/executor/executor.h"

static struct vgpu_executor_assign session;
static int pages[3] = { -1, -1, -1 }; /* window, gate, quota */
static int assigned;
static __u32 epoch;

static int is(const char *what)
{
	const char *act = getenv("TEST_EXECUTOR");

	return act && !strcmp(act, what);
}

static void say(void *m, __u32 type, __u32 bytes, const int *fds, unsigned int count)
{
	struct vgpu_executor_header *h = m;

	h->type = type;
	h->bytes = bytes;
	h->version = VGPU_EXECUTOR_VERSION;
	h->epoch = epoch;
	if (vgpu_chan_send(VGPU_EXECUTOR_SOCKET_FD, m, bytes, fds, count))
		exit(3);
}

/* As session 9 it says that it is another VM's (TEST_VICTIM: its UUID), with a page of its own. */
static void pose(struct vgpu_executor_ready *r)
{
	const char *victim = getenv("TEST_VICTIM");

	if (!victim)
		return;
	for (int i = 0; i < 16; i++)
		sscanf(victim + 2 * i, "%2hhx", &r->vm_uuid[i]);
	pages[2] = memfd_create("false-page", MFD_ALLOW_SEALING);
	if (ftruncate(pages[2], 4096) || fcntl(pages[2], F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		exit(5);
}

static void ready(void)
{
	struct vgpu_executor_ready r = { .sandbox = VGPU_SANDBOX_NOT_DUMPABLE, .driver_version = 12040,
					 .software = 1, .vram_total_bytes = 1 << 30,
					 .vram_free_bytes = 1 << 30, .context_bytes = 1 << 20,
					 .gpu_name = "test executor" };

	if (is("no-gpu")) {
		r.error = VGPU_ERROR_GPU_NONE;
		strcpy(r.text, "there is no GPU in this test");
	}
	if (is("garbage")) {
		char junk[100] = "garbage";

		vgpu_chan_send(VGPU_EXECUTOR_SOCKET_FD, junk, sizeof(junk), NULL, 0);
		return;
	}
	memcpy(r.vm_uuid, session.vm_uuid, 16);
	r.sid = session.sid;
	r.link_epoch = session.link_epoch;
	r.control_offset = session.control_offset;
	r.quota_slot = session.quota_slot;
	if (assigned && session.sid == 9)
		pose(&r);
	if (assigned && session.sid == 10) {
		/* as if it were new and had nobody's window */
		say(&r, VGPU_EXECUTOR_READY, sizeof(r), NULL, 0);
		return;
	}
	say(&r, assigned ? VGPU_EXECUTOR_REPORT : VGPU_EXECUTOR_READY, sizeof(r), pages, assigned ? 3 : 0);
}

static void answer(__u32 type, __u32 error, __u64 heap_offset, const char *text)
{
	struct vgpu_executor_result r = { .error = error, .heap_offset = heap_offset };

	snprintf(r.text, sizeof(r.text), "%s", text);
	say(&r, type, sizeof(r), NULL, 0);
}

/* Charges `bytes` of VRAM as the real one does, so that tests see the quota page work. */
static void charge(__u64 bytes)
{
	struct vgpu_quota_page *q = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, pages[2], 0);

	if (q == MAP_FAILED)
		exit(4);
	q->used_bytes[session.quota_slot] = bytes;
	munmap(q, 4096);
}

static void assign(const struct vgpu_executor_assign *a, struct vgpu_chan_fds *fds)
{
	session = *a;
	pages[0] = vgpu_chan_fds_take(fds, 0);
	pages[1] = vgpu_chan_fds_take(fds, 3);
	pages[2] = vgpu_chan_fds_take(fds, 4);
	assigned = 1;
	if (is("refuse")) {
		answer(VGPU_EXECUTOR_ASSIGNED, VGPU_ERROR_CALL_INVALID, 0, "refused by the test");
		return;
	}
	if (is("crash"))
		abort();
	charge(1 << 20);
	answer(VGPU_EXECUTOR_ASSIGNED, 0, 0, "");
	if (is("memory")) {
		for (size_t n = 0; n < 4096; n++) {
			/* not malloc: a compiler may see that nobody reads it */
			void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

			if (p == MAP_FAILED)
				break;
		}
	}
	if (is("children") && fork() == 0) {
		setsid();
		for (;;)
			pause();
	}
	if (is("fault"))
		answer(VGPU_EXECUTOR_FAILED, VGPU_ERROR_GPU_LOST, 0, "the GPU \"fell\" off\nthe bus");
	if (is("shout"))
		for (int i = 0;; i++)
			fprintf(stderr, "line %d of a process that says a lot, too much in fact\n", i);
}

static void act(const struct vgpu_executor_header *h, void *m, ssize_t n, struct vgpu_chan_fds *fds)
{
	if (h->epoch < epoch)
		return;
	epoch = h->epoch;
	switch (h->type) {
	case VGPU_EXECUTOR_HELLO:
		ready();
		break;
	case VGPU_EXECUTOR_ASSIGN:
		if (n == sizeof(struct vgpu_executor_assign))
			assign(m, fds);
		break;
	case VGPU_EXECUTOR_HEAP_ADD:
		answer(VGPU_EXECUTOR_HEAP_ADDED, 0, ((struct vgpu_executor_heap *)m)->heap_offset, "");
		break;
	case VGPU_EXECUTOR_FINISH:
		if (!is("stay"))
			exit(0);
	}
}

int main(void)
{
	union {
		struct vgpu_executor_header h;
		char bytes[VGPU_EXECUTOR_MESSAGE_MAX];
	} m;

	fprintf(stderr, "test executor uid=%u pid=%d\n", getuid(), (int)getpid());
	for (;;) {
		struct vgpu_chan_fds fds;
		ssize_t n = vgpu_chan_recv(VGPU_EXECUTOR_SOCKET_FD, &m, sizeof(m), &fds);

		if (n <= 0)
			return 0;
		act(&m.h, &m, n, &fds);
		vgpu_chan_fds_close(&fds);
	}
}
