// SPDX-License-Identifier: MIT
/* vm.* */
#include "host/mediator/control_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static const char *const priorities[] = { "low", "medium", "high" };

bool med_rpc_may_see(const struct med_rpc *r, const struct med_vm *vm)
{
	return !vm->removed && (r->admin || r->own == vm);
}

static json_t *id_value(int64_t id)
{
	return id < 0 ? json_null() : json_integer(id);
}

json_t *med_rpc_vm_object(const struct med_vm *vm)
{
	const struct med_vm_config *c = &vm->config;
	char uuid[37], path[512];
	json_t *o;

	med_uuid_text(c->uuid, uuid);
	o = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:I, s:I, s:s, s:i, s:b}", "name", c->name,
		      "uuid", uuid, "tenant", c->tenant, "kind", c->kind == MED_LOCAL ? "local" : "vm", "uid",
		      id_value(c->uid), "gid", id_value(c->gid), "peer_uid", id_value(c->peer_uid),
		      "vram_quota_bytes", med_rpc_quota(c->vram_quota_bytes), "sessions",
		      (json_int_t)c->sessions, "window_bytes", (json_int_t)c->window_bytes, "priority",
		      priorities[c->priority], "weight", (int)c->weight, "enabled", c->enabled);
	if (!o)
		return NULL;
	if (c->kind == MED_VM) {
		snprintf(path, sizeof(path), "%s/vm/%s.sock", vm->med->options.run_dir, c->name);
		json_object_set_new(o, "socket", json_string(path));
	}
	json_object_set_new(o, "links", json_integer(med_vm_links(vm)));
	json_object_set_new(o, "sessions_open", json_integer(med_vm_sessions(vm)));
	json_object_set_new(o, "vram_used_bytes", json_integer((json_int_t)med_quota_used(&vm->quota)));
	json_object_set_new(o, "opened", json_integer((json_int_t)vm->sessions_opened));
	json_object_set_new(o, "refused", json_integer((json_int_t)vm->refused));
	json_object_set_new(o, "faults", json_integer((json_int_t)vm->faults));
	return o;
}

struct list {
	struct med_rpc *r;
	json_t *array;
};

static void list_one(void *arg, const struct med_vm_config *c)
{
	struct list *list = arg;
	struct med_vm *vm = med_vm_by_name(list->r->med, c->name);

	if (vm && med_rpc_may_see(list->r, vm))
		json_array_append_new(list->array, med_rpc_vm_object(vm));
}

json_t *med_rpc_vm_list(struct med_rpc *r, json_t *params)
{
	struct list list = { r, json_array() };

	/* in the order of names, which the database knows */
	if (med_config_each_vm(r->med->config, list_one, &list)) {
		json_decref(list.array);
		return med_rpc_fail(r, VGPU_CONTROL_INTERNAL, "the configuration could not be read");
	}
	return list.array;
}

static struct med_vm *find(struct med_rpc *r, json_t *params)
{
	char name[MED_NAME];
	struct med_vm *vm;

	if (!med_rpc_text(r, params, "name", name, sizeof(name), true))
		return NULL;
	vm = med_vm_by_name(r->med, name);
	if (vm && med_rpc_may_see(r, vm))
		return vm;
	med_rpc_fail(r, VGPU_CONTROL_NOT_FOUND, "there is no VM %s: see vgpu-admin vm list", name);
	return NULL;
}

json_t *med_rpc_vm_show(struct med_rpc *r, json_t *params)
{
	static const char *const names[] = { "name", NULL };
	struct med_vm *vm = med_rpc_known(r, params, names) ? find(r, params) : NULL;

	return vm ? med_rpc_vm_object(vm) : NULL;
}

static bool read_priority(struct med_rpc *r, json_t *params, uint32_t *ret)
{
	char text[16] = "";

	if (!json_object_get(params, "priority"))
		return true;
	if (!med_rpc_text(r, params, "priority", text, sizeof(text), true))
		return false;
	for (uint32_t i = 0; i < 3; i++) {
		if (!strcmp(text, priorities[i])) {
			*ret = i;
			return true;
		}
	}
	med_rpc_fail(r, VGPU_CONTROL_PARAMS, "priority must be low, medium or high");
	return false;
}

static bool read_id(struct med_rpc *r, json_t *params, const char *name, int64_t *ret)
{
	uint64_t n = *ret < 0 ? UINT64_MAX : (uint64_t)*ret;

	if (!med_rpc_number_or_none(r, params, name, UINT32_MAX - 1, UINT64_MAX, &n))
		return false;
	*ret = n == UINT64_MAX ? -1 : (int64_t)n;
	return true;
}

/* Everything that vm.add and vm.set have in common. */
static bool read_settings(struct med_rpc *r, json_t *params, struct med_vm_config *c)
{
	uint64_t sessions = c->sessions, weight = c->weight;

	if (!med_rpc_text(r, params, "tenant", c->tenant, sizeof(c->tenant), false) ||
	    !read_id(r, params, "uid", &c->uid) || !read_id(r, params, "gid", &c->gid) ||
	    !read_id(r, params, "peer_uid", &c->peer_uid) ||
	    !med_rpc_number_or_none(r, params, "vram_quota_bytes", INT64_MAX, MED_UNLIMITED, &c->vram_quota_bytes) ||
	    !med_rpc_number(r, params, "sessions", UINT32_MAX, &sessions) ||
	    !med_rpc_number(r, params, "window_bytes", INT64_MAX, &c->window_bytes) ||
	    !read_priority(r, params, &c->priority) ||
	    !med_rpc_number(r, params, "weight", UINT32_MAX, &weight) ||
	    !med_rpc_bool(r, params, "enabled", &c->enabled))
		return false;
	c->sessions = (uint32_t)sessions;
	c->weight = (uint32_t)weight;
	return true;
}

static json_t *store(struct med_rpc *r, const struct med_vm_config *c)
{
	struct med_vm *vm;
	char text[256] = "the configuration could not be written";
	int rc = med_config_put_vm(r->med->config, c, text, sizeof(text));

	if (rc)
		return med_rpc_fail(r, rc == -EEXIST ? VGPU_CONTROL_EXISTS :
				       rc == -ENOENT ? VGPU_CONTROL_NOT_FOUND :
				       rc == -EIO    ? VGPU_CONTROL_INTERNAL :
						       VGPU_CONTROL_REFUSED, "VM %s: %s", c->name, text);
	return (vm = med_vm_by_name(r->med, c->name)) ? med_rpc_vm_object(vm) : json_object();
}

/* The row's id is given by the database: read it back with the rest. */
static void apply_one(void *arg, const struct med_vm_config *c)
{
	struct list *list = arg;

	if (!strcmp(c->name, json_string_value(list->array)))
		med_vm_apply(list->r->med, c);
}

static json_t *apply(struct med_rpc *r, const char *name)
{
	struct list list = { r, json_string(name) };
	struct med_vm *vm;

	if (list.array)
		med_config_each_vm(r->med->config, apply_one, &list);
	json_decref(list.array);
	vm = med_vm_by_name(r->med, name);
	return vm ? med_rpc_vm_object(vm) : NULL;
}

json_t *med_rpc_vm_add(struct med_rpc *r, json_t *params)
{
	static const char *const names[] = { "name", "uuid", "tenant", "kind", "uid", "gid", "peer_uid",
					     "vram_quota_bytes", "sessions", "window_bytes", "priority",
					     "weight", "enabled", NULL };
	struct med_vm_config c;
	char kind[8] = "vm";
	json_t *result;

	med_vm_config_default(&c);
	/* a random UUID (version 4) unless the VM has one already */
	if (getrandom(c.uuid, sizeof(c.uuid), 0) != sizeof(c.uuid))
		return med_rpc_fail(r, VGPU_CONTROL_INTERNAL, "no random numbers");
	c.uuid[6] = (uint8_t)((c.uuid[6] & 0x0f) | 0x40);
	c.uuid[8] = (uint8_t)((c.uuid[8] & 0x3f) | 0x80);
	if (!med_rpc_known(r, params, names) ||
	    !med_rpc_text(r, params, "name", c.name, sizeof(c.name), true) ||
	    !med_rpc_text(r, params, "kind", kind, sizeof(kind), false) ||
	    !med_rpc_uuid(r, params, "uuid", c.uuid) || !read_settings(r, params, &c))
		return NULL;
	if (strcmp(kind, "vm") != 0 && strcmp(kind, "local") != 0)
		return med_rpc_fail(r, VGPU_CONTROL_PARAMS, "kind must be vm or local");
	c.kind = strcmp(kind, "vm") != 0 ? MED_LOCAL : MED_VM;
	result = store(r, &c);
	if (!result)
		return NULL;
	json_decref(result);
	return apply(r, c.name);
}

json_t *med_rpc_vm_set(struct med_rpc *r, json_t *params)
{
	static const char *const names[] = { "name", "tenant", "uid", "gid", "peer_uid", "vram_quota_bytes",
					     "sessions", "window_bytes", "priority", "weight", "enabled", NULL };
	struct med_vm *vm = med_rpc_known(r, params, names) ? find(r, params) : NULL;
	struct med_vm_config c;
	json_t *result;

	if (!vm)
		return NULL;
	c = vm->config;
	if (!read_settings(r, params, &c))
		return NULL;
	result = store(r, &c);
	if (!result)
		return NULL;
	json_decref(result);
	return apply(r, c.name);
}

json_t *med_rpc_vm_remove(struct med_rpc *r, json_t *params)
{
	static const char *const names[] = { "name", NULL };
	struct med_vm *vm = med_rpc_known(r, params, names) ? find(r, params) : NULL;

	if (!vm)
		return NULL;
	if (med_config_remove_vm(r->med->config, vm->config.name))
		return med_rpc_fail(r, VGPU_CONTROL_INTERNAL, "the configuration could not be written");
	med_vm_remove(vm);
	return json_object();
}
