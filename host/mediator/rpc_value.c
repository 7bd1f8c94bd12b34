// SPDX-License-Identifier: MIT
/* Parameters with types and limits. */
#include "host/mediator/control_internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool med_rpc_known(struct med_rpc *r, json_t *params, const char *const *names)
{
	const char *key;
	json_t *value;

	json_object_foreach(params, key, value) {
		const char *const *n = names;

		while (*n && strcmp(*n, key) != 0)
			n++;
		if (!*n) {
			char clean[64];

			vgpu_log_text(clean, sizeof(clean), key, strlen(key));
			med_rpc_fail(r, VGPU_CONTROL_PARAMS, "there is no parameter %s here", clean);
			return false;
		}
	}
	return true;
}

bool med_rpc_text(struct med_rpc *r, json_t *params, const char *name, char *ret, size_t size, bool needed)
{
	json_t *v = json_object_get(params, name);

	if (!v && !needed)
		return true;
	if (!json_is_string(v) || json_string_length(v) >= size ||
	    strlen(json_string_value(v)) != json_string_length(v)) {
		med_rpc_fail(r, VGPU_CONTROL_PARAMS, "%s must be text of at most %zu bytes", name, size - 1);
		return false;
	}
	vgpu_log_text(ret, size, json_string_value(v), json_string_length(v));
	return true;
}

bool med_rpc_number_or_none(struct med_rpc *r, json_t *params, const char *name, uint64_t max,
			    uint64_t none, uint64_t *ret)
{
	json_t *v = json_object_get(params, name);

	if (!v)
		return true;
	if (json_is_null(v)) {
		*ret = none;
		return true;
	}
	if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max) {
		med_rpc_fail(r, VGPU_CONTROL_PARAMS, "%s must be a whole number from 0 to %" PRIu64, name, max);
		return false;
	}
	*ret = (uint64_t)json_integer_value(v);
	return true;
}

bool med_rpc_number(struct med_rpc *r, json_t *params, const char *name, uint64_t max, uint64_t *ret)
{
	if (json_is_null(json_object_get(params, name))) {
		med_rpc_fail(r, VGPU_CONTROL_PARAMS, "%s must be a number", name);
		return false;
	}
	return med_rpc_number_or_none(r, params, name, max, 0, ret);
}

bool med_rpc_bool(struct med_rpc *r, json_t *params, const char *name, bool *ret)
{
	json_t *v = json_object_get(params, name);

	if (!v)
		return true;
	if (!json_is_boolean(v)) {
		med_rpc_fail(r, VGPU_CONTROL_PARAMS, "%s must be true or false", name);
		return false;
	}
	*ret = json_is_true(v);
	return true;
}

bool med_rpc_uuid(struct med_rpc *r, json_t *params, const char *name, uint8_t ret[16])
{
	json_t *v = json_object_get(params, name);
	const char *p = json_string_value(v);
	unsigned int n = 0;

	if (!v)
		return true;
	while (p && *p && n < 16) {
		unsigned int byte;

		if (*p == '-') {
			p++;
			continue;
		}
		if (!isxdigit((unsigned char)p[0]) || !isxdigit((unsigned char)p[1]))
			break;
		sscanf(p, "%2x", &byte);
		ret[n++] = (uint8_t)byte;
		p += 2;
	}
	if (n == 16 && !*p)
		return true;
	med_rpc_fail(r, VGPU_CONTROL_PARAMS, "%s must be a UUID like 01234567-89ab-cdef-0123-456789abcdef", name);
	return false;
}

json_t *med_rpc_quota(uint64_t bytes)
{
	return bytes == MED_UNLIMITED ? json_null() : json_integer((json_int_t)bytes);
}
