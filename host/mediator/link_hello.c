// SPDX-License-Identifier: MIT
/* HELLO: who is it, what may it have. Each refusal is a sentence with values and limits. */
#include "host/mediator/internal.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/util/cleanup.h"
#include "common/window/window.h"

static void audit(struct med_link *l, const char *what)
{
	uint64_t now = med_now_ns();

	l->med->counters.identity_refused++;
	/* one record a second and VM: who tries it in a loop does not fill the disk */
	if (l->vm->audit_ns && now - l->vm->audit_ns < 1000000000u)
		return;
	l->vm->audit_ns = now;
	l->med->counters.audited++;
	med_config_audit(l->med->config, l->vm->config.name, what);
}

static bool uid_expected(const struct med_link *l)
{
	static const char *const users[] = { "libvirt-qemu", "qemu" };

	if (l->vm->config.peer_uid >= 0)
		return l->vm->config.peer_uid == (int64_t)l->uid;
	if (l->uid == 0)
		return true;
	for (size_t i = 0; i < sizeof(users) / sizeof(*users); i++) {
		struct passwd *user = getpwnam(users[i]);

		if (user && user->pw_uid == l->uid)
			return true;
	}
	return false;
}

/* False when the peer has a label of another VM. */
static bool label_right(struct med_link *l, char *ret_label, size_t size)
{
	char label[256];
	socklen_t bytes = sizeof(label) - 1;
	enum med_label verdict;

	if (getsockopt(l->channel.source.fd, SOL_SOCKET, SO_PEERSEC, label, &bytes) < 0)
		return true;
	label[bytes < sizeof(label) ? bytes : sizeof(label) - 1] = 0;
	vgpu_log_text(ret_label, size, label, sizeof(label));
	verdict = med_label_compare(label, l->vm->config.uuid);
	if (verdict == MED_LABEL_RIGHT)
		l->identity = MED_BY_LABEL;
	return verdict != MED_LABEL_WRONG;
}

static bool check_identity(struct med_link *l, const struct vgpu_link_hello *h)
{
	static const uint8_t none[16];
	char label[256] = "", what[512], uuid[37];

	if (!uid_expected(l)) {
		snprintf(what, sizeof(what), "connection to the socket of VM %s by uid %u", l->vm->config.name,
			 l->uid);
		audit(l, what);
		med_link_refuse(l, VGPU_ERROR_HOST_IDENTITY, l->uid, 0,
				"user %u may not connect for VM %s: set it with vgpu-admin vm set %s --peer-uid",
				l->uid, l->vm->config.name, l->vm->config.name);
		return false;
	}
	if (!label_right(l, label, sizeof(label))) {
		snprintf(what, sizeof(what), "connection to the socket of VM %s with label %s",
			 l->vm->config.name, label);
		audit(l, what);
		med_link_refuse(l, VGPU_ERROR_HOST_IDENTITY, 0, 0,
				"the peer's security label is not that of VM %s", l->vm->config.name);
		return false;
	}
	if (memcmp(h->uuid, none, 16) != 0 && memcmp(h->uuid, l->vm->config.uuid, 16) != 0) {
		med_uuid_text(h->uuid, uuid);
		snprintf(what, sizeof(what), "connection to the socket of VM %s by UUID %s",
			 l->vm->config.name, uuid);
		audit(l, what);
		med_link_refuse(l, VGPU_ERROR_HOST_IDENTITY, 0, 0,
				"the VM has UUID %s, VM %s is configured with another: give the VM its own socket",
				uuid, l->vm->config.name);
		return false;
	}
	return true;
}

/* A peer that has just died may not have been noticed yet: look before refusing its successor. */
static bool displace_dead(struct med_link *l)
{
	struct med_link *next;
	char byte;

	for (struct med_link *k = l->med->links; k; k = next) {
		next = k->next;
		if (k == l || k->vm != l->vm || !k->greeted || k->gone)
			continue;
		if (recv(k->channel.source.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 0)
			return false;
		med_link_drop(k, "end of file");
		next = l->med->links;
	}
	return true;
}

static bool check_place(struct med_link *l)
{
	unsigned int n;

	if (!l->local && !displace_dead(l)) {
		l->med->counters.second_refused++;
		med_link_refuse(l, VGPU_ERROR_HOST_BUSY, 1, 1,
				"VM %s is connected already: a second connection never displaces a live one",
				l->vm->config.name);
		return false;
	}
	n = med_vm_links(l->vm);
	if (l->local && n >= l->vm->config.sessions) {
		l->med->counters.session_limit++;
		med_link_refuse(l, VGPU_ERROR_HOST_SESSION_LIMIT, n + 1, l->vm->config.sessions,
				"%u programs of %s use the GPU, the limit is %u: end one, or raise --sessions", n,
				l->vm->config.name, l->vm->config.sessions);
		return false;
	}
	return true;
}

/* Whether executors of a connection that has ended still write to this window. */
static bool still_draining(const struct med_link *l, int fd)
{
	for (struct med_link *k = l->med->links; k; k = k->next)
		if (k != l && k->gone && med_window_same(&k->window, fd))
			return true;
	return false;
}

static bool check_window_size(struct med_link *l, uint64_t bytes)
{
	struct med *m = l->med;
	uint64_t limit = l->vm->config.window_bytes;

	if (bytes > limit) {
		m->counters.window_limit++;
		med_link_refuse(l, VGPU_ERROR_HOST_WINDOW_LIMIT, (uint32_t)(bytes >> 20), (uint32_t)(limit >> 20),
				"the window has %llu MiB, VM %s may have %llu: make it smaller, or raise --window",
				(unsigned long long)bytes >> 20, l->vm->config.name,
				(unsigned long long)limit >> 20);
		return false;
	}
	if (m->window_bytes + bytes > m->options.window_total_bytes) {
		m->counters.window_limit++;
		med_link_refuse(l, VGPU_ERROR_HOST_WINDOW_LIMIT, (uint32_t)((m->window_bytes + bytes) >> 20),
				(uint32_t)(m->options.window_total_bytes >> 20),
				"all windows of the host would have %llu MiB, the limit is %llu: end a VM, or raise --window-total",
				(unsigned long long)(m->window_bytes + bytes) >> 20,
				(unsigned long long)m->options.window_total_bytes >> 20);
		return false;
	}
	return true;
}

static bool take_window(struct med_link *l, const struct vgpu_link_hello *h, struct vgpu_chan_fds *fds)
{
	uint64_t bytes = h->window_bytes ? h->window_bytes : l->vm->config.window_bytes;
	vgpu_close int fd = vgpu_chan_fds_take(fds, 0);
	int rc;

	/* a program may ask for any size: whole extents it gets. Before the limits, or the last one
	 * could pass them by being rounded */
	if (fd < 0 && bytes <= VGPU_ARENA_BYTES)
		bytes = (bytes + VGPU_EXTENT_BYTES - 1) & ~(VGPU_EXTENT_BYTES - 1);
	if (!check_window_size(l, bytes))
		return false;
	if (fd >= 0) {
		rc = vgpu_window_check(fd, bytes);
	} else {
		rc = vgpu_window_create("vgpu-window", bytes, &fd);
	}
	if (rc) {
		if (fd >= 0)
			med_close_later(vgpu_take_fd(&fd)); /* who knows what it is */
		med_link_refuse(l, VGPU_ERROR_CALL_INVALID, (uint32_t)(bytes >> 20), 0,
				"the window is not usable (%s): it must be a memfd, sealed against shrinking, of the size that HELLO says, a multiple of 2 MiB",
				strerror(-rc));
		return false;
	}
	if (still_draining(l, fd)) {
		med_link_refuse(l, VGPU_ERROR_HOST_BUSY, 0, 0,
				"sessions of this window's earlier connection are still being ended: try again");
		return false;
	}
	rc = med_window_init(&l->window, vgpu_take_fd(&fd), bytes);
	if (rc) {
		med_link_refuse(l, VGPU_ERROR_CALL_NO_MEMORY, 0, 0, "the host is out of memory");
		return false;
	}
	l->med->window_bytes += bytes;
	return true;
}

static void welcome(struct med_link *l, bool give_window)
{
	struct vgpu_link_welcome w = { .h = { VGPU_LINK_WELCOME, sizeof(w), l->epoch, 0 },
				       .version = VGPU_LINK_VERSION,
				       .features = VGPU_LINK_FEATURE_BASE,
				       .sessions = l->vm->config.sessions,
				       .window_bytes = l->window.bytes };

	l->greeted = true;
	med_timer_stop(&l->hello_timer);
	if (med_channel_send(&l->channel, &w, sizeof(w), &l->window.fd, give_window ? 1 : 0)) {
		med_link_drop(l, "WELCOME could not be sent");
		return;
	}
	vgpu_log(VGPU_LOG_INFO, "link vm=%s kind=%s uid=%u pid=%u window_mib=%llu identity=%s",
		 l->vm->config.name, l->local ? "local" : "vm", l->uid, l->pid,
		 (unsigned long long)l->window.bytes >> 20,
		 l->local ? "uid" : l->identity == MED_BY_LABEL ? "label" : "path");
}

void med_link_hello(struct med_link *l, const struct vgpu_link_hello *h, struct vgpu_chan_fds *fds)
{
	bool own_window = fds->count > 0;

	l->epoch = h->h.epoch;
	if (h->version < VGPU_LINK_VERSION_OLDEST || h->version_oldest > VGPU_LINK_VERSION) {
		med_link_refuse(l, VGPU_ERROR_HOST_VERSION, h->version, VGPU_LINK_VERSION,
				"the client speaks versions 0x%x to 0x%x, the host 0x%x to 0x%x: upgrade the older side",
				h->version_oldest, h->version, VGPU_LINK_VERSION_OLDEST, VGPU_LINK_VERSION);
		return;
	}
	if (!(h->features & VGPU_LINK_FEATURE_BASE)) {
		med_link_refuse(l, VGPU_ERROR_HOST_VERSION, h->features, VGPU_LINK_FEATURE_BASE,
				"the client lacks the base feature");
		return;
	}
	if (!l->vm || l->vm->removed) {
		med_link_refuse(l, VGPU_ERROR_HOST_UNKNOWN_VM, l->uid, 0,
				"user %u is not configured for a GPU: vgpu-admin vm add NAME --kind local --uid %u",
				l->uid, l->uid);
		return;
	}
	if (!l->vm->config.enabled) {
		med_link_refuse(l, VGPU_ERROR_HOST_UNKNOWN_VM, 0, 0,
				"VM %s is disabled: vgpu-admin vm set %s --enabled yes", l->vm->config.name,
				l->vm->config.name);
		return;
	}
	if (l->local != (h->kind == VGPU_LINK_KIND_LOCAL)) {
		med_link_refuse(l, VGPU_ERROR_HOST_IDENTITY, h->kind, 0,
				"this socket is for %s", l->local ? "local programs" : "a VM's device");
		return;
	}
	if (l->local)
		l->identity = MED_BY_UID;
	else if (!check_identity(l, h))
		return;
	if (!check_place(l) || !take_window(l, h, fds))
		return;
	if (!l->local && h->pid)
		l->pid = h->pid;
	l->resuming = h->resume;
	/* a new life of the VM: nothing of the earlier one is wanted any more */
	if (!h->resume)
		med_executors_end_unresumed(l);
	welcome(l, l->local && !own_window);
}
