// SPDX-License-Identifier: MIT
/* Requests to methods, with the role that each needs. */
#include "host/mediator/control_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct method {
	const char *name;
	json_t *(*call)(struct med_rpc *r, json_t *params);
	bool admin;
	bool changes; /* goes into the audit log */
} methods[] = {
	{ "status", med_rpc_status, false, false },
	{ "doctor", med_rpc_doctor, true, false },
	{ "vm.list", med_rpc_vm_list, false, false },
	{ "vm.show", med_rpc_vm_show, false, false },
	{ "vm.add", med_rpc_vm_add, true, true },
	{ "vm.set", med_rpc_vm_set, true, true },
	{ "vm.remove", med_rpc_vm_remove, true, true },
	{ "tenant.list", med_rpc_tenant_list, true, false },
	{ "tenant.add", med_rpc_tenant_add, true, true },
	{ "tenant.set", med_rpc_tenant_set, true, true },
	{ "tenant.remove", med_rpc_tenant_remove, true, true },
	{ "session.list", med_rpc_session_list, false, false },
	{ "session.end", med_rpc_session_end, false, true },
};

json_t *med_rpc_fail(struct med_rpc *r, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(r->text, sizeof(r->text), format, args); // NOLINT: the analyzer of clang 14 loses va_start
	va_end(args);
	r->error = code;
	return NULL;
}

static bool is_admin(const struct med *m, uid_t uid)
{
	if (uid == 0 || uid == geteuid())
		return true;
	for (unsigned int i = 0; i < m->options.admin_uid_count; i++)
		if (m->options.admin_uids[i] == uid)
			return true;
	return false;
}

static void audit(struct med_rpc *r, const struct method *method, json_t *params)
{
	char *text = params ? json_dumps(params, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	char who[32], what[512];

	snprintf(who, sizeof(who), "uid %u", r->uid);
	snprintf(what, sizeof(what), "%s %s", method->name, text ? text : "{}");
	free(text);
	r->med->counters.audited++;
	med_config_audit(r->med->config, who, what);
	vgpu_log(VGPU_LOG_NOTICE, "control %s uid=%u", what, r->uid);
}

static json_t *call(struct med_rpc *r, const struct med_rpc_request *q)
{
	const struct method *method = NULL;
	json_t *result;

	for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++)
		if (!strcmp(methods[i].name, q->method))
			method = &methods[i];
	if (!r->admin && !r->own)
		return med_rpc_fail(r, VGPU_CONTROL_DENIED,
				    "user %u has no GPU configured and is no administrator: ask one for vgpu-admin vm add NAME --kind local --uid %u",
				    r->uid, r->uid);
	if (!method)
		return med_rpc_fail(r, VGPU_CONTROL_METHOD, "there is no such method");
	if (method->admin && !r->admin)
		return med_rpc_fail(r, VGPU_CONTROL_DENIED,
				    "%s is for administrators: root, or a user given with vgpu-mediator --admin-uid",
				    method->name);
	result = method->call(r, q->params);
	if (result && method->changes)
		audit(r, method, q->params);
	return result;
}

static char *finish(json_t *answer)
{
	char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
	size_t n = text ? strlen(text) : 0;
	char *line = text ? realloc(text, n + 2) : NULL;

	json_decref(answer);
	if (!line) {
		free(text);
		return NULL;
	}
	line[n] = '\n';
	line[n + 1] = 0;
	return line;
}

char *med_rpc_answer(struct med *m, uid_t uid, struct med_vm *own, const char *line, size_t bytes)
{
	struct med_rpc r = { .med = m, .uid = uid, .admin = is_admin(m, uid), .own = own };
	struct med_rpc_request q;
	json_t *result = NULL, *answer = NULL;
	const char *why;
	bool notification;
	int rc = med_control_parse(line, bytes, &q, &why);

	notification = !rc && !q.id;
	if (rc)
		med_rpc_fail(&r, rc, "%s", why);
	else
		result = call(&r, &q);
	if (!result && !r.error)
		med_rpc_fail(&r, VGPU_CONTROL_INTERNAL, "the mediator is out of memory");
	if (notification)
		json_decref(result);
	else if (result)
		answer = json_pack("{s:s, s:O, s:o}", "jsonrpc", "2.0", "id", q.id, "result", result);
	else
		answer = json_pack("{s:s, s:O?, s:{s:i, s:s}}", "jsonrpc", "2.0", "id", q.id, "error", "code",
				   r.error, "message", r.text);
	med_control_request_free(&q);
	return answer ? finish(answer) : NULL;
}
