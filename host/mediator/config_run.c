// SPDX-License-Identifier: MIT
/*
 * Which executor has which VM, for the mediator's next life: an executor that was taken over must
 * not be able to report itself as another VM's then. Rows go when the executor is reaped, and when
 * the jailer does not name it.
 */
#include "host/mediator/config_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int run(struct med_config *c, sqlite3_stmt *s)
{
	int rc = s ? sqlite3_step(s) : SQLITE_ERROR;

	if (rc != SQLITE_DONE)
		vgpu_log(VGPU_LOG_ERROR, "configuration database error=\"%s\"", sqlite3_errmsg(c->db));
	sqlite3_finalize(s);
	return rc == SQLITE_DONE ? 0 : -EIO;
}

int med_config_put_executor(struct med_config *c, uint32_t id, const uint8_t vm_uuid[16], unsigned int slot,
			    int quota_fd)
{
	sqlite3_stmt *s = NULL;
	struct stat st;

	if (fstat(quota_fd, &st) < 0)
		return -errno;
	sqlite3_prepare_v2(c->db, "INSERT OR REPLACE INTO executor(id, vm_uuid, slot, page_device, page_inode)"
				  " VALUES(?,?,?,?,?)", -1, &s, NULL);
	sqlite3_bind_int64(s, 1, id);
	sqlite3_bind_blob(s, 2, vm_uuid, 16, SQLITE_STATIC);
	sqlite3_bind_int(s, 3, (int)slot);
	sqlite3_bind_int64(s, 4, (sqlite3_int64)st.st_dev);
	sqlite3_bind_int64(s, 5, (sqlite3_int64)st.st_ino);
	return run(c, s);
}

bool med_config_is_executor(struct med_config *c, uint32_t id, const uint8_t vm_uuid[16], unsigned int slot,
			    int quota_fd)
{
	sqlite3_stmt *s = NULL;
	struct stat st;
	bool found;

	if (fstat(quota_fd, &st) < 0)
		return false;
	sqlite3_prepare_v2(c->db, "SELECT 1 FROM executor WHERE id = ? AND vm_uuid = ? AND slot = ?"
				  " AND page_device = ? AND page_inode = ?", -1, &s, NULL);
	sqlite3_bind_int64(s, 1, id);
	sqlite3_bind_blob(s, 2, vm_uuid, 16, SQLITE_STATIC);
	sqlite3_bind_int64(s, 3, slot);
	sqlite3_bind_int64(s, 4, (sqlite3_int64)st.st_dev);
	sqlite3_bind_int64(s, 5, (sqlite3_int64)st.st_ino);
	found = s && sqlite3_step(s) == SQLITE_ROW;
	sqlite3_finalize(s);
	return found;
}

int med_config_find_executor(struct med_config *c, uint32_t id, uint8_t ret_vm_uuid[16])
{
	sqlite3_stmt *s = NULL;
	int rc = -ENOENT;

	sqlite3_prepare_v2(c->db, "SELECT vm_uuid FROM executor WHERE id = ?", -1, &s, NULL);
	sqlite3_bind_int64(s, 1, id);
	if (s && sqlite3_step(s) == SQLITE_ROW && sqlite3_column_bytes(s, 0) == 16) {
		memcpy(ret_vm_uuid, sqlite3_column_blob(s, 0), 16);
		rc = 0;
	}
	sqlite3_finalize(s);
	return rc;
}

bool med_config_vm_has_executor(struct med_config *c, const uint8_t vm_uuid[16])
{
	sqlite3_stmt *s = NULL;
	bool found;

	sqlite3_prepare_v2(c->db, "SELECT 1 FROM executor WHERE vm_uuid = ?", -1, &s, NULL);
	sqlite3_bind_blob(s, 1, vm_uuid, 16, SQLITE_STATIC);
	/* what cannot be read is taken for yes */
	found = !s || sqlite3_step(s) != SQLITE_DONE;
	sqlite3_finalize(s);
	return found;
}

void med_config_remove_executor(struct med_config *c, uint32_t id)
{
	sqlite3_stmt *s = NULL;

	sqlite3_prepare_v2(c->db, "DELETE FROM executor WHERE id = ?", -1, &s, NULL);
	sqlite3_bind_int64(s, 1, id);
	run(c, s);
}

int med_config_each_executor(struct med_config *c, void (*f)(void *arg, uint32_t id), void *arg)
{
	sqlite3_stmt *s = NULL;
	int rc;

	if (sqlite3_prepare_v2(c->db, "SELECT id FROM executor", -1, &s, NULL) != SQLITE_OK)
		return -EIO;
	while ((rc = sqlite3_step(s)) == SQLITE_ROW)
		f(arg, (uint32_t)sqlite3_column_int64(s, 0));
	sqlite3_finalize(s);
	return rc == SQLITE_DONE ? 0 : -EIO;
}
