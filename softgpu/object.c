/* SPDX-License-Identifier: MIT */
/* Objects behind handles: one array per kind, reserved once, so that any number can be checked as a handle. */
#include <string.h>
#include <sys/mman.h>

#include "softgpu/internal.h"

struct table {
	size_t size, limit;
	char *base;
	size_t used;
	struct softgpu_object *free;
};

static struct table tables[SOFTGPU_KINDS] = {
	[SOFTGPU_CONTEXT] = { sizeof(struct softgpu_context), SOFTGPU_MAX_CONTEXTS },
	[SOFTGPU_STREAM] = { sizeof(struct softgpu_stream), SOFTGPU_MAX_STREAMS },
	[SOFTGPU_EVENT] = { sizeof(struct softgpu_event), SOFTGPU_MAX_EVENTS },
	[SOFTGPU_MODULE] = { sizeof(struct softgpu_module), SOFTGPU_MAX_MODULES },
	[SOFTGPU_FUNCTION] = { sizeof(struct softgpu_function), SOFTGPU_MAX_FUNCTIONS },
};
static pthread_mutex_t object_lock = PTHREAD_MUTEX_INITIALIZER;

bool softgpu_object_init(void)
{
	for (int kind = 0; kind < SOFTGPU_KINDS; kind++) {
		struct table *table = &tables[kind];

		table->base = mmap(NULL, table->size * table->limit, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (table->base == MAP_FAILED)
			return false;
	}
	return true;
}

void *softgpu_object_new(enum softgpu_kind kind)
{
	struct table *table = &tables[kind];
	struct softgpu_object *object = NULL;

	pthread_mutex_lock(&object_lock);
	if (table->free) {
		object = table->free;
		table->free = object->next_free;
	} else if (table->used < table->limit) {
		object = (struct softgpu_object *)(table->base + table->size * table->used++);
	}
	pthread_mutex_unlock(&object_lock);
	if (object)
		memset(object, 0, table->size);
	return object;
}

void softgpu_object_free(enum softgpu_kind kind, void *pointer)
{
	struct table *table = &tables[kind];
	struct softgpu_object *object = pointer;

	if (!object)
		return;
	atomic_store(&object->alive, false);
	pthread_mutex_lock(&object_lock);
	object->next_free = table->free;
	table->free = object;
	pthread_mutex_unlock(&object_lock);
}

void *softgpu_object_get(enum softgpu_kind kind, const void *handle)
{
	struct table *table = &tables[kind];
	uintptr_t offset = (uintptr_t)handle - (uintptr_t)table->base;
	struct softgpu_object *object;

	if (!table->base || offset >= table->size * table->limit || offset % table->size)
		return NULL;
	object = (struct softgpu_object *)(table->base + offset);
	return atomic_load_explicit(&object->alive, memory_order_acquire) ? object : NULL;
}
