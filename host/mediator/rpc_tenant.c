// SPDX-License-Identifier: MIT
/* tenant.* */
#include "host/mediator/control_internal.h"

#include <errno.h>
#include <string.h>

static json_t *tenant_object(const struct med_tenant_config *t)
{
	return json_pack("{s:s, s:i, s:o}", "name", t->name, "weight", (int)t->weight, "vram_quota_bytes",
			 med_rpc_quota(t->vram_quota_bytes));
}

static void list_one(void *arg, const struct med_tenant_config *t)
{
	json_array_append_new(arg, tenant_object(t));
}

json_t *med_rpc_tenant_list(struct med_rpc *r, json_t *params)
{
	json_t *array = json_array();

	if (!med_config_each_tenant(r->med->config, list_one, array))
		return array;
	json_decref(array);
	return med_rpc_fail(r, VGPU_CONTROL_INTERNAL, "the configuration could not be read");
}

static json_t *store(struct med_rpc *r, json_t *params, struct med_tenant_config *t)
{
	char text[256] = "the configuration could not be written";
	uint64_t weight = t->weight;
	int rc;

	if (!med_rpc_number(r, params, "weight", UINT32_MAX, &weight) ||
	    !med_rpc_number_or_none(r, params, "vram_quota_bytes", INT64_MAX, MED_UNLIMITED, &t->vram_quota_bytes))
		return NULL;
	t->weight = (uint32_t)weight;
	rc = med_config_put_tenant(r->med->config, t, text, sizeof(text));
	if (rc)
		return med_rpc_fail(r, rc == -EEXIST ? VGPU_CONTROL_EXISTS :
				       rc == -EIO    ? VGPU_CONTROL_INTERNAL :
						       VGPU_CONTROL_REFUSED, "tenant %s: %s", t->name, text);
	return tenant_object(t);
}

static const char *const tenant_names[] = { "name", "weight", "vram_quota_bytes", NULL };

json_t *med_rpc_tenant_add(struct med_rpc *r, json_t *params)
{
	struct med_tenant_config t = { .weight = 100, .vram_quota_bytes = MED_UNLIMITED };

	if (!med_rpc_known(r, params, tenant_names) ||
	    !med_rpc_text(r, params, "name", t.name, sizeof(t.name), true))
		return NULL;
	return store(r, params, &t);
}

json_t *med_rpc_tenant_set(struct med_rpc *r, json_t *params)
{
	struct med_tenant_config t;
	char name[MED_NAME];

	if (!med_rpc_known(r, params, tenant_names) ||
	    !med_rpc_text(r, params, "name", name, sizeof(name), true))
		return NULL;
	if (med_config_get_tenant(r->med->config, name, &t))
		return med_rpc_fail(r, VGPU_CONTROL_NOT_FOUND, "there is no tenant %s", name);
	return store(r, params, &t);
}

json_t *med_rpc_tenant_remove(struct med_rpc *r, json_t *params)
{
	static const char *const names[] = { "name", NULL };
	char name[MED_NAME], text[256] = "the configuration could not be written";
	int rc;

	if (!med_rpc_known(r, params, names) || !med_rpc_text(r, params, "name", name, sizeof(name), true))
		return NULL;
	rc = med_config_remove_tenant(r->med->config, name, text, sizeof(text));
	if (!rc)
		return json_object();
	return med_rpc_fail(r, rc == -ENOENT ? VGPU_CONTROL_NOT_FOUND : VGPU_CONTROL_REFUSED, "tenant %s: %s", name,
			    text);
}
