// SPDX-License-Identifier: MIT
/* vgpu-admin status */
#include "host/admin/internal.h"

#include <string.h>

static void print_gpu(const json_t *status)
{
	const json_t *gpu = json_object_get(status, "gpu");
	json_int_t version = adm_integer(gpu, "driver_version");
	char b[64], c[64];

	if (!json_is_object(gpu)) {
		printf("GPU        none in use yet\n");
		return;
	}
	printf("GPU        %lld: %s%s, %s, %s a context\n", (long long)adm_integer(gpu, "index"),
	       adm_string(gpu, "name"), json_is_true(json_object_get(gpu, "software")) ? " (software GPU)" : "",
	       adm_field_size(b, sizeof(b), gpu, "vram_total_bytes"),
	       adm_field_size(c, sizeof(c), gpu, "context_bytes"));
	printf("driver     CUDA %lld.%lld\n", (long long)version / 1000, (long long)version % 1000 / 10);
}

static void print_sandbox(const json_t *status)
{
	const json_t *missing = json_object_get(json_object_get(status, "sandbox"), "missing");
	size_t i;
	json_t *part;

	if (!missing) {
		printf("sandbox    not known while no executor is ready\n");
		return;
	}
	printf("sandbox    %s", json_array_size(missing) ? "missing:" : "complete");
	json_array_foreach(missing, i, part)
		printf("%s %s", i ? "," : "", json_string_value(part));
	puts("");
}

static void print_links(const json_t *links)
{
	static const char *const titles[] = { "LINK", "KIND", ">UID", ">PROCESS", "IDENTITY", ">WINDOW",
					      ">SESSIONS", ">REFUSED", ">AGE", NULL };
	struct adm_table *t = adm_table_create(titles);
	size_t i;
	json_t *l;

	json_array_foreach(links, i, l) {
		char uid[32], pid[32], window[32], sessions[32], refused[32], age[32];

		snprintf(age, sizeof(age), "%llds", (long long)adm_integer(l, "age_s"));
		const char *cells[] = { adm_string(l, "vm"), adm_string(l, "kind"),
					adm_field(uid, sizeof(uid), l, "uid"), adm_field(pid, sizeof(pid), l, "pid"),
					adm_string(l, "identity"),
					adm_field_size(window, sizeof(window), l, "window_bytes"),
					adm_field(sessions, sizeof(sessions), l, "sessions"),
					adm_field(refused, sizeof(refused), l, "refused"), age };

		adm_table_row(t, cells);
	}
	adm_table_print(t);
}

static void print_vms(const json_t *vms)
{
	static const char *const titles[] = { "VM", "TENANT", ">SESSIONS", ">VRAM USED", ">VRAM LIMIT", "CONNECTED",
					      ">FAULTS", NULL };
	struct adm_table *t = adm_table_create(titles);
	size_t i;
	json_t *vm;

	json_array_foreach(vms, i, vm) {
		char used[32], limit[32], faults[32], sessions[64];

		snprintf(sessions, sizeof(sessions), "%lld/%lld", (long long)adm_integer(vm, "sessions_open"),
			 (long long)adm_integer(vm, "sessions"));
		const char *cells[] = { adm_string(vm, "name"), adm_string(vm, "tenant"), sessions,
					adm_field_size(used, sizeof(used), vm, "vram_used_bytes"),
					adm_field_size(limit, sizeof(limit), vm, "vram_quota_bytes"),
					adm_integer(vm, "links") ? "yes" : "no",
					adm_field(faults, sizeof(faults), vm, "faults") };

		adm_table_row(t, cells);
	}
	adm_table_print(t);
}

int adm_status(struct adm *a)
{
	json_t *s, *executors, *windows;
	char b[64], c[64];
	int rc = ADM_OK;

	if (a->argc > 1)
		return adm_wrong_usage("status takes no arguments");
	s = adm_call(a, "status", NULL);
	if (!s)
		return ADM_FAILED;
	if (a->json) {
		rc = adm_print_json(s);
		json_decref(s);
		return rc;
	}
	executors = json_object_get(s, "executors");
	windows = json_object_get(s, "windows");
	printf("mediator   %s, start %lld\n", adm_string(s, "version"), (long long)adm_integer(s, "epoch"));
	printf("jailer     %s\n", json_is_true(json_object_get(json_object_get(s, "jailer"), "connected")) ?
					  "connected" : "NOT CONNECTED: systemctl status vgpu-jailer");
	print_gpu(s);
	print_sandbox(s);
	printf("executors  %lld in use, %lld warm of %lld, %lld starting, %lld ending\n",
	       (long long)adm_integer(executors, "in_use"), (long long)adm_integer(executors, "warm"),
	       (long long)adm_integer(executors, "warm_wanted"), (long long)adm_integer(executors, "starting"),
	       (long long)adm_integer(executors, "ending"));
	if (adm_integer(executors, "stuck") > 0)
		printf("GPU        DEGRADED: %lld executors cannot be ended, no new sessions: vgpu-admin doctor\n",
		       (long long)adm_integer(executors, "stuck"));
	if (strlen(adm_string(executors, "error")) > 1)
		printf("error      %s\n", adm_string(executors, "error"));
	printf("windows    %s of %s\n", adm_field_size(b, sizeof(b), windows, "bytes"),
	       adm_field_size(c, sizeof(c), windows, "limit_bytes"));
	if (json_array_size(json_object_get(s, "vms"))) {
		puts("");
		print_vms(json_object_get(s, "vms"));
	}
	if (json_array_size(json_object_get(s, "links"))) {
		puts("");
		print_links(json_object_get(s, "links"));
	}
	json_decref(s);
	return rc;
}
