/* SPDX-License-Identifier: MIT */
/*
 * Lines of the control socket: parsed as requests, and their parameters read with all types. What
 * is accepted must be within its limits, what is refused must have a sentence.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/mediator/control_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void promise(bool kept)
{
	if (!kept)
		abort();
}

/* rpc.c has the mediator's; this one needs no mediator. */
json_t *med_rpc_fail(struct med_rpc *r, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(r->text, sizeof(r->text), format, args);
	va_end(args);
	r->error = code;
	return NULL;
}

static void judge(struct med_rpc *r, bool accepted)
{
	promise(accepted == !r->error);
	promise(accepted || r->text[0]);
	r->error = 0;
	r->text[0] = 0;
}

static void read_params(json_t *params)
{
	static const char *const known[] = { "name", "uuid", "vram_quota_bytes", "sessions", "enabled", NULL };
	struct med_rpc r = { 0 };
	char name[MED_NAME] = "", uuid_text[37];
	uint8_t uuid[16] = { 0 };
	uint64_t quota = 7, sessions = 7;
	bool enabled = false;

	judge(&r, med_rpc_known(&r, params, known));
	judge(&r, med_rpc_text(&r, params, "name", name, sizeof(name), true));
	judge(&r, med_rpc_text(&r, params, "name", name, sizeof(name), false));
	for (const char *p = name; *p; p++)
		promise(*p >= 0x20 && *p < 0x7f && *p != '"' && *p != '\\');
	judge(&r, med_rpc_uuid(&r, params, "uuid", uuid));
	judge(&r, med_rpc_number_or_none(&r, params, "vram_quota_bytes", INT64_MAX, MED_UNLIMITED, &quota));
	promise(quota <= INT64_MAX || quota == MED_UNLIMITED);
	judge(&r, med_rpc_number(&r, params, "sessions", 64, &sessions));
	promise(sessions <= 64);
	judge(&r, med_rpc_bool(&r, params, "enabled", &enabled));
	med_uuid_text(uuid, uuid_text);
	promise(strlen(uuid_text) == 36);
	json_decref(med_rpc_quota(quota));
}

static void line(const char *text, size_t bytes)
{
	struct med_rpc_request q;
	const char *why = NULL;
	int rc = med_control_parse(text, bytes, &q, &why);

	if (rc) {
		promise(rc <= VGPU_CONTROL_REQUEST || rc == VGPU_CONTROL_PARAMS);
		promise(why && *why);
	} else {
		promise(q.method && (!q.params || json_is_object(q.params)));
		if (q.params)
			read_params(q.params);
	}
	med_control_request_free(&q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;

	while (size) {
		const char *end = memchr(text, '\n', size);
		size_t bytes = end ? (size_t)(end - text) : size;

		line(text, bytes);
		text += bytes + !!end;
		size -= bytes + !!end;
	}
	return 0;
}
