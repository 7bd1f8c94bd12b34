/* SPDX-License-Identifier: MIT */
/* A session's memory: the control area, the pages shared with the mediator, the heap. */
#include "host/executor/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/log/log.h"

enum { SESSION_CONTROL_BYTES = 2 << 20 };

/* What the control thread has mapped; the issue thread's own table follows by a job. */
static struct vx_ranges mapped_heap = { .limit = VX_HEAP_PARTS };

static uint32_t session_fail(char *text, uint32_t error, const char *what, int err)
{
	snprintf(text, VGPU_EXECUTOR_TEXT, "%s%s%s", what, err ? ": " : "", err ? strerror(-err) : "");
	return error;
}

static uint32_t assign_check(const struct vgpu_executor_assign *a, char *text)
{
	if (a->control_offset % SESSION_CONTROL_BYTES || a->window_bytes < SESSION_CONTROL_BYTES ||
	    a->control_offset > a->window_bytes - SESSION_CONTROL_BYTES)
		return session_fail(text, VGPU_ERROR_CALL_INVALID, "the control area lies outside the window",
				    0);
	if (a->quota_slot >= VGPU_QUOTA_SLOTS)
		return session_fail(text, VGPU_ERROR_CALL_INVALID, "there is no such quota slot", 0);
	if (!vx_arena_has(a->arena))
		return session_fail(text, VGPU_ERROR_CALL_INVALID,
				    "the arena is not free in the executor, choose another", 0);
	return 0;
}

static void *map_page(int fd)
{
	void *page = mmap(NULL, sizeof(struct vgpu_gate_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return page == MAP_FAILED ? NULL : page;
}

static void header_init(struct vx_session *s)
{
	struct vgpu_session_header *h = s->ring.control.header;

	memset(h, 0, VGPU_RING_OFFSET);
	h->version = VGPU_SESSION_VERSION;
	h->features = VGPU_SESSION_FEATURE_BASE;
	h->arena = s->assign.arena;
	h->slots = VGPU_SLOTS;
	h->streams = VGPU_STREAMS;
	h->ring_bytes = VGPU_RING_BYTES;
	h->driver_version = s->gpu->info.driver_version;
	__atomic_store_n(&h->magic, VGPU_SESSION_MAGIC, __ATOMIC_RELEASE);
}

static void session_init(struct vx_session *s)
{
	vx_table_init(&s->functions, VGPU_FUNCTIONS);
	vx_table_init(&s->modules, VGPU_MODULES);
	vx_table_init(&s->events, VGPU_EVENTS);
	s->device.limit = VX_RANGES;
	s->heap.limit = VX_HEAP_PARTS;
	s->waiting_end = &s->waiting;
	s->watch_period_ns = VX_WATCH_NS;
	s->parked_ns = VX_PARKED_NS;
	s->poll_ns = s->assign.poll_us * 1000ull;
	vx_stream_open(s, 0, NULL, false); /* the legacy default stream */
}

uint32_t vx_session_open(struct vx_session *s, struct vx_gpu *gpu,
			 const struct vgpu_executor_assign *assign, const int fds[5], char *text)
{
	uint32_t error = assign_check(assign, text);
	CUresult rc;
	void *control;

	if (error)
		return error;
	s->gpu = gpu;
	s->assign = *assign;
	s->window = fds[0];
	s->doorbell = fds[1];
	s->interrupt = fds[2];
	s->gate_fd = fds[3];
	s->quota_fd = fds[4];
	s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->wake < 0)
		return session_fail(text, VGPU_ERROR_HOST_INTERNAL, "cannot make an eventfd", -errno);
	control = mmap(NULL, SESSION_CONTROL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, s->window,
		       (off_t)assign->control_offset);
	if (control == MAP_FAILED)
		return session_fail(text, VGPU_ERROR_HOST_INTERNAL, "cannot map the control area", -errno);
	s->gate = map_page(s->gate_fd);
	s->quota = (struct vx_quota){ map_page(s->quota_fd), assign->quota_slot };
	if (!s->gate || !s->quota.page)
		return session_fail(text, VGPU_ERROR_HOST_INTERNAL, "cannot map the gate or quota page",
				    -errno);
	rc = gpu->cu.cuMemHostRegister(control, SESSION_CONTROL_BYTES,
				       CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP);
	if (!rc)
		rc = gpu->cu.cuMemHostGetDevicePointer(&s->control_device, control, 0);
	if (rc) {
		snprintf(text, VGPU_EXECUTOR_TEXT, "registering the control area: %s (CUDA %d)",
			 cuda_error_name(rc), rc);
		return VGPU_ERROR_HOST_INTERNAL;
	}
	s->ring.control = vgpu_control_at(control);
	header_init(s);
	session_init(s);
	return 0;
}

/* ---- heap ---- */

struct heap_job {
	struct vx_job job;
	uint64_t heap_offset, start, bytes;
};

/* Issue thread: the parts become addresses that copies may name. */
static void heap_finish(struct vx_job *job)
{
	struct heap_job *h = (struct heap_job *)job;
	struct vx_session *s = job->session;
	uint32_t error = 0;

	for (uint64_t at = 0; at < h->bytes && !error; at += VX_REGISTER_BYTES) {
		uint64_t rest = h->bytes - at;
		const struct vx_range part = {
			.start = h->start + at,
			.bytes = rest < VX_REGISTER_BYTES ? rest : VX_REGISTER_BYTES,
		};

		if (vx_ranges_add(&s->heap, &part) < 0)
			error = VGPU_ERROR_CALL_NO_MEMORY;
	}
	if (!error)
		s->stats.heap_bytes += h->bytes;
	vx_control_result(VGPU_EXECUTOR_HEAP_ADDED, error, h->heap_offset,
			  error ? "no memory for the table of heap parts" : "");
	free(h);
}

/* Back to a reservation, so that nothing else comes to lie there. Where even that fails the run stays
 * mapped, and as good as reserved: it is in no table. */
static void heap_unmap(uint64_t start, uint64_t bytes)
{
	void *kept = mmap((void *)(uintptr_t)start, bytes, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);

	if (kept == MAP_FAILED)
		vgpu_log(VGPU_LOG_WARNING, "heap run stays mapped start=%#llx bytes=%llu",
			 (unsigned long long)start, (unsigned long long)bytes);
}

static CUresult heap_register(const struct cuda_driver *cu, uint64_t start, uint64_t bytes)
{
	for (uint64_t at = 0; at < bytes; at += VX_REGISTER_BYTES) {
		uint64_t rest = bytes - at;
		void *part = (void *)(uintptr_t)(start + at);
		CUdeviceptr device = 0;
		CUresult rc;

		rc = cu->cuMemHostRegister(part, rest < VX_REGISTER_BYTES ? rest : VX_REGISTER_BYTES,
					   CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP);
		if (!rc)
			rc = cu->cuMemHostGetDevicePointer(&device, part, 0);
		if (!rc && device != start + at)
			rc = CUDA_ERROR_NOT_SUPPORTED; /* pointers in it would mean something else */
		if (!rc)
			continue;
		for (uint64_t undo = 0; undo < at; undo += VX_REGISTER_BYTES)
			cu->cuMemHostUnregister((void *)(uintptr_t)(start + undo));
		return rc;
	}
	return CUDA_SUCCESS;
}

static bool heap_is_valid(const struct vx_session *s, const struct vgpu_executor_heap *h)
{
	const struct vgpu_executor_assign *a = &s->assign;

	return h->bytes && h->bytes % VX_ALIGN == 0 && h->heap_offset % VX_ALIGN == 0 &&
	       h->window_offset % VX_ALIGN == 0 && h->bytes <= VGPU_ARENA_BYTES &&
	       h->heap_offset <= VGPU_ARENA_BYTES - h->bytes && h->bytes <= a->window_bytes &&
	       h->window_offset <= a->window_bytes - h->bytes;
}

static bool heap_is_there(const struct vx_range *run)
{
	const struct vx_range *have = vx_ranges_find(&mapped_heap, run->start);

	return have && have->start == run->start && have->bytes == run->bytes &&
	       have->window_offset == run->window_offset;
}

/* The issue thread adds `bytes` of the run to the addresses that it knows, then tells the mediator. */
static void heap_tell(struct vx_session *s, struct heap_job *h, const struct vgpu_executor_heap *heap,
		      uint64_t bytes)
{
	h->job.session = s;
	h->job.finish = heap_finish;
	h->heap_offset = heap->heap_offset;
	h->start = vgpu_arena_base(s->assign.arena) + heap->heap_offset;
	h->bytes = bytes;
	vx_job_done(&h->job);
}

uint32_t vx_session_heap_add(struct vx_session *s, const struct vgpu_executor_heap *heap, char *text)
{
	const struct vx_range range = { .start = vgpu_arena_base(s->assign.arena) + heap->heap_offset,
					.bytes = heap->bytes,
					.window_offset = heap->window_offset };
	struct heap_job *h;
	CUresult rc;
	int err;

	if (!heap_is_valid(s, heap))
		return session_fail(text, VGPU_ERROR_CALL_INVALID,
				    "the run is not whole 2 MiB pages inside window and arena", 0);
	h = calloc(1, sizeof(*h));
	if (h && heap_is_there(&range)) {
		/* a mediator that was replaced before it heard the answer asks again */
		heap_tell(s, h, heap, 0);
		return 0;
	}
	err = vx_ranges_add(&mapped_heap, &range);
	if (err < 0) {
		free(h);
		return session_fail(text, VGPU_ERROR_CALL_INVALID, "the run cannot be added", err);
	}
	err = h ? vx_arena_map(s->assign.arena, heap->heap_offset, s->window, heap->window_offset,
			       heap->bytes) :
		  -ENOMEM;
	if (err < 0) {
		vx_ranges_remove(&mapped_heap, range.start);
		free(h);
		return session_fail(text, VGPU_ERROR_CALL_NO_MEMORY, "cannot map the run", err);
	}
	rc = heap_register(&s->gpu->cu, range.start, range.bytes);
	if (rc) {
		heap_unmap(range.start, range.bytes);
		vx_ranges_remove(&mapped_heap, range.start);
		free(h);
		snprintf(text, VGPU_EXECUTOR_TEXT, "registering %llu MiB of heap: %s (CUDA %d)",
			 (unsigned long long)(heap->bytes >> 20), cuda_error_name(rc), rc);
		return vx_check(s, rc) == CUDA_ERROR_OUT_OF_MEMORY ? VGPU_ERROR_CALL_NO_MEMORY :
								     VGPU_ERROR_HOST_INTERNAL;
	}
	heap_tell(s, h, heap, range.bytes);
	return 0;
}

/* ---- ends ---- */

void vx_session_lose(struct vx_session *s, uint32_t result)
{
	uint32_t none = 0;
	uint64_t one = 1;

	if (!atomic_compare_exchange_strong(&s->sticky, &none, result))
		return;
	__atomic_fetch_add(&s->gate->faults, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&s->ring.control.header->sticky, result, __ATOMIC_RELEASE);
	/* the issue thread answers what is pending; a full counter means that it is awake */
	if (write(s->wake, &one, sizeof(one)) < 0)
		return;
}

void vx_session_end(struct vx_session *s, uint32_t error, const char *text)
{
	if (s->ended)
		return;
	s->ended = true;
	atomic_store(&s->sticky, error);
	__atomic_store_n(&s->ring.control.header->sticky, error, __ATOMIC_RELEASE);
	s->space_moved = true;
	vx_wake_space(s);
	vx_control_result(VGPU_EXECUTOR_FAILED, error, 0, text);
	/* the mediator reports the end to every waiter; nothing of this process is worth more time */
	_exit(0);
}
