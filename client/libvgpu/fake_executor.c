// SPDX-License-Identifier: MIT
/* The executor's side of a session, for tests of the library alone. */
#include "client/libvgpu/fake_internal.h"

#include <linux/futex.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FUNCTION_ADD = 1, FUNCTION_PARAMS, FUNCTION_ODD };

static void wake(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void reply(struct fake_executor *x, const struct vgpu_entry *e, uint32_t status, uint64_t v0, uint64_t v1)
{
	struct vgpu_slot *slot = &x->ring.control.slot[e->slot % VGPU_SLOTS];
	__u64 value[6] = { v0, v1 };

	if (e->slot == VGPU_NO_SLOT) {
		if (status)
			__atomic_fetch_add(&x->ring.control.header->posted_errors, 1, __ATOMIC_RELAXED);
		return;
	}
	if (vgpu_slot_reply(slot, e->seq, status, value))
		wake(&slot->seq);
}

static void malformed(struct fake_executor *x)
{
	pthread_mutex_lock(&x->host->lock);
	x->host->count.malformed++;
	pthread_mutex_unlock(&x->host->lock);
}

/* Device address to memory; NULL when it is not inside one block. */
static uint8_t *device(struct fake_executor *x, uint64_t address, uint64_t bytes)
{
	struct fake_host *h = x->host;
	uint8_t *p = NULL;

	pthread_mutex_lock(&h->lock);
	for (unsigned int i = 0; i < h->blocks && !p; i++)
		if (address - FAKE_DEVICE_BASE - h->block[i].at <= h->block[i].bytes &&
		    bytes <= h->block[i].bytes - (address - FAKE_DEVICE_BASE - h->block[i].at))
			p = h->memory + (address - FAKE_DEVICE_BASE);
	pthread_mutex_unlock(&h->lock);
	return p;
}

static void mem_alloc(struct fake_executor *x, const struct vgpu_entry *e, const struct vgpu_call_mem *c)
{
	struct fake_host *h = x->host;
	uint64_t bytes = (c->bytes + 255) & ~255ull, at;
	uint32_t status = 0;

	pthread_mutex_lock(&h->lock);
	at = h->next;
	if (bytes > FAKE_DEVICE_BYTES || h->count.used_bytes + bytes > FAKE_DEVICE_BYTES || h->blocks == FAKE_BLOCKS) {
		status = VGPU_ERROR_CALL_QUOTA;
	} else {
		if (at + bytes > FAKE_DEVICE_BYTES)
			at = 0;
		for (unsigned int i = 0; i < h->blocks; i++) /* sorted enough: tests allocate little */
			if (at < h->block[i].at + h->block[i].bytes && h->block[i].at < at + bytes) {
				at = h->block[i].at + h->block[i].bytes;
				i = UINT_MAX;
			}
		if (at + bytes > FAKE_DEVICE_BYTES)
			status = 2;
	}
	if (!status) {
		if (h->collide) { /* a mapping of this process, where the library will look */
			h->collide--;
			(void)mmap((void *)(uintptr_t)(FAKE_DEVICE_BASE + at), 4096, PROT_READ,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		}
		h->block[h->blocks++] = (struct fake_block){ .at = at, .bytes = bytes };
		h->next = at + bytes;
		h->count.used_bytes += bytes;
	}
	pthread_mutex_unlock(&h->lock);
	reply(x, e, status, FAKE_DEVICE_BASE + at, 0);
}

static void mem_free(struct fake_executor *x, const struct vgpu_entry *e, const struct vgpu_call_mem *c)
{
	struct fake_host *h = x->host;
	uint32_t status = VGPU_ERROR_CALL_ADDRESS;

	pthread_mutex_lock(&h->lock);
	for (unsigned int i = 0; i < h->blocks; i++)
		if (FAKE_DEVICE_BASE + h->block[i].at == c->address) {
			h->count.used_bytes -= h->block[i].bytes;
			h->block[i] = h->block[--h->blocks];
			status = 0;
			break;
		}
	pthread_mutex_unlock(&h->lock);
	reply(x, e, status, 0, 0);
}

static uint32_t run_kernel(struct fake_executor *x, const struct vgpu_call_launch *l)
{
	const uint8_t *p = (const uint8_t *)(l + 1);

	if (l->function == FUNCTION_ADD) {
		uint64_t a, b, c;
		uint32_t n;

		memcpy(&a, p, 8);
		memcpy(&b, p + 8, 8);
		memcpy(&c, p + 16, 8);
		memcpy(&n, p + 24, 4);
		for (uint32_t i = 0; i < n; i++) {
			uint32_t u, v;

			memcpy(&u, device(x, a + i * 4, 4), 4);
			memcpy(&v, device(x, b + i * 4, 4), 4);
			u += v;
			memcpy(device(x, c + i * 4, 4), &u, 4);
		}
		return 0;
	}
	if (l->function == FUNCTION_PARAMS) {
		uint64_t dst;

		memcpy(&dst, p, 8);
		memcpy(device(x, dst, FAKE_PARAMS_BYTES), p + 8, FAKE_PARAMS_BYTES);
		return 0;
	}
	if (l->function == FUNCTION_ODD) {
		uint64_t dst, sum;
		uint16_t y;
		uint32_t z;

		memcpy(&dst, p + 8, 8);
		memcpy(&y, p + 16, 2);
		memcpy(&z, p + 20, 4);
		sum = (uint64_t)p[0] + y + z;
		memcpy(device(x, dst, 8), &sum, 8);
		return 0;
	}
	return VGPU_ERROR_CALL_HANDLE;
}

/* A command of the stream class, done at once. */
static uint32_t run_command(struct fake_executor *x, const struct vgpu_entry *e)
{
	const void *p = e + 1;
	const struct vgpu_call_copy *copy = p;
	const struct vgpu_call_memset *set = p;
	const struct vgpu_call_inline *in = p;
	uint8_t *to, *from;

	switch (e->op) {
	case VGPU_OP_COPY_H2D:
		to = device(x, copy->dst, copy->bytes);
		if (!to)
			return VGPU_ERROR_CALL_ADDRESS;
		memcpy(to, (void *)(uintptr_t)copy->src, copy->bytes);
		return 0;
	case VGPU_OP_COPY_D2H:
		from = device(x, copy->src, copy->bytes);
		if (!from)
			return VGPU_ERROR_CALL_ADDRESS;
		memcpy((void *)(uintptr_t)copy->dst, from, copy->bytes);
		return 0;
	case VGPU_OP_COPY_D2D:
		to = device(x, copy->dst, copy->bytes);
		from = device(x, copy->src, copy->bytes);
		if (!to || !from)
			return VGPU_ERROR_CALL_ADDRESS;
		memmove(to, from, copy->bytes);
		return 0;
	case VGPU_OP_COPY_INLINE:
		to = device(x, in->dst, in->bytes);
		if (!to)
			return VGPU_ERROR_CALL_ADDRESS;
		memcpy(to, in + 1, in->bytes);
		return 0;
	case VGPU_OP_MEMSET:
		to = device(x, set->dst, set->count * set->width);
		if (!to)
			return VGPU_ERROR_CALL_ADDRESS;
		for (uint64_t i = 0; i < set->count; i++)
			memcpy(to + i * set->width, &set->value, set->width);
		return 0;
	case VGPU_OP_LAUNCH:
		return run_kernel(x, p);
	case VGPU_OP_EVENT_RECORD:
		x->event_recorded[((const struct vgpu_call_event *)p)->event % VGPU_EVENTS] = true;
		return 0;
	case VGPU_OP_STREAM_WAIT_EVENT:
		return 0;
	case VGPU_OP_STREAM_MARK:
		__atomic_store_n(&x->ring.control.stream[e->stream].completed, ((const struct vgpu_call_mark *)p)->value,
				 __ATOMIC_RELEASE);
		return 0;
	default:
		malformed(x);
		return VGPU_ERROR_CALL_PROTOCOL;
	}
}

static void moved(struct fake_executor *x)
{
	struct vgpu_session_header *h = x->ring.control.header;

	vgpu_fence();
	if (!__atomic_load_n(&h->space_waiters, __ATOMIC_RELAXED))
		return;
	__atomic_fetch_add(&h->space_seq, 1, __ATOMIC_RELEASE);
	wake(&h->space_seq);
}

static void issue(struct fake_executor *x, const struct vgpu_entry *e)
{
	struct fake_stream *st = &x->stream[e->stream];
	uint32_t status = atomic_load(&x->host->sticky) ? atomic_load(&x->host->sticky) : run_command(x, e);

	reply(x, e, status, 0, 0);
	st->issued_bytes += vgpu_ring_cells(e->bytes) * VGPU_CELL_BYTES;
	__atomic_store_n(&x->ring.control.stream[e->stream].issued_bytes, st->issued_bytes, __ATOMIC_RELEASE);
}

static struct fake_parked *park_new(const struct vgpu_entry *e)
{
	struct fake_parked *p = calloc(1, sizeof(*p));

	if (!p)
		abort();
	memcpy(p->entry, e, e->bytes);
	return p;
}

static void submit(struct fake_executor *x, const struct vgpu_entry *e)
{
	struct fake_stream *st = &x->stream[e->stream];
	struct fake_parked *p;

	if (!st->first && !atomic_load(&x->host->hold[e->stream])) {
		issue(x, e);
		return;
	}
	p = park_new(e);
	if (st->last)
		st->last->next = p;
	else
		st->first = p;
	st->last = p;
	st->backlog += vgpu_ring_cells(e->bytes) * VGPU_CELL_BYTES;
	if (st->backlog > VGPU_STREAM_BACKLOG) {
		pthread_mutex_lock(&x->host->lock);
		x->host->count.backlog_broken++;
		pthread_mutex_unlock(&x->host->lock);
	}
}

static bool stream_idle(struct fake_executor *x, uint32_t stream)
{
	return !x->stream[stream].first;
}

static bool all_idle(struct fake_executor *x)
{
	for (uint32_t i = 0; i < VGPU_STREAMS; i++)
		if (!stream_idle(x, i))
			return false;
	return true;
}

/* A synchronise call: answered when what it waits for is empty. */
static bool try_wait(struct fake_executor *x, const struct vgpu_entry *e)
{
	if (e->op == VGPU_OP_CONTEXT_SYNC || e->op == VGPU_OP_EVENT_SYNC ? !all_idle(x) : !stream_idle(x, e->stream))
		return false;
	reply(x, e, 0, 0, 0);
	return true;
}

static void pump(struct fake_executor *x)
{
	bool any = false;

	for (uint32_t i = 0; i < VGPU_STREAMS; i++) {
		struct fake_stream *st = &x->stream[i];

		while (st->first && !atomic_load(&x->host->hold[i])) {
			struct fake_parked *p = st->first;
			const struct vgpu_entry *e = (const struct vgpu_entry *)p->entry;

			st->backlog -= vgpu_ring_cells(e->bytes) * VGPU_CELL_BYTES;
			st->first = p->next;
			if (!st->first)
				st->last = NULL;
			issue(x, e);
			free(p);
			any = true;
		}
	}
	if (any)
		moved(x);
	for (struct fake_parked **at = &x->waits; *at;) {
		struct fake_parked *p = *at;

		if (!try_wait(x, (const struct vgpu_entry *)p->entry)) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		free(p);
	}
}

static void function_get(struct fake_executor *x, const struct vgpu_entry *e, const struct vgpu_call_name *c)
{
	static const struct vgpu_param_info add[] = { { 0, 8 }, { 8, 8 }, { 16, 8 }, { 24, 4 } };
	static const struct vgpu_param_info params[] = { { 0, 8 }, { 8, FAKE_PARAMS_BYTES } };
	static const struct vgpu_param_info odd[] = { { 0, 1 }, { 8, 8 }, { 16, 2 }, { 20, 4 } };
	struct vgpu_function_info info = { .max_threads = 1024, .max_dynamic_shared_bytes = 48 << 10 };
	const char *name = (const char *)(c + 1);
	const struct vgpu_param_info *list = add;
	uint8_t *out = (uint8_t *)(uintptr_t)c->out.address;

	if (c->name_bytes == 3 && !memcmp(name, "add", 3)) {
		info.function = FUNCTION_ADD;
		info.param_count = 4;
		info.param_bytes = 28;
	} else if (c->name_bytes == 6 && !memcmp(name, "params", 6)) {
		info.function = FUNCTION_PARAMS;
		info.param_count = 2;
		info.param_bytes = 8 + FAKE_PARAMS_BYTES;
		list = params;
	} else if (c->name_bytes == 3 && !memcmp(name, "odd", 3)) {
		info.function = FUNCTION_ODD;
		info.param_count = 4;
		info.param_bytes = 24;
		list = odd;
	} else {
		reply(x, e, 500, 0, 0);
		return;
	}
	memcpy(out, &info, sizeof(info));
	memcpy(out + sizeof(info), list, info.param_count * sizeof(*list));
	reply(x, e, 0, info.function, sizeof(info) + info.param_count * sizeof(*list));
}

static void device_info(struct fake_executor *x, const struct vgpu_entry *e, const struct vgpu_call_buffer *c)
{
	struct vgpu_device_info info = { .name = "fake", .total_bytes = FAKE_DEVICE_BYTES, .driver_version = 12040,
					 .attributes = 120 };

	info.attribute[1] = 1024;
	for (int i = 2; i <= 3; i++)
		info.attribute[i] = 1024;
	info.attribute[4] = 64;
	info.attribute[5] = INT_MAX;
	info.attribute[6] = info.attribute[7] = 65535;
	memcpy((void *)(uintptr_t)c->address, &info, sizeof(info));
	reply(x, e, 0, sizeof(info), 0);
}

static void handle(struct fake_executor *x, const struct vgpu_entry *e)
{
	const void *p = e + 1;
	const struct vgpu_call_event *ev = p;
	uint32_t i;

	if (atomic_load(&x->host->sticky) && e->slot != VGPU_NO_SLOT) {
		reply(x, e, atomic_load(&x->host->sticky), 0, 0);
		return;
	}
	switch (e->op) {
	case VGPU_OP_NOP:
		reply(x, e, 0, 0, 0);
		break;
	case VGPU_OP_DEVICE_INFO:
		device_info(x, e, p);
		break;
	case VGPU_OP_MEM_INFO:
		pthread_mutex_lock(&x->host->lock);
		i = (uint32_t)x->host->count.used_bytes;
		pthread_mutex_unlock(&x->host->lock);
		reply(x, e, 0, FAKE_DEVICE_BYTES - i, FAKE_DEVICE_BYTES);
		break;
	case VGPU_OP_MEM_ALLOC:
		mem_alloc(x, e, p);
		break;
	case VGPU_OP_MEM_FREE:
		mem_free(x, e, p);
		break;
	case VGPU_OP_MODULE_LOAD:
		reply(x, e, 0, ++x->modules, 0);
		break;
	case VGPU_OP_MODULE_UNLOAD:
	case VGPU_OP_FUNCTION_SET:
		reply(x, e, 0, 0, 0);
		break;
	case VGPU_OP_FUNCTION_GET:
		function_get(x, e, p);
		break;
	case VGPU_OP_GLOBAL_GET:
		reply(x, e, 0, FAKE_VARIABLE, 256);
		break;
	case VGPU_OP_OCCUPANCY:
		reply(x, e, 0, 2, 0);
		break;
	case VGPU_OP_LAUNCH_FIRST:
		reply(x, e, run_kernel(x, p), 0, 0);
		break;
	case VGPU_OP_STREAM_CREATE:
		for (i = 1; i < VGPU_STREAMS && (x->stream[i].used || !stream_idle(x, i)); i++)
			;
		if (i == VGPU_STREAMS) {
			reply(x, e, VGPU_ERROR_CALL_LIMIT, 0, 0);
			break;
		}
		x->stream[i] = (struct fake_stream){ .used = true };
		__atomic_store_n(&x->ring.control.stream[i].completed, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&x->ring.control.stream[i].issued_bytes, 0, __ATOMIC_RELAXED);
		reply(x, e, 0, i, 0);
		break;
	case VGPU_OP_STREAM_QUERY:
		reply(x, e, stream_idle(x, e->stream) ? 0 : 600, 0, 0);
		break;
	case VGPU_OP_EVENT_CREATE:
		for (i = 0; i < VGPU_EVENTS && x->event_used[i]; i++)
			;
		if (i == VGPU_EVENTS) {
			reply(x, e, VGPU_ERROR_CALL_LIMIT, 0, 0);
			break;
		}
		x->event_used[i] = true;
		x->event_recorded[i] = false;
		reply(x, e, 0, i, 0);
		break;
	case VGPU_OP_EVENT_DESTROY:
		x->event_used[ev->event % VGPU_EVENTS] = false;
		reply(x, e, 0, 0, 0);
		break;
	case VGPU_OP_EVENT_QUERY:
		reply(x, e, all_idle(x) ? 0 : 600, 0, 0);
		break;
	case VGPU_OP_EVENT_ELAPSED:
		reply(x, e, 0, 0x3f800000, 0);
		break;
	case VGPU_OP_STREAM_DESTROY: /* answered at once; its work goes on */
		reply(x, e, x->stream[e->stream].used ? 0 : VGPU_ERROR_CALL_HANDLE, 0, 0);
		x->stream[e->stream].used = false;
		break;
	case VGPU_OP_STREAM_SYNC:
		if (e->stream && !x->stream[e->stream].used) {
			reply(x, e, VGPU_ERROR_CALL_HANDLE, 0, 0);
			break;
		}
		/* fall through */
	case VGPU_OP_EVENT_SYNC:
	case VGPU_OP_CONTEXT_SYNC:
		if (!try_wait(x, e)) {
			struct fake_parked *parked = park_new(e);

			parked->next = x->waits;
			x->waits = parked;
		}
		break;
	default:
		submit(x, e);
	}
}

static void sleep_until_rung(struct fake_executor *x)
{
	struct pollfd p = { .fd = x->doorbell, .events = POLLIN };
	uint64_t n;

	if (!vgpu_ring_sleep(&x->ring))
		return;
	/* held streams are released without a doorbell */
	poll(&p, 1, x->waits || !all_idle(x) ? 1 : 20);
	vgpu_ring_awake(&x->ring);
	if (p.revents && read(x->doorbell, &n, sizeof(n)) < 0)
		return;
}

static void *executor_main(void *arg)
{
	struct fake_executor *x = arg;
	unsigned int idle = 0;

	while (!atomic_load(&x->stop)) {
		int got = atomic_load(&x->host->stall) ? 0 : vgpu_ring_take(&x->ring, x->buffer);

		__atomic_store_n(&x->ring.control.header->sticky, atomic_load(&x->host->sticky), __ATOMIC_RELAXED);
		if (got < 0) {
			malformed(x);
			break;
		}
		if (got) {
			pthread_mutex_lock(&x->host->lock);
			x->host->count.entries++;
			pthread_mutex_unlock(&x->host->lock);
			handle(x, (const struct vgpu_entry *)x->buffer);
			idle = 0;
		}
		vgpu_ring_publish(&x->ring);
		pump(x);
		if (got)
			moved(x);
		else if (atomic_load(&x->host->stall))
			usleep(1000);
		else if (++idle > 100)
			sleep_until_rung(x);
	}
	return NULL;
}

/* The client's own mapping of the control area: with another one in the same process,
 * ThreadSanitizer would see neither's atomics in the other. */
static void *find_control(int window, uint64_t control_offset)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	void *found = NULL;
	char line[512];
	struct stat st;

	if (!maps || fstat(window, &st))
		abort();
	while (fgets(line, sizeof(line), maps)) {
		unsigned long start, offset, inode;

		if (sscanf(line, "%lx-%*x %*s %lx %*s %lu", &start, &offset, &inode) == 3 && inode == st.st_ino &&
		    offset == control_offset)
			found = (void *)start;
	}
	fclose(maps);
	return found;
}

struct fake_executor *fake_executor_start(struct fake_host *h, int window, uint64_t control_offset, uint32_t arena,
					  int doorbell)
{
	struct fake_executor *x = calloc(1, sizeof(*x));
	struct vgpu_session_header *header;

	if (!x)
		abort();
	x->host = h;
	x->doorbell = doorbell;
	x->control = find_control(window, control_offset);
	if (!x->control) { /* a client in a forked child */
		x->control = mmap(NULL, VGPU_CONTROL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, window,
				  (off_t)control_offset);
		x->own_mapping = true;
	}
	if (x->control == MAP_FAILED)
		abort();
	x->ring.control = vgpu_control_at(x->control);
	x->stream[0].used = true;
	header = x->control;
	header->magic = VGPU_SESSION_MAGIC;
	header->version = VGPU_SESSION_VERSION;
	header->features = VGPU_SESSION_FEATURE_BASE;
	header->arena = arena;
	header->slots = VGPU_SLOTS;
	header->streams = VGPU_STREAMS;
	header->ring_bytes = VGPU_RING_BYTES;
	header->driver_version = 12040;
	pthread_create(&x->thread, NULL, executor_main, x);
	return x;
}

static void parked_free(struct fake_parked *p)
{
	while (p) {
		struct fake_parked *next = p->next;

		free(p);
		p = next;
	}
}

void fake_executor_stop(struct fake_executor *x)
{
	atomic_store(&x->stop, true);
	pthread_join(x->thread, NULL);
	for (uint32_t i = 0; i < VGPU_STREAMS; i++)
		parked_free(x->stream[i].first);
	parked_free(x->waits);
	if (x->own_mapping)
		munmap(x->control, VGPU_CONTROL_BYTES);
	close(x->doorbell);
	free(x);
}
