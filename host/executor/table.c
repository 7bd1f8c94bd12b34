/* SPDX-License-Identifier: MIT */
#include "host/executor/table.h"

#include <stdlib.h>
#include <string.h>

void vx_table_init(struct vx_table *t, uint32_t limit)
{
	*t = (struct vx_table){ .limit = limit, .next = 1 };
}

void vx_table_uninit(struct vx_table *t)
{
	free(t->object);
	*t = (struct vx_table){ 0 };
}

static int table_grow(struct vx_table *t)
{
	uint32_t size = t->size ? t->size * 2 : 64;
	void **object;

	if (size > t->limit + 1)
		size = t->limit + 1;
	if (size <= t->size)
		return -1;
	object = realloc(t->object, size * sizeof(*object));
	if (!object)
		return -1;
	memset(object + t->size, 0, (size - t->size) * sizeof(*object));
	t->object = object;
	t->next = t->size ? t->size : 1;
	t->size = size;
	return 0;
}

uint32_t vx_table_add(struct vx_table *t, void *object)
{
	if (t->count == t->limit)
		return 0;
	if (t->count + 1 >= t->size && table_grow(t) < 0)
		return 0;
	for (;;) { /* ends: a number is free */
		uint32_t at = t->next++;

		if (at >= t->size) {
			t->next = 1;
			continue;
		}
		if (t->object[at])
			continue;
		t->object[at] = object;
		t->count++;
		return at;
	}
}

void vx_table_remove(struct vx_table *t, uint32_t handle)
{
	if (!vx_table_get(t, handle))
		return;
	t->object[handle] = NULL;
	t->count--;
}
