// SPDX-License-Identifier: MIT
/* What executors say: sizes are checked, texts are cleaned, numbers are claims. */
#include "host/mediator/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* An executor that breaks the protocol may have been taken over by its guest. */
static void broken(struct med_executor *e, const char *why)
{
	e->med->counters.executors_malformed++;
	vgpu_log(VGPU_LOG_WARNING, "executor breaks the protocol executor=%u pid=%u reason=\"%s\"", e->id, e->pid,
		 why);
	if (e->state != MED_ENDING)
		snprintf(e->text, sizeof(e->text), "the session's process on the host broke the protocol");
	med_executor_end(e, false);
}

static void take_ready(struct med_executor *e, const struct vgpu_executor_ready *r)
{
	char name[sizeof(r->gpu_name)];

	e->ready = *r;
	vgpu_log_text(name, sizeof(name), r->gpu_name, sizeof(r->gpu_name));
	memcpy(e->ready.gpu_name, name, sizeof(name));
	vgpu_log_text(e->ready.text, sizeof(e->ready.text), r->text, sizeof(r->text));
	e->sandbox |= r->sandbox & (VGPU_SANDBOX_SECCOMP | VGPU_SANDBOX_NOT_DUMPABLE | VGPU_SANDBOX_HMM_OFF |
				    VGPU_SANDBOX_NO_NEW_PRIVS);
}

static void ready(struct med_executor *e, const struct vgpu_executor_ready *r)
{
	struct med *m = e->med;

	if (e->state != MED_STARTING) {
		broken(e, "READY twice");
		return;
	}
	/* it has, or may have, a VM's window: one that was taken over must never get a second VM's. Also
	 * one that the earlier mediator recorded and then did not live to send its session */
	if (e->has_vm) {
		broken(e, "READY of one that was given to a VM");
		return;
	}
	take_ready(e, r);
	if (r->error) {
		e->error = r->error;
		snprintf(e->text, sizeof(e->text), "%s", e->ready.text[0] ? e->ready.text : "no GPU context");
		vgpu_log(VGPU_LOG_ERROR, "executor has no GPU context executor=%u error=0x%x text=\"%s\"", e->id,
			 r->error, e->text);
		med_executor_end(e, false);
		return;
	}
	med_timer_stop(&e->timer);
	e->state = MED_READY;
	e->adopted = false;
	/* what others use of the GPU is in the executor's claim too: the least that was seen is nearest */
	if (m->gpu_known && !memcmp(m->gpu.gpu_uuid, e->ready.gpu_uuid, 16) &&
	    m->gpu.context_bytes < e->ready.context_bytes)
		e->ready.context_bytes = m->gpu.context_bytes;
	m->gpu = e->ready;
	m->gpu_known = true;
	m->start_error = 0;
	m->start_text[0] = 0;
	m->backoff_ms = 0;
	m->counters.executors_started++;
	vgpu_log(VGPU_LOG_INFO, "executor ready executor=%u pid=%u gpu=\"%s\" software=%u sandbox=0x%x", e->id,
		 e->pid, e->ready.gpu_name, r->software, e->sandbox);
	med_session_match(m, false);
	med_links_check_resets(m);
	med_executors_balance(m);
}

static void report(struct med_executor *e, const struct vgpu_executor_ready *r, struct vgpu_chan_fds *fds)
{
	struct med *m = e->med;
	struct med_vm *vm;

	if (e->state != MED_STARTING || !e->adopted || fds->count != 3) {
		broken(e, "REPORT that was not asked for, or without its pages");
		return;
	}
	take_ready(e, r);
	med_timer_stop(&e->timer);
	/* a guest that has taken it over must not reach another VM's quota through it */
	if (!med_config_is_executor(m->config, e->id, r->vm_uuid, r->quota_slot, fds->fd[2])) {
		broken(e, "REPORT of a VM, a slot or a page that it was not given");
		return;
	}
	for (unsigned int i = 0; i < 3; i++)
		e->report[i] = vgpu_chan_fds_take(fds, i);
	e->state = MED_REPORTED;
	m->counters.adopted++;
	if (!m->gpu_known) {
		m->gpu = e->ready;
		m->gpu_known = true;
	}
	vm = med_vm_by_uuid(m, r->vm_uuid);
	vgpu_log(VGPU_LOG_INFO, "executor adopted executor=%u pid=%u vm=%s sid=%u", e->id, e->pid,
		 vm ? vm->config.name : "-", r->sid);
	/* all of the VM's sessions go on with one quota page, whoever reports first; the slot is not
	 * free for a new session, whether this one's client comes back or not */
	if (vm) {
		if (med_quota_adopt(&vm->quota, e->report[2], vm->config.vram_quota_bytes) ||
		    med_quota_take_slot(&vm->quota, r->quota_slot)) {
			broken(e, "its quota page is not its VM's");
			return;
		}
		e->slot = (int)r->quota_slot;
	}
	if (!vm || !vm->config.enabled || !m->grace.armed)
		med_executor_end(e, false);
	med_session_match(m, false);
	/* its link has come back before it spoke, and has not named it */
	for (struct med_link *l = m->links; l; l = l->next)
		if (l->greeted && !l->gone && !l->resuming && l->vm == vm)
			med_executors_end_unresumed(l);
	med_links_check_resets(m);
	med_executors_balance(m);
}

static void result(struct med_executor *e, const struct vgpu_executor_result *received)
{
	struct vgpu_executor_result r = *received;

	vgpu_log_text(r.text, sizeof(r.text), received->text, sizeof(received->text));
	switch (r.h.type) {
	case VGPU_EXECUTOR_ASSIGNED:
		if (e->session)
			med_session_assigned(e->session, &r);
		break;
	case VGPU_EXECUTOR_HEAP_ADDED:
		if (e->session)
			med_session_heap_added(e->session, &r);
		break;
	case VGPU_EXECUTOR_FAILED:
		if (e->state == MED_ENDING)
			break;
		e->error = r.error ? r.error : VGPU_ERROR_SESSION_EXECUTOR_DIED;
		snprintf(e->text, sizeof(e->text), "%s", r.text[0] ? r.text : "the executor gave up");
		med_executor_end(e, false);
		break;
	}
}

/* The type's size; 0 for what an executor does not send. */
static size_t size_of(uint32_t type)
{
	switch (type) {
	case VGPU_EXECUTOR_READY:
	case VGPU_EXECUTOR_REPORT:
		return sizeof(struct vgpu_executor_ready);
	case VGPU_EXECUTOR_ASSIGNED:
	case VGPU_EXECUTOR_HEAP_ADDED:
	case VGPU_EXECUTOR_FAILED:
		return sizeof(struct vgpu_executor_result);
	default:
		return 0;
	}
}

static void handle(struct med_executor *e, const void *packet, size_t bytes, struct vgpu_chan_fds *fds)
{
	union {
		struct vgpu_executor_header h;
		struct vgpu_executor_ready ready;
		struct vgpu_executor_result result;
	} m;

	if (bytes < sizeof(m.h) || bytes > sizeof(m)) {
		broken(e, "the packet's length fits no message");
		return;
	}
	memcpy(&m, packet, bytes);
	if (m.h.bytes != bytes || m.h.version != VGPU_EXECUTOR_VERSION || size_of(m.h.type) != bytes) {
		broken(e, "the message's header is wrong");
		return;
	}
	if (fds->count && m.h.type != VGPU_EXECUTOR_REPORT) {
		broken(e, "descriptors that were not asked for");
		return;
	}
	/* an answer to an earlier mediator */
	if (m.h.epoch != e->med->epoch)
		return;
	if (m.h.type == VGPU_EXECUTOR_READY)
		ready(e, &m.ready);
	else if (m.h.type == VGPU_EXECUTOR_REPORT)
		report(e, &m.ready, fds);
	else
		result(e, &m.result);
}

void med_executor_receive(struct med_channel *c)
{
	struct med_executor *e = med_container(c, struct med_executor, channel);
	char packet[VGPU_EXECUTOR_MESSAGE_MAX];
	struct vgpu_chan_fds fds;
	ssize_t n = vgpu_chan_recv(c->source.fd, packet, sizeof(packet), &fds);

	/* reset: it died without having read all; its own last words come after this error */
	if (n == -EAGAIN || n == -ECONNRESET)
		return;
	if (n == -EMSGSIZE) {
		broken(e, "the packet is too long");
		return;
	}
	if (n <= 0) {
		/* it is ending, or has closed its socket: the jailer sees to it that it is gone */
		bool unlisted = !e->seen && e->med->jailer.listed;

		e->lost = e->state != MED_ENDING;
		med_channel_uninit(c);
		if (unlisted)
			med_executor_died(e, VGPU_DEATH_UNKNOWN, 0);
		else
			med_executor_end(e, false);
		return;
	}
	handle(e, packet, (size_t)n, &fds);
	vgpu_chan_fds_close(&fds);
}
