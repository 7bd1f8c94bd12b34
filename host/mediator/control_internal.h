/* SPDX-License-Identifier: MIT */
/* The control socket (control.c), its parser (control_parse.c, fuzzed) and its methods (rpc*.c). */
#ifndef VGPU_HOST_MEDIATOR_CONTROL_INTERNAL_H
#define VGPU_HOST_MEDIATOR_CONTROL_INTERNAL_H

#include <jansson.h>

#include "host/mediator/internal.h"
#include "protocol/control/control.h"

struct med_rpc_request {
	json_t *whole;	    /* owner of the others */
	const char *method;
	json_t *params;	    /* an object, or NULL */
	json_t *id;	    /* NULL: a notification */
};

/* One line without its newline. 0, or a code of protocol/control/control.h and why. */
int med_control_parse(const char *line, size_t bytes, struct med_rpc_request *ret, const char **ret_why);
void med_control_request_free(struct med_rpc_request *r);

struct med_rpc {
	struct med *med;
	uid_t uid;
	bool admin;
	struct med_vm *own; /* a viewer's local VM */
	int error;	    /* code; 0: none */
	char text[512];
};

/* The answer's line (to be freed), or NULL for a notification. */
char *med_rpc_answer(struct med *m, uid_t uid, struct med_vm *own, const char *line, size_t bytes);

/* A method returns its result, or NULL after med_rpc_fail. */
json_t *med_rpc_fail(struct med_rpc *r, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

json_t *med_rpc_status(struct med_rpc *r, json_t *params);
json_t *med_rpc_doctor(struct med_rpc *r, json_t *params);
json_t *med_rpc_session_list(struct med_rpc *r, json_t *params);
json_t *med_rpc_session_end(struct med_rpc *r, json_t *params);
json_t *med_rpc_vm_list(struct med_rpc *r, json_t *params);
json_t *med_rpc_vm_show(struct med_rpc *r, json_t *params);
json_t *med_rpc_vm_add(struct med_rpc *r, json_t *params);
json_t *med_rpc_vm_set(struct med_rpc *r, json_t *params);
json_t *med_rpc_vm_remove(struct med_rpc *r, json_t *params);
json_t *med_rpc_tenant_list(struct med_rpc *r, json_t *params);
json_t *med_rpc_tenant_add(struct med_rpc *r, json_t *params);
json_t *med_rpc_tenant_set(struct med_rpc *r, json_t *params);
json_t *med_rpc_tenant_remove(struct med_rpc *r, json_t *params);

/* rpc_vm.c, also for status */
json_t *med_rpc_vm_object(const struct med_vm *vm);
bool med_rpc_may_see(const struct med_rpc *r, const struct med_vm *vm);
/* rpc_value.c: typed parameters; false after med_rpc_fail. What is absent is left as it is. */
bool med_rpc_known(struct med_rpc *r, json_t *params, const char *const *names);
bool med_rpc_text(struct med_rpc *r, json_t *params, const char *name, char *ret, size_t size, bool needed);
bool med_rpc_number(struct med_rpc *r, json_t *params, const char *name, uint64_t max, uint64_t *ret);
bool med_rpc_number_or_none(struct med_rpc *r, json_t *params, const char *name, uint64_t max,
			    uint64_t none, uint64_t *ret);
bool med_rpc_bool(struct med_rpc *r, json_t *params, const char *name, bool *ret);
bool med_rpc_uuid(struct med_rpc *r, json_t *params, const char *name, uint8_t ret[16]);
json_t *med_rpc_quota(uint64_t bytes);

#endif
