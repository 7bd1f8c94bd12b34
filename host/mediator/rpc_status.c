// SPDX-License-Identifier: MIT
/* status, doctor, session.* */
#include "host/mediator/control_internal.h"

#include <stdio.h>
#include <string.h>

static const struct { unsigned int bit; const char *name; } sandbox_parts[] = {
	{ VGPU_SANDBOX_UID, "uid" },
	{ VGPU_SANDBOX_CGROUP, "cgroup" },
	{ VGPU_SANDBOX_MOUNT, "mount" },
	{ VGPU_SANDBOX_NET, "net" },
	{ VGPU_SANDBOX_PID, "pid" },
	{ VGPU_SANDBOX_IPC, "ipc" },
	{ VGPU_SANDBOX_NO_NEW_PRIVS, "no-new-privs" },
	{ VGPU_SANDBOX_SECCOMP, "seccomp" },
	{ VGPU_SANDBOX_NOT_DUMPABLE, "not-dumpable" },
	{ VGPU_SANDBOX_HMM_OFF, "hmm-off" },
	{ VGPU_SANDBOX_MEMORY_LIMIT, "memory-limit" },
};

/* What no ready executor may lack without being named. */
static bool sandbox_in_force(const struct med *m, unsigned int *ret_bits)
{
	bool any = false;

	*ret_bits = VGPU_SANDBOX_ALL;
	for (struct med_executor *e = m->executors; e; e = e->next) {
		if (e->state != MED_READY && e->state != MED_ASSIGNED)
			continue;
		*ret_bits &= e->sandbox;
		any = true;
	}
	return any;
}

static json_t *sandbox_object(const struct med *m)
{
	unsigned int bits;
	json_t *missing = json_array();

	if (!sandbox_in_force(m, &bits)) {
		json_decref(missing);
		return json_null();
	}
	for (size_t i = 0; i < sizeof(sandbox_parts) / sizeof(*sandbox_parts); i++)
		if (!(bits & sandbox_parts[i].bit))
			json_array_append_new(missing, json_string(sandbox_parts[i].name));
	return json_pack("{s:i, s:o}", "bits", (int)bits, "missing", missing);
}

static json_t *gpu_object(const struct med *m)
{
	char uuid[37];

	if (!m->gpu_known)
		return json_null();
	med_uuid_text(m->gpu.gpu_uuid, uuid);
	return json_pack("{s:i, s:s, s:s, s:b, s:i, s:I, s:I, s:I}", "index", (int)m->options.gpu, "name",
			 m->gpu.gpu_name, "uuid", uuid, "software", m->gpu.software != 0, "driver_version",
			 (int)m->gpu.driver_version, "vram_total_bytes", (json_int_t)m->gpu.vram_total_bytes,
			 "vram_free_at_start_bytes", (json_int_t)m->gpu.vram_free_bytes, "context_bytes",
			 (json_int_t)m->gpu.context_bytes);
}

static json_t *executors_object(const struct med *m)
{
	unsigned int stuck;

	med_executor_stuck(m, &stuck);
	return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s}", "warm", (int)med_executors_count(m, MED_READY),
			 "warm_wanted", (int)m->options.warm, "starting",
			 (int)(med_executors_count(m, MED_STARTING) + m->jailer.spawning), "adopted",
			 (int)med_executors_count(m, MED_REPORTED), "in_use",
			 (int)med_executors_count(m, MED_ASSIGNED), "ending",
			 (int)med_executors_count(m, MED_ENDING), "stuck", (int)stuck, "error", m->start_text);
}

static json_t *links_array(const struct med_rpc *r)
{
	static const char *const identities[] = { "by path only", "label", "uid" };
	json_t *array = json_array();

	for (struct med_link *l = r->med->links; l; l = l->next) {
		unsigned int n = 0;

		if (!l->greeted || !l->vm || !med_rpc_may_see(r, l->vm))
			continue;
		for (struct med_session *s = l->sessions; s; s = s->next)
			n++;
		json_array_append_new(array, json_pack("{s:s, s:s, s:I, s:I, s:s, s:I, s:i, s:b, s:I, s:I}", "vm",
			l->vm->config.name, "kind", l->local ? "local" : "vm", "uid", (json_int_t)l->uid, "pid",
			(json_int_t)l->pid, "identity", identities[l->identity], "window_bytes",
			(json_int_t)l->window.bytes, "sessions", (int)n, "ended", l->gone, "refused",
			(json_int_t)l->refused, "age_s", (json_int_t)((med_now_ns() - l->since_ns) / 1000000000u)));
	}
	return array;
}

static json_t *counters_object(const struct med *m)
{
	json_t *o = json_object();

#define MED_COUNTER_SET(name) json_object_set_new(o, #name, json_integer((json_int_t)m->counters.name));
	MED_COUNTERS(MED_COUNTER_SET)
#undef MED_COUNTER_SET
	return o;
}

json_t *med_rpc_status(struct med_rpc *r, json_t *params)
{
	static const char *const names[] = { NULL };
	struct med *m = r->med;
	json_t *vms;

	if (!med_rpc_known(r, params, names))
		return NULL;
	vms = med_rpc_vm_list(r, NULL);
	if (!vms)
		return NULL;
	return json_pack("{s:s, s:i, s:I, s:o, s:{s:b, s:s}, s:o, s:o, s:{s:I, s:I}, s:o, s:o, s:o}", "version",
			 VGPU_VERSION, "protocol", VGPU_CONTROL_VERSION, "epoch", (json_int_t)m->epoch, "gpu",
			 gpu_object(m), "jailer", "connected", m->jailer.listed, "socket", m->options.jailer,
			 "sandbox", sandbox_object(m), "executors", executors_object(m), "windows", "bytes",
			 (json_int_t)m->window_bytes, "limit_bytes", (json_int_t)m->options.window_total_bytes,
			 "links", links_array(r), "vms", vms, "counters", counters_object(m));
}

static void check(json_t *checks, const char *name, const char *verdict, const char *text, const char *action)
{
	json_array_append_new(checks, json_pack("{s:s, s:s, s:s, s:s}", "check", name, "verdict", verdict, "text",
						text, "action", action));
}

static void check_sandbox(struct med *m, json_t *checks)
{
	char text[256] = "";
	unsigned int bits;

	if (!sandbox_in_force(m, &bits)) {
		check(checks, "sandbox", "warning", "not known while no executor is ready", "");
		return;
	}
	for (size_t i = 0; i < sizeof(sandbox_parts) / sizeof(*sandbox_parts); i++) {
		size_t n = strlen(text);

		if (!(bits & sandbox_parts[i].bit))
			snprintf(text + n, sizeof(text) - n, "%s%s", n ? ", " : "missing: ", sandbox_parts[i].name);
	}
	if (text[0])
		check(checks, "sandbox", "warning", text, "see vgpu-jailer's log for the reason of each");
	else
		check(checks, "sandbox", "ok", "all parts are in force", "");
}

static void check_ends(struct med *m, json_t *checks)
{
	unsigned int stuck;
	const struct med_executor *e = med_executor_stuck(m, &stuck);
	char text[256];

	if (!e)
		return;
	snprintf(text, sizeof(text),
		 "degraded: %u executor%s cannot be ended (process %u, user %u, for %u s); no new sessions, its memory stays charged",
		 stuck, stuck == 1 ? "" : "s", e->pid, e->uid,
		 (unsigned int)((med_now_ns() - e->ending_ns) / 1000000000u));
	check(checks, "gpu", "bad", text,
	      "look at the kernel's log for the GPU's driver, and at vgpu-jailer; a process that hangs in the driver goes with a reset of the GPU or a reboot");
}

json_t *med_rpc_doctor(struct med_rpc *r, json_t *params)
{
	struct med *m = r->med;
	json_t *checks = json_array();

	if (m->jailer.connected)
		check(checks, "jailer", "ok", "connected", "");
	else
		check(checks, "jailer", "bad", "vgpu-jailer does not answer", "systemctl start vgpu-jailer");
	if (m->start_text[0])
		check(checks, "executor", "bad", m->start_text, "see the logs of vgpu-jailer and vgpu-mediator");
	else if (m->gpu_known)
		check(checks, "executor", "ok", m->gpu.gpu_name, "");
	else
		check(checks, "executor", "warning", "none has been started yet",
		      "try it with a program, or have one started ahead: --warm 1 in VGPU_MEDIATOR_OPTIONS in "
		      "/etc/default/vgpu-mediator");
	if (m->gpu_known && m->gpu.software)
		check(checks, "gpu", "warning", "the software GPU is in use: correct, but slow",
		      "on a host with a GPU: take --driver out of VGPU_JAILER_OPTIONS in /etc/default/vgpu-jailer, and "
		      "systemctl restart vgpu-jailer");
	check_ends(m, checks);
	check_sandbox(m, checks);
	return json_pack("{s:o}", "checks", checks);
}

static json_t *session_object(const struct med_session *s)
{
	const struct vgpu_gate_page *g = s->gate;
	uint64_t heap = 0, vram = 0;
	json_t *o;

	for (unsigned int i = 0; i < s->run_count; i++)
		heap += s->runs[i].bytes;
	if (s->slot >= 0 && s->link->vm->quota.page)
		vram = s->link->vm->quota.page->used_bytes[s->slot];
	o = json_pack("{s:I, s:s, s:i, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "id",
		      (json_int_t)(s->executor ? s->executor->id : 0), "vm", s->link->vm->config.name, "sid",
		      (int)s->sid, "state", med_session_state_name(s->state), "client_pid",
		      (json_int_t)(s->pid ? s->pid : s->link->pid), "executor_pid",
		      (json_int_t)(s->executor ? s->executor->pid : 0), "executor_uid",
		      (json_int_t)(s->executor ? s->executor->uid : 0), "age_s",
		      (json_int_t)((med_now_ns() - s->since_ns) / 1000000000u), "heap_bytes", (json_int_t)heap,
		      "vram_bytes", (json_int_t)(vram & INT64_MAX));
	if (!o || !g)
		return o;
#define SET(name) json_object_set_new(o, #name, json_integer((json_int_t)(g->name & INT64_MAX)))
	SET(commands);
	SET(launches);
	SET(bytes_h2d);
	SET(bytes_d2h);
	SET(bytes_d2d);
	SET(faults);
#undef SET
	return o;
}

json_t *med_rpc_session_list(struct med_rpc *r, json_t *params)
{
	json_t *array = json_array();

	for (struct med_link *l = r->med->links; l; l = l->next)
		for (struct med_session *s = l->vm && med_rpc_may_see(r, l->vm) ? l->sessions : NULL; s; s = s->next)
			json_array_append_new(array, session_object(s));
	return array;
}

json_t *med_rpc_session_end(struct med_rpc *r, json_t *params)
{
	static const char *const names[] = { "id", NULL };
	struct med_executor *e;
	uint64_t id = 0;

	if (!med_rpc_known(r, params, names) || !med_rpc_number(r, params, "id", UINT32_MAX, &id))
		return NULL;
	e = id ? med_executor_find(r->med, (uint32_t)id) : NULL;
	if (!e || !e->session || !med_rpc_may_see(r, e->session->link->vm))
		return med_rpc_fail(r, VGPU_CONTROL_NOT_FOUND, "there is no session %u: see vgpu-admin session list",
				    (unsigned int)id);
	med_session_kill(e->session, VGPU_ERROR_SESSION_ADMIN, "the administrator ended the session");
	return json_object();
}
