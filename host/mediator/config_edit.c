// SPDX-License-Identifier: MIT
/* Changes of the configuration: checked here, with the sentence that the administrator reads. */
#include "host/mediator/config_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void med_vm_config_default(struct med_vm_config *ret)
{
	*ret = (struct med_vm_config){
		.tenant = "default",
		.uid = -1,
		.gid = -1,
		.peer_uid = -1,
		.vram_quota_bytes = MED_UNLIMITED,
		.sessions = 16,
		.window_bytes = 1ull << 30,
		.priority = 1,
		.weight = 100,
		.enabled = true,
	};
}

/* Names are parts of paths and of tables: letters, digits, and "-_." inside. */
static int check_name(const char *name, char *ret_text, size_t size)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	size_t n = strlen(name);

	if (n && n < MED_NAME && strspn(name, allowed) == n && name[0] != '.' && name[0] != '-')
		return 0;
	snprintf(ret_text, size,
		 "the name must have 1 to %d letters, digits, '-', '_' or '.', and not begin with '.' or '-'",
		 MED_NAME - 1);
	return -EINVAL;
}

static int check_vm(const struct med_vm_config *vm, char *ret_text, size_t size)
{
	int rc = check_name(vm->name, ret_text, size);

	if (rc)
		return rc;
	rc = -EINVAL;
	if (!vm->sessions || vm->sessions > VGPU_QUOTA_SLOTS)
		snprintf(ret_text, size, "sessions is %u: it must be 1 to %d", vm->sessions, VGPU_QUOTA_SLOTS);
	else if (!vm->window_bytes || vm->window_bytes % VGPU_EXTENT_BYTES || vm->window_bytes > VGPU_ARENA_BYTES)
		snprintf(ret_text, size,
			 "window is %" PRIu64 " bytes: it must be a multiple of 2 MiB, at most %llu GiB",
			 vm->window_bytes, VGPU_ARENA_BYTES >> 30);
	else if (vm->priority > 2)
		snprintf(ret_text, size, "priority must be low, medium or high");
	else if (!vm->weight || vm->weight > 10000)
		snprintf(ret_text, size, "weight is %u: it must be 1 to 10000", vm->weight);
	else if (vm->kind == MED_LOCAL && vm->uid < 0 && vm->gid < 0)
		snprintf(ret_text, size, "a local VM needs the user or the group whose programs it is for");
	else if (vm->kind == MED_VM && (vm->uid >= 0 || vm->gid >= 0))
		snprintf(ret_text, size, "uid and gid are for kind local: a VM has peer_uid");
	else if (vm->vram_quota_bytes != MED_UNLIMITED && vm->vram_quota_bytes > INT64_MAX)
		snprintf(ret_text, size, "the VRAM quota is too large");
	else
		rc = 0;
	return rc;
}

/* What the tenant's other VMs have been promised; *ret_open when one of them has no quota. */
static int tenant_promised(struct med_config *c, int64_t tenant, int64_t except, uint64_t *ret_bytes,
			   bool *ret_open)
{
	sqlite3_stmt *s = NULL;
	int rc = -EIO;

	if (sqlite3_prepare_v2(c->db, "SELECT total(vram_quota_bytes), count(*) - count(vram_quota_bytes)"
				      " FROM vm WHERE tenant = ? AND id <> ?", -1, &s, NULL) == SQLITE_OK) {
		sqlite3_bind_int64(s, 1, tenant);
		sqlite3_bind_int64(s, 2, except);
		if (sqlite3_step(s) == SQLITE_ROW) {
			*ret_bytes = (uint64_t)sqlite3_column_double(s, 0);
			*ret_open = sqlite3_column_int(s, 1) > 0;
			rc = 0;
		}
	}
	sqlite3_finalize(s);
	return rc;
}

static int check_tenant_quota(struct med_config *c, const struct med_tenant_config *t,
			      const struct med_vm_config *vm, char *ret_text, size_t size)
{
	uint64_t promised = 0, sum;
	bool open = false;
	int rc;

	if (t->vram_quota_bytes == MED_UNLIMITED)
		return 0;
	rc = tenant_promised(c, t->id, vm ? vm->id : 0, &promised, &open);
	if (rc)
		return rc;
	if (open || (vm && vm->vram_quota_bytes == MED_UNLIMITED)) {
		snprintf(ret_text, size, "tenant %s has a VRAM quota, so each of its VMs needs one: give it with --vram",
			 t->name);
		return -EDQUOT;
	}
	sum = promised + (vm ? vm->vram_quota_bytes : 0);
	if (sum <= t->vram_quota_bytes)
		return 0;
	snprintf(ret_text, size,
		 "the VRAM quotas of tenant %s's VMs would be %" PRIu64 " bytes together, the tenant's is %" PRIu64
		 ": lower a VM's or raise the tenant's", t->name, sum, t->vram_quota_bytes);
	return -EDQUOT;
}

static void bind_quota(sqlite3_stmt *s, int i, uint64_t bytes)
{
	if (bytes == MED_UNLIMITED)
		sqlite3_bind_null(s, i);
	else
		sqlite3_bind_int64(s, i, (int64_t)bytes);
}

static void bind_id(sqlite3_stmt *s, int i, int64_t id)
{
	if (id < 0)
		sqlite3_bind_null(s, i);
	else
		sqlite3_bind_int64(s, i, id);
}

static int step_done(struct med_config *c, sqlite3_stmt *s, char *ret_text, size_t size)
{
	int rc = s ? sqlite3_step(s) : SQLITE_ERROR;

	if (rc == SQLITE_DONE) {
		sqlite3_finalize(s);
		return 0;
	}
	snprintf(ret_text, size, "%s", sqlite3_errmsg(c->db));
	sqlite3_finalize(s);
	if (rc != SQLITE_CONSTRAINT)
		return -EIO;
	/* "UNIQUE constraint failed: vm.name" says it to programmers only */
	if (strstr(ret_text, ".name"))
		snprintf(ret_text, size, "the name is taken");
	else if (strstr(ret_text, ".uuid"))
		snprintf(ret_text, size, "another VM has this UUID");
	else if (strstr(ret_text, ".uid") || strstr(ret_text, ".gid"))
		snprintf(ret_text, size, "another local VM is for this user or group");
	else if (strstr(ret_text, "FOREIGN"))
		snprintf(ret_text, size, "it still has VMs: remove or move them first");
	return -EEXIST;
}

int med_config_put_vm(struct med_config *c, const struct med_vm_config *vm, char *ret_text, size_t size)
{
	static const char insert[] =
		"INSERT INTO vm(name, uuid, tenant, kind, uid, gid, peer_uid, vram_quota_bytes, sessions,"
		" window_bytes, priority, weight, enabled) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)";
	static const char update[] =
		"UPDATE vm SET name=?, uuid=?, tenant=?, kind=?, uid=?, gid=?, peer_uid=?, vram_quota_bytes=?,"
		" sessions=?, window_bytes=?, priority=?, weight=?, enabled=? WHERE id=?";
	struct med_tenant_config tenant;
	sqlite3_stmt *s = NULL;
	int rc = check_vm(vm, ret_text, size);

	if (rc)
		return rc;
	rc = med_config_get_tenant(c, vm->tenant, &tenant);
	if (rc) {
		snprintf(ret_text, size, "there is no tenant %s: add it with vgpu-admin tenant add", vm->tenant);
		return rc;
	}
	rc = check_tenant_quota(c, &tenant, vm, ret_text, size);
	if (rc)
		return rc;
	sqlite3_prepare_v2(c->db, vm->id ? update : insert, -1, &s, NULL);
	sqlite3_bind_text(s, 1, vm->name, -1, SQLITE_STATIC);
	sqlite3_bind_blob(s, 2, vm->uuid, 16, SQLITE_STATIC);
	sqlite3_bind_int64(s, 3, tenant.id);
	sqlite3_bind_int(s, 4, vm->kind);
	bind_id(s, 5, vm->uid);
	bind_id(s, 6, vm->gid);
	bind_id(s, 7, vm->peer_uid);
	bind_quota(s, 8, vm->vram_quota_bytes);
	sqlite3_bind_int64(s, 9, vm->sessions);
	sqlite3_bind_int64(s, 10, (int64_t)vm->window_bytes);
	sqlite3_bind_int(s, 11, (int)vm->priority);
	sqlite3_bind_int(s, 12, (int)vm->weight);
	sqlite3_bind_int(s, 13, vm->enabled);
	if (vm->id)
		sqlite3_bind_int64(s, 14, vm->id);
	return step_done(c, s, ret_text, size);
}

int med_config_put_tenant(struct med_config *c, const struct med_tenant_config *t, char *ret_text, size_t size)
{
	sqlite3_stmt *s = NULL;
	int rc = check_name(t->name, ret_text, size);

	if (rc)
		return rc;
	if (!t->weight || t->weight > 10000) {
		snprintf(ret_text, size, "weight is %u: it must be 1 to 10000", t->weight);
		return -EINVAL;
	}
	if (t->vram_quota_bytes != MED_UNLIMITED && t->vram_quota_bytes > INT64_MAX) {
		snprintf(ret_text, size, "the VRAM quota is too large");
		return -EINVAL;
	}
	if (t->id) {
		rc = check_tenant_quota(c, t, NULL, ret_text, size);
		if (rc)
			return rc;
	}
	sqlite3_prepare_v2(c->db, t->id ? "UPDATE tenant SET name=?, weight=?, vram_quota_bytes=? WHERE id=?"
					: "INSERT INTO tenant(name, weight, vram_quota_bytes) VALUES(?,?,?)",
			   -1, &s, NULL);
	sqlite3_bind_text(s, 1, t->name, -1, SQLITE_STATIC);
	sqlite3_bind_int(s, 2, (int)t->weight);
	bind_quota(s, 3, t->vram_quota_bytes);
	if (t->id)
		sqlite3_bind_int64(s, 4, t->id);
	return step_done(c, s, ret_text, size);
}

static int remove_by_name(struct med_config *c, const char *sql, const char *name, char *ret_text, size_t size)
{
	sqlite3_stmt *s = NULL;
	int rc;

	sqlite3_prepare_v2(c->db, sql, -1, &s, NULL);
	sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
	rc = step_done(c, s, ret_text, size);
	return rc ? rc : sqlite3_changes(c->db) ? 0 : -ENOENT;
}

int med_config_remove_vm(struct med_config *c, const char *name)
{
	char text[256];

	return remove_by_name(c, "DELETE FROM vm WHERE name = ?", name, text, sizeof(text));
}

int med_config_remove_tenant(struct med_config *c, const char *name, char *ret_text, size_t size)
{
	int rc;

	if (!strcmp(name, "default")) {
		snprintf(ret_text, size, "the tenant default stays: VMs without another belong to it");
		return -EINVAL;
	}
	rc = remove_by_name(c, "DELETE FROM tenant WHERE name = ?", name, ret_text, size);
	if (rc == -ENOENT)
		snprintf(ret_text, size, "there is no tenant %s", name);
	return rc;
}

void med_config_audit(struct med_config *c, const char *who, const char *what)
{
	char text[16], sql[96];
	sqlite3_stmt *s = NULL;

	sqlite3_prepare_v2(c->db, "INSERT INTO audit(time, who, what)"
				  " VALUES(strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), ?, ?)", -1, &s, NULL);
	sqlite3_bind_text(s, 1, who, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, 2, what, -1, SQLITE_STATIC);
	if (step_done(c, s, text, sizeof(text)))
		vgpu_log(VGPU_LOG_ERROR, "audit record not written who=%s what=\"%s\"", who, what);
	snprintf(sql, sizeof(sql), "DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - %d",
		 MED_AUDIT_ROWS);
	med_config_exec(c, sql);
}
