// SPDX-License-Identifier: MIT
/* A line of the control socket as a JSON-RPC request: pure, run by the fuzzer as it is. */
#include "host/mediator/control_internal.h"

#include <string.h>

/* jansson's own limit on nesting is meant for programs with large stacks. */
static bool too_deep(const char *line, size_t bytes)
{
	unsigned int depth = 0;
	bool in_text = false;

	for (size_t i = 0; i < bytes; i++) {
		if (in_text) {
			if (line[i] == '\\')
				i++;
			else if (line[i] == '"')
				in_text = false;
		} else if (line[i] == '"') {
			in_text = true;
		} else if (line[i] == '{' || line[i] == '[') {
			if (++depth > VGPU_CONTROL_DEPTH_MAX)
				return true;
		} else if ((line[i] == '}' || line[i] == ']') && depth) {
			depth--;
		}
	}
	return false;
}

static int check(struct med_rpc_request *r, const char **ret_why)
{
	json_t *version, *method;

	*ret_why = "a request is one JSON object; batches are not supported";
	if (!json_is_object(r->whole))
		return VGPU_CONTROL_REQUEST;
	r->id = json_object_get(r->whole, "id");
	if (r->id && !json_is_string(r->id) && !json_is_integer(r->id) && !json_is_null(r->id)) {
		r->id = NULL;
		*ret_why = "id must be text, a whole number or null";
		return VGPU_CONTROL_REQUEST;
	}
	version = json_object_get(r->whole, "jsonrpc");
	*ret_why = "\"jsonrpc\" must be \"2.0\"";
	if (!json_is_string(version) || strcmp(json_string_value(version), "2.0") != 0)
		return VGPU_CONTROL_REQUEST;
	method = json_object_get(r->whole, "method");
	*ret_why = "\"method\" must be text";
	if (!json_is_string(method))
		return VGPU_CONTROL_REQUEST;
	r->method = json_string_value(method);
	r->params = json_object_get(r->whole, "params");
	*ret_why = "\"params\" must be an object: parameters have names";
	if (r->params && !json_is_object(r->params))
		return VGPU_CONTROL_PARAMS;
	return 0;
}

int med_control_parse(const char *line, size_t bytes, struct med_rpc_request *ret, const char **ret_why)
{
	json_error_t error;
	int rc;

	memset(ret, 0, sizeof(*ret));
	*ret_why = "the line is too long";
	if (bytes > VGPU_CONTROL_MESSAGE_MAX)
		return VGPU_CONTROL_PARSE;
	*ret_why = "the JSON is nested too deeply";
	if (too_deep(line, bytes))
		return VGPU_CONTROL_PARSE;
	*ret_why = "the line is not JSON";
	ret->whole = json_loadb(line, bytes, JSON_REJECT_DUPLICATES, &error);
	if (!ret->whole)
		return VGPU_CONTROL_PARSE;
	rc = check(ret, ret_why);
	return rc;
}

void med_control_request_free(struct med_rpc_request *r)
{
	json_decref(r->whole);
	memset(r, 0, sizeof(*r));
}
