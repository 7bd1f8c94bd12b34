// SPDX-License-Identifier: MIT
/*
 * The configuration's database: opened by this process alone (the lock of the run directory sees
 * to that), schema versioned, write-ahead log.
 */
#include "host/mediator/config_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One entry a schema version; what has been released is never changed, only added to. */
static const char *const schema[] = {
	"CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL);"
	"CREATE TABLE tenant("
	" id INTEGER PRIMARY KEY,"
	" name TEXT NOT NULL UNIQUE,"
	" weight INTEGER NOT NULL DEFAULT 100 CHECK(weight BETWEEN 1 AND 10000),"
	" vram_quota_bytes INTEGER CHECK(vram_quota_bytes >= 0));"
	"CREATE TABLE vm("
	" id INTEGER PRIMARY KEY,"
	" name TEXT NOT NULL UNIQUE,"
	" uuid BLOB NOT NULL UNIQUE CHECK(length(uuid) = 16),"
	" tenant INTEGER NOT NULL REFERENCES tenant(id),"
	" kind INTEGER NOT NULL CHECK(kind IN (0, 1)),"
	" uid INTEGER UNIQUE, gid INTEGER UNIQUE, peer_uid INTEGER,"
	" vram_quota_bytes INTEGER CHECK(vram_quota_bytes >= 0),"
	" sessions INTEGER NOT NULL, window_bytes INTEGER NOT NULL,"
	" priority INTEGER NOT NULL, weight INTEGER NOT NULL,"
	" enabled INTEGER NOT NULL);"
	"CREATE TABLE audit("
	" id INTEGER PRIMARY KEY, time TEXT NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL);"
	"INSERT INTO meta VALUES('epoch', 0);"
	"INSERT INTO tenant(name) VALUES('default');"
	"CREATE TABLE executor("
	" id INTEGER PRIMARY KEY, vm_uuid BLOB NOT NULL, slot INTEGER NOT NULL,"
	" page_device INTEGER NOT NULL, page_inode INTEGER NOT NULL);",
};

int med_config_exec(struct med_config *c, const char *sql)
{
	char *message = NULL;

	if (sqlite3_exec(c->db, sql, NULL, NULL, &message) == SQLITE_OK)
		return 0;
	vgpu_log(VGPU_LOG_ERROR, "configuration database error=\"%s\"", message ? message : "?");
	sqlite3_free(message);
	return -EIO;
}

static int pragma_int(struct med_config *c, const char *sql, int *ret)
{
	sqlite3_stmt *s = NULL;
	int rc = -EIO;

	if (sqlite3_prepare_v2(c->db, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) {
		*ret = sqlite3_column_int(s, 0);
		rc = 0;
	}
	sqlite3_finalize(s);
	return rc;
}

static int upgrade(struct med_config *c, const char *path)
{
	const int newest = sizeof(schema) / sizeof(*schema);
	int version = 0;
	char sql[64];
	int rc = pragma_int(c, "PRAGMA user_version", &version);

	if (rc)
		return rc;
	if (version > newest) {
		vgpu_log(VGPU_LOG_ERROR,
			 "configuration database is of a newer program path=%s version=%d known=%d: upgrade vgpu-host",
			 path, version, newest);
		return -EPROTO;
	}
	while (version < newest && !rc) {
		rc = med_config_exec(c, "BEGIN IMMEDIATE");
		if (!rc)
			rc = med_config_exec(c, schema[version]);
		snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", ++version);
		if (!rc)
			rc = med_config_exec(c, sql);
		if (med_config_exec(c, rc ? "ROLLBACK" : "COMMIT") && !rc)
			rc = -EIO;
	}
	return rc;
}

int med_config_open(const char *path, struct med_config **ret)
{
	struct med_config *c = calloc(1, sizeof(*c));
	int rc = 0;

	if (!c)
		return -ENOMEM;
	if (sqlite3_open_v2(path, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK) {
		vgpu_log(VGPU_LOG_ERROR, "configuration database cannot be opened path=%s error=\"%s\"",
			 path, c->db ? sqlite3_errmsg(c->db) : "out of memory");
		rc = -EIO;
	}
	if (!rc)
		rc = med_config_exec(c, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
					"PRAGMA foreign_keys = ON;");
	if (!rc)
		rc = upgrade(c, path);
	if (rc) {
		med_config_close(c);
		return rc;
	}
	*ret = c;
	return 0;
}

void med_config_close(struct med_config *c)
{
	if (!c)
		return;
	sqlite3_close(c->db);
	free(c);
}

int med_config_next_epoch(struct med_config *c, uint32_t *ret_epoch)
{
	int epoch = 0;
	int rc = med_config_exec(c, "UPDATE meta SET value = value + 1 WHERE key = 'epoch'");

	if (!rc)
		rc = pragma_int(c, "SELECT value FROM meta WHERE key = 'epoch'", &epoch);
	if (!rc)
		*ret_epoch = (uint32_t)epoch;
	return rc;
}

static uint64_t quota_column(sqlite3_stmt *s, int i)
{
	return sqlite3_column_type(s, i) == SQLITE_NULL ? MED_UNLIMITED : (uint64_t)sqlite3_column_int64(s, i);
}

static int64_t id_column(sqlite3_stmt *s, int i)
{
	return sqlite3_column_type(s, i) == SQLITE_NULL ? -1 : sqlite3_column_int64(s, i);
}

static void read_vm(sqlite3_stmt *s, struct med_vm_config *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->id = sqlite3_column_int64(s, 0);
	snprintf(ret->name, sizeof(ret->name), "%s", (const char *)sqlite3_column_text(s, 1));
	if (sqlite3_column_bytes(s, 2) == 16)
		memcpy(ret->uuid, sqlite3_column_blob(s, 2), 16);
	snprintf(ret->tenant, sizeof(ret->tenant), "%s", (const char *)sqlite3_column_text(s, 3));
	ret->kind = sqlite3_column_int(s, 4);
	ret->uid = id_column(s, 5);
	ret->gid = id_column(s, 6);
	ret->peer_uid = id_column(s, 7);
	ret->vram_quota_bytes = quota_column(s, 8);
	ret->sessions = (uint32_t)sqlite3_column_int64(s, 9);
	ret->window_bytes = (uint64_t)sqlite3_column_int64(s, 10);
	ret->priority = (uint32_t)sqlite3_column_int(s, 11);
	ret->weight = (uint32_t)sqlite3_column_int(s, 12);
	ret->enabled = sqlite3_column_int(s, 13);
}

int med_config_each_vm(struct med_config *c, void (*f)(void *arg, const struct med_vm_config *vm), void *arg)
{
	static const char sql[] =
		"SELECT vm.id, vm.name, uuid, tenant.name, kind, uid, gid, peer_uid, vm.vram_quota_bytes,"
		" sessions, window_bytes, priority, vm.weight, enabled"
		" FROM vm JOIN tenant ON tenant.id = vm.tenant ORDER BY vm.name";
	struct med_vm_config vm;
	sqlite3_stmt *s = NULL;
	int rc;

	if (sqlite3_prepare_v2(c->db, sql, -1, &s, NULL) != SQLITE_OK)
		return -EIO;
	while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
		read_vm(s, &vm);
		f(arg, &vm);
	}
	sqlite3_finalize(s);
	return rc == SQLITE_DONE ? 0 : -EIO;
}

int med_config_each_tenant(struct med_config *c, void (*f)(void *arg, const struct med_tenant_config *t),
			   void *arg)
{
	struct med_tenant_config t;
	sqlite3_stmt *s = NULL;
	int rc;

	if (sqlite3_prepare_v2(c->db, "SELECT id, name, weight, vram_quota_bytes FROM tenant ORDER BY name",
			       -1, &s, NULL) != SQLITE_OK)
		return -EIO;
	while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
		t.id = sqlite3_column_int64(s, 0);
		snprintf(t.name, sizeof(t.name), "%s", (const char *)sqlite3_column_text(s, 1));
		t.weight = (uint32_t)sqlite3_column_int(s, 2);
		t.vram_quota_bytes = quota_column(s, 3);
		f(arg, &t);
	}
	sqlite3_finalize(s);
	return rc == SQLITE_DONE ? 0 : -EIO;
}

struct tenant_search {
	const char *name;
	struct med_tenant_config *ret;
	bool found;
};

static void compare_tenant(void *arg, const struct med_tenant_config *t)
{
	struct tenant_search *search = arg;

	if (!strcmp(t->name, search->name)) {
		*search->ret = *t;
		search->found = true;
	}
}

int med_config_get_tenant(struct med_config *c, const char *name, struct med_tenant_config *ret)
{
	struct tenant_search search = { .name = name, .ret = ret };
	int rc = med_config_each_tenant(c, compare_tenant, &search);

	return rc ? rc : search.found ? 0 : -ENOENT;
}
