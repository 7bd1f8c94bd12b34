// SPDX-License-Identifier: MIT
/* Configured VMs as they run: their sockets, quota pages and rates. */
#include "host/mediator/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static void vm_ready(struct med_source *s, uint32_t events)
{
	struct med_vm *vm = med_container(s, struct med_vm, listen);

	med_link_accept(vm->med, vm, s->fd);
}

static void socket_path(const struct med *m, const char *name, char *ret, size_t size)
{
	snprintf(ret, size, "%s/vm/%s.sock", m->options.run_dir, name);
}

static void start_listening(struct med_vm *vm)
{
	char path[512];
	int fd = -1, rc;

	if (vm->config.kind != MED_VM || vm->listen.fd >= 0)
		return;
	socket_path(vm->med, vm->config.name, path, sizeof(path));
	/* who may connect is decided by the peer's uid, so that QEMU may run as any user */
	rc = vgpu_chan_listen(path, 0666, SOCK_NONBLOCK, &fd);
	if (!rc)
		rc = med_loop_add(&vm->listen, fd, EPOLLIN);
	if (rc) {
		if (fd >= 0)
			close(fd);
		vgpu_log(VGPU_LOG_ERROR, "socket of VM cannot be made vm=%s path=%s error=\"%s\"",
			 vm->config.name, path, strerror(-rc));
	}
}

static void stop_listening(struct med_vm *vm)
{
	char path[512];
	int fd = vm->listen.fd;

	if (fd < 0)
		return;
	med_loop_remove(&vm->listen);
	med_close_later(fd); /* with connections that nobody has accepted */
	socket_path(vm->med, vm->config.name, path, sizeof(path));
	unlink(path);
}

static struct med_vm *vm_create(struct med *m, const struct med_vm_config *c)
{
	struct med_vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	vm->med = m;
	vm->config = *c;
	vm->listen.fd = -1;
	vm->listen.ready = vm_ready;
	vm->open_tokens = MED_OPEN_BURST;
	vm->open_tokens_ns = med_now_ns();
	vm->next = m->vms;
	m->vms = vm;
	start_listening(vm);
	return vm;
}

static void load_one(void *arg, const struct med_vm_config *c)
{
	if (!vm_create(arg, c))
		vgpu_log(VGPU_LOG_ERROR, "out of memory vm=%s", c->name);
}

int med_vms_load(struct med *m)
{
	return med_config_each_vm(m->config, load_one, m);
}

struct med_vm *med_vm_by_name(struct med *m, const char *name)
{
	for (struct med_vm *vm = m->vms; vm; vm = vm->next)
		if (!vm->removed && !strcmp(vm->config.name, name))
			return vm;
	return NULL;
}

struct med_vm *med_vm_by_uuid(struct med *m, const uint8_t uuid[16])
{
	for (struct med_vm *vm = m->vms; vm; vm = vm->next)
		if (!vm->removed && !memcmp(vm->config.uuid, uuid, 16))
			return vm;
	return NULL;
}

static struct med_vm *local_by_gid(struct med *m, gid_t gid)
{
	for (struct med_vm *vm = m->vms; vm; vm = vm->next)
		if (!vm->removed && vm->config.kind == MED_LOCAL && vm->config.gid == (int64_t)gid)
			return vm;
	return NULL;
}

struct med_vm *med_vm_local(struct med *m, int sock, uid_t uid, gid_t gid)
{
	gid_t groups[256];
	socklen_t size = sizeof(groups);
	struct med_vm *vm;

	for (vm = m->vms; vm; vm = vm->next)
		if (!vm->removed && vm->config.kind == MED_LOCAL && vm->config.uid == (int64_t)uid)
			return vm;
	vm = local_by_gid(m, gid);
	if (vm || getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
		return vm;
	for (size_t i = 0; i < size / sizeof(*groups) && !vm; i++)
		vm = local_by_gid(m, groups[i]);
	return vm;
}

/* Ends what the VM has, because it may not have it any more. */
static void drop_links(struct med_vm *vm, const char *why)
{
	struct med_link *next;

	for (struct med_link *l = vm->med->links; l; l = next) {
		next = l->next;
		if (l->vm == vm && !l->gone) {
			for (struct med_session *s = l->sessions; s; s = s->next)
				med_link_result(l, VGPU_LINK_ENDED, s->epoch, s->sid, VGPU_ERROR_SESSION_ADMIN,
						0, 0, why);
			med_link_drop(l, why);
			next = vm->med->links; /* the list may have changed: from the start again */
		}
	}
}

int med_vm_apply(struct med *m, const struct med_vm_config *c)
{
	struct med_vm *vm;

	for (vm = m->vms; vm; vm = vm->next)
		if (!vm->removed && !memcmp(vm->config.uuid, c->uuid, 16))
			break;
	if (!vm)
		return vm_create(m, c) ? 0 : -ENOMEM;
	if (strcmp(vm->config.name, c->name) != 0 || vm->config.kind != c->kind)
		stop_listening(vm);
	vm->config = *c;
	med_quota_set(&vm->quota, c->vram_quota_bytes);
	start_listening(vm);
	if (!c->enabled)
		drop_links(vm, "the administrator has disabled this VM's GPU");
	return 0;
}

void med_vm_remove(struct med_vm *vm)
{
	struct med *m = vm->med;

	stop_listening(vm);
	drop_links(vm, "the administrator has removed this VM from the GPU's configuration");
	/* only now: the last link that goes takes a removed VM with it */
	vm->removed = true;
	med_vms_collect(m);
}

static bool in_use(const struct med_vm *vm)
{
	for (struct med_link *l = vm->med->links; l; l = l->next)
		if (l->vm == vm)
			return true;
	return false;
}

void med_vms_collect(struct med *m)
{
	for (struct med_vm **at = &m->vms; *at;) {
		struct med_vm *vm = *at;

		if (!vm->removed || in_use(vm)) {
			at = &vm->next;
			continue;
		}
		*at = vm->next;
		med_quota_uninit(&vm->quota);
		free(vm);
	}
}

/* At the mediator's end: sockets go, sessions stay for the next mediator. */
void med_vms_uninit(struct med *m)
{
	while (m->vms) {
		struct med_vm *vm = m->vms;

		m->vms = vm->next;
		stop_listening(vm);
		med_quota_uninit(&vm->quota);
		free(vm);
	}
}

unsigned int med_vm_sessions(const struct med_vm *vm)
{
	unsigned int n = 0;

	for (struct med_link *l = vm->med->links; l; l = l->next)
		for (struct med_session *s = l->vm == vm ? l->sessions : NULL; s; s = s->next)
			n += s->state <= MED_OPEN;
	return n;
}

unsigned int med_vm_links(const struct med_vm *vm)
{
	unsigned int n = 0;

	for (struct med_link *l = vm->med->links; l; l = l->next)
		n += l->vm == vm && l->greeted && !l->gone;
	return n;
}

bool med_vm_may_open(struct med_vm *vm)
{
	uint64_t now = med_now_ns();

	vm->open_tokens += (double)(now - vm->open_tokens_ns) / 1e9 * MED_OPEN_PER_S;
	vm->open_tokens_ns = now;
	if (vm->open_tokens > MED_OPEN_BURST)
		vm->open_tokens = MED_OPEN_BURST;
	if (vm->open_tokens < 1)
		return false;
	vm->open_tokens -= 1;
	return true;
}
