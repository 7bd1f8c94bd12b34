/* SPDX-License-Identifier: MIT */
/*
 * Handles of one type: small numbers from 1 that stand for the executor's own objects. A freed
 * number is given out again as late as possible. One thread.
 */
#ifndef HOST_EXECUTOR_TABLE_H
#define HOST_EXECUTOR_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct vx_table {
	void **object;	/* by handle; 0 is never used */
	uint32_t size;	/* entries there are */
	uint32_t limit; /* most handles alive */
	uint32_t count;
	uint32_t next;	/* where the search for a free number begins */
};

void vx_table_init(struct vx_table *t, uint32_t limit);
void vx_table_uninit(struct vx_table *t);
/* Returns the handle, 0 when the limit is reached or memory is out. */
uint32_t vx_table_add(struct vx_table *t, void *object);
void vx_table_remove(struct vx_table *t, uint32_t handle);

static inline void *vx_table_get(const struct vx_table *t, uint32_t handle)
{
	return handle < t->size ? t->object[handle] : NULL;
}

#endif
