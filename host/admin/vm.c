// SPDX-License-Identifier: MIT
/* vgpu-admin vm, tenant and session */
#include "host/admin/internal.h"

#include <stdlib.h>
#include <string.h>

static const struct adm_option add_options[] = {
	{ "kind", "kind", ADM_TEXT },
	{ "uuid", "uuid", ADM_TEXT },
	{ "tenant", "tenant", ADM_TEXT },
	{ "uid", "uid", ADM_USER },
	{ "gid", "gid", ADM_GROUP },
	{ "peer-uid", "peer_uid", ADM_USER },
	{ "vram", "vram_quota_bytes", ADM_SIZE_OR_NONE },
	{ "sessions", "sessions", ADM_NUMBER },
	{ "window", "window_bytes", ADM_SIZE },
	{ "priority", "priority", ADM_TEXT },
	{ "weight", "weight", ADM_NUMBER },
	{ "enabled", "enabled", ADM_YES_NO },
	{ NULL, NULL, 0 },
};
static const struct adm_option tenant_options[] = {
	{ "weight", "weight", ADM_NUMBER },
	{ "vram", "vram_quota_bytes", ADM_SIZE_OR_NONE },
	{ NULL, NULL, 0 },
};

static void print_vm(const json_t *vm)
{
	char b[64];

	printf("name       %s\n", adm_string(vm, "name"));
	printf("uuid       %s\n", adm_string(vm, "uuid"));
	printf("kind       %s\n", adm_string(vm, "kind"));
	printf("tenant     %s\n", adm_string(vm, "tenant"));
	if (!strcmp(adm_string(vm, "kind"), "local")) {
		printf("uid        %s\n", adm_field(b, sizeof(b), vm, "uid"));
		printf("gid        %s\n", adm_field(b, sizeof(b), vm, "gid"));
	} else {
		printf("socket     %s\n", adm_string(vm, "socket"));
		if (json_is_integer(json_object_get(vm, "peer_uid")))
			printf("peer-uid   %s\n", adm_field(b, sizeof(b), vm, "peer_uid"));
		else
			printf("peer-uid   root, libvirt-qemu or qemu\n");
	}
	printf("enabled    %s\n", adm_field(b, sizeof(b), vm, "enabled"));
	printf("vram       %s used", adm_field_size(b, sizeof(b), vm, "vram_used_bytes"));
	printf(", limit %s\n", adm_field_size(b, sizeof(b), vm, "vram_quota_bytes"));
	printf("sessions   %lld open, limit %lld\n", (long long)adm_integer(vm, "sessions_open"),
	       (long long)adm_integer(vm, "sessions"));
	printf("window     %s\n", adm_field_size(b, sizeof(b), vm, "window_bytes"));
	printf("priority   %s\n", adm_string(vm, "priority"));
	printf("weight     %lld\n", (long long)adm_integer(vm, "weight"));
	printf("connected  %lld\n", (long long)adm_integer(vm, "links"));
	printf("so far     %lld sessions, %lld refused, %lld faults\n", (long long)adm_integer(vm, "opened"),
	       (long long)adm_integer(vm, "refused"), (long long)adm_integer(vm, "faults"));
}

static void print_vms(const json_t *vms)
{
	static const char *const titles[] = { "NAME", "KIND", "TENANT", ">SESSIONS", ">VRAM USED", ">VRAM LIMIT",
					      ">WINDOW", "PRIORITY", ">WEIGHT", "ENABLED", "CONNECTED", NULL };
	struct adm_table *t = adm_table_create(titles);
	size_t i;
	json_t *vm;

	json_array_foreach(vms, i, vm) {
		char used[32], limit[32], window[32], weight[32], enabled[8], links[32], sessions[64];

		snprintf(sessions, sizeof(sessions), "%lld/%lld", (long long)adm_integer(vm, "sessions_open"),
			 (long long)adm_integer(vm, "sessions"));
		const char *cells[] = { adm_string(vm, "name"), adm_string(vm, "kind"), adm_string(vm, "tenant"),
					sessions, adm_field_size(used, sizeof(used), vm, "vram_used_bytes"),
					adm_field_size(limit, sizeof(limit), vm, "vram_quota_bytes"),
					adm_field_size(window, sizeof(window), vm, "window_bytes"),
					adm_string(vm, "priority"),
					adm_field(weight, sizeof(weight), vm, "weight"),
					adm_field(enabled, sizeof(enabled), vm, "enabled"),
					adm_integer(vm, "links") ? adm_field(links, sizeof(links), vm, "links") : "no" };

		adm_table_row(t, cells);
	}
	adm_table_print(t);
}

static void print_tenants(const json_t *tenants)
{
	static const char *const titles[] = { "NAME", ">WEIGHT", ">VRAM LIMIT", NULL };
	struct adm_table *t = adm_table_create(titles);
	size_t i;
	json_t *tenant;

	json_array_foreach(tenants, i, tenant) {
		char weight[32], limit[32];
		const char *cells[] = { adm_string(tenant, "name"),
					adm_field(weight, sizeof(weight), tenant, "weight"),
					adm_field_size(limit, sizeof(limit), tenant, "vram_quota_bytes") };

		adm_table_row(t, cells);
	}
	adm_table_print(t);
}

static void print_sessions(const json_t *sessions)
{
	static const char *const titles[] = { ">ID", "VM", "STATE", ">PROCESS", ">EXECUTOR", ">AGE", ">VRAM", ">HEAP",
					      ">COMMANDS", ">LAUNCHES", NULL };
	struct adm_table *t = adm_table_create(titles);
	size_t i;
	json_t *s;

	json_array_foreach(sessions, i, s) {
		char id[32], pid[32], executor[32], age[32], vram[32], heap[32], commands[32], launches[32];

		snprintf(age, sizeof(age), "%llds", (long long)adm_integer(s, "age_s"));
		const char *cells[] = { adm_field(id, sizeof(id), s, "id"), adm_string(s, "vm"),
					adm_string(s, "state"), adm_field(pid, sizeof(pid), s, "client_pid"),
					adm_field(executor, sizeof(executor), s, "executor_pid"), age,
					adm_field_size(vram, sizeof(vram), s, "vram_bytes"),
					adm_field_size(heap, sizeof(heap), s, "heap_bytes"),
					adm_field(commands, sizeof(commands), s, "commands"),
					adm_field(launches, sizeof(launches), s, "launches") };

		adm_table_row(t, cells);
	}
	adm_table_print(t);
}

/* Calls and shows; NULL params: none. */
static int show(struct adm *a, const char *method, json_t *params, void (*print)(const json_t *))
{
	json_t *result = adm_call(a, method, params);
	int rc = ADM_OK;

	if (!result)
		return ADM_FAILED;
	if (a->json)
		rc = adm_print_json(result);
	else if (print)
		print(result);
	json_decref(result);
	return rc;
}

struct verb {
	const char *verb, *method;
	const struct adm_option *options;
	void (*print)(const json_t *result);
	bool no_name;
};

static int run_verb(struct adm *a, const struct verb *verbs)
{
	json_t *params = NULL;

	if (a->argc < 2)
		return adm_wrong_usage("what to do with it is missing");
	for (; verbs->verb; verbs++) {
		if (strcmp(verbs->verb, a->argv[1]) != 0)
			continue;
		if (verbs->no_name && a->argc > 2)
			return adm_wrong_usage("unexpected argument");
		if (!verbs->no_name) {
			params = adm_arguments(a->argc - 2, a->argv + 2, verbs->options);
			if (!params)
				return ADM_USAGE;
		}
		return show(a, verbs->method, params, verbs->print);
	}
	return adm_wrong_usage("there is no such command");
}

int adm_vm(struct adm *a)
{
	static const struct verb verbs[] = {
		{ "list", "vm.list", NULL, print_vms, true },
		{ "show", "vm.show", NULL, print_vm, false },
		{ "add", "vm.add", add_options, print_vm, false },
		{ "set", "vm.set", add_options, print_vm, false },
		{ "remove", "vm.remove", NULL, NULL, false },
		{ NULL, NULL, NULL, NULL, false },
	};

	return run_verb(a, verbs);
}

int adm_tenant(struct adm *a)
{
	static const struct verb verbs[] = {
		{ "list", "tenant.list", NULL, print_tenants, true },
		{ "add", "tenant.add", tenant_options, NULL, false },
		{ "set", "tenant.set", tenant_options, NULL, false },
		{ "remove", "tenant.remove", NULL, NULL, false },
		{ NULL, NULL, NULL, NULL, false },
	};

	return run_verb(a, verbs);
}

int adm_session(struct adm *a)
{
	char *end;
	unsigned long id;

	if (a->argc == 2 && !strcmp(a->argv[1], "list"))
		return show(a, "session.list", NULL, print_sessions);
	if (a->argc != 3 || strcmp(a->argv[1], "end") != 0)
		return adm_wrong_usage("it is session list or session end ID");
	id = strtoul(a->argv[2], &end, 10);
	if (*end || end == a->argv[2])
		return adm_wrong_usage("the session's ID is a number: see session list");
	return show(a, "session.end", json_pack("{s:I}", "id", (json_int_t)id), NULL);
}
