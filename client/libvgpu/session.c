// SPDX-License-Identifier: MIT
/* Sessions: choice of transport, opening, closing, and what fork does to them. */
#include "client/libvgpu/internal.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

#define DEFAULT_DEVICE "/dev/vgpu0"
#define DEFAULT_SOCKET "/run/vgpu/local/vgpu.sock"

static const volatile uint32_t no_generation;
const volatile uint32_t *vgpu_generation = &no_generation;
static uint32_t *generation_page;
static uint32_t generation_last;

static pthread_mutex_t sessions_lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(vgpu_session_list, vgpu_session) sessions;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fork_prepare(void)
{
	pthread_mutex_lock(&sessions_lock);
	vgpu_reserve_fork(true);
}

static void fork_parent(void)
{
	vgpu_reserve_fork(false);
	pthread_mutex_unlock(&sessions_lock);
}

/* A descriptor left open here would hide the parent's end from the host. */
static void fork_child(void)
{
	struct vgpu_session *s;

	vgpu_reserve_fork(false);
	LIST_FOREACH(s, &sessions, link)
		s->transport->ops->forked(s->transport);
	pthread_mutex_unlock(&sessions_lock);
}

static void init_once(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return;
	if (madvise(page, 4096, MADV_WIPEONFORK) || pthread_atfork(fork_prepare, fork_parent, fork_child)) {
		munmap(page, 4096);
		return;
	}
	generation_page = page;
	vgpu_generation = page;
}

/* This life of the process; a fork begins another. 0: no memory at the start. */
static uint32_t generation(void)
{
	uint32_t now = 0;

	pthread_once(&once, init_once);
	if (!generation_page)
		return 0;
	pthread_mutex_lock(&sessions_lock);
	if (!*generation_page)
		__atomic_store_n(generation_page, ++generation_last, __ATOMIC_RELAXED);
	now = *generation_page;
	pthread_mutex_unlock(&sessions_lock);
	return now;
}

vgpu_status vgpu_session_bad(struct vgpu_session *s)
{
	uint32_t code;

	if (!s)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "the session is NULL");
	if (*vgpu_generation != s->generation)
		return vgpu_fail(VGPU_ERROR_CALL_FORKED,
				 "process %d was forked from the one that opened the session; open another here",
				 (int)getpid());
	code = atomic_load(&s->transport->dead);
	if (code)
		return vgpu_fail(code, "the session has ended: %s (%s)", vgpu_status_text(code),
				 vgpu_status_name(code));
	code = __atomic_load_n(&s->producer.control.header->sticky, __ATOMIC_RELAXED);
	if (code)
		return vgpu_fail(code, "earlier work of the session failed: %s (%s); close it and open another",
				 vgpu_status_text(code), vgpu_status_name(code));
	return VGPU_OK;
}

static int starts_with(const char *text, const char *start, const char **ret_rest)
{
	size_t n = strlen(start);

	if (strncmp(text, start, n) != 0)
		return 0;
	*ret_rest = text + n;
	return 1;
}

static vgpu_status open_transport(const struct vgpu_open_options *options, struct vgpu_transport **ret)
{
	struct vgpu_transport_open how = { .window_bytes = options->window_bytes,
					   .timeout_ms = options->timeout_ms ? options->timeout_ms :
									       VGPU_OPEN_TIMEOUT_MS };
	const char *want = options->transport;

	if (!want || !*want)
		want = secure_getenv("VGPU_TRANSPORT");
	if (!want || !*want)
		want = access(DEFAULT_DEVICE, F_OK) ? "local:" DEFAULT_SOCKET : "device:" DEFAULT_DEVICE;
	if (starts_with(want, "device:", &how.path))
		return vgpu_transport_device.open(&how, ret);
	if (starts_with(want, "local:", &how.path))
		return vgpu_transport_local.open(&how, ret);
	return vgpu_fail(VGPU_ERROR_CALL_UNSUPPORTED,
			 "open: transport \"%s\" is not understood; write device:PATH or local:PATH", want);
}

/* Spinning costs others the CPU: little of it, and by few threads, where there are few CPUs. */
static void choose_spin(struct vgpu_session *s)
{
	cpu_set_t set;
	int cpus = sched_getaffinity(0, sizeof(set), &set) ? 2 : CPU_COUNT(&set);

	s->spin_max = cpus < 2 ? 0 : (uint32_t)cpus / 2;
	s->spin_scale = cpus < 4 ? 50 : 100;
}

static void init(struct vgpu_session *s)
{
	s->producer.control = vgpu_control_at(s->transport->control);
	choose_spin(s);
	for (unsigned int i = 0; i < VGPU_STREAMS; i++)
		pthread_mutex_init(&s->stream[i].mark_lock, NULL);
	atomic_store(&s->stream[0].live, true);
	for (unsigned int i = 0; i < VGPU_SLOTS / 64; i++)
		atomic_store(&s->slot_free[i], ~0ull);
	pthread_mutex_init(&s->slot_lock, NULL);
	pthread_cond_init(&s->slot_cond, NULL);
	vgpu_ranges_init(&s->memory);
	vgpu_reserve_get();
	pthread_mutex_init(&s->pinned.grow_lock, NULL);
	pthread_mutex_init(&s->pinned.lock, NULL);
	vgpu_ranges_init(&s->pinned.user);
	pthread_mutex_init(&s->staging.lock, NULL);
	pthread_cond_init(&s->staging.returned, NULL);
	pthread_mutex_init(&s->helper.lock, NULL);
	pthread_cond_init(&s->helper.wake, NULL);
	pthread_cond_init(&s->helper.idle, NULL);
	pthread_mutex_init(&s->info_lock, NULL);
	pthread_mutex_init(&s->object_lock, NULL);
}

/* Frees what is in private memory; the same in a forked child. */
static void uninit(struct vgpu_session *s)
{
	while (!LIST_EMPTY(&s->modules)) {
		struct vgpu_module *m = LIST_FIRST(&s->modules);

		LIST_REMOVE(m, link);
		while (m->functions) {
			struct vgpu_function *f = m->functions;

			m->functions = f->next;
			free(f);
		}
		free(m);
	}
	while (!LIST_EMPTY(&s->streams)) {
		struct vgpu_stream *stream = LIST_FIRST(&s->streams);

		LIST_REMOVE(stream, link);
		free(stream);
	}
	while (!LIST_EMPTY(&s->events)) {
		struct vgpu_event *event = LIST_FIRST(&s->events);

		LIST_REMOVE(event, link);
		free(event);
	}
	vgpu_staging_uninit(s);
	vgpu_pinned_uninit(s);
	vgpu_ranges_uninit(&s->memory);
	vgpu_reserve_put();
	free(s);
}

vgpu_status vgpu_session_open(const struct vgpu_open_options *options, struct vgpu_session **ret_session)
{
	struct vgpu_open_options o = { .size = sizeof(o) };
	struct vgpu_session *s = NULL;
	vgpu_status status;

	if (!ret_session || (options && (options->size < sizeof(o) || options->reserved)))
		return vgpu_fail(VGPU_ERROR_CALL_INVALID,
				 "open: ret_session is NULL, or options->size is not sizeof(struct vgpu_open_options)");
	if (options)
		o = *options;
	if (posix_memalign((void **)&s, 64, sizeof(*s)))
		return vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY, "open: no memory for %zu bytes", sizeof(*s));
	memset(s, 0, sizeof(*s));
	s->generation = generation();
	if (!s->generation) {
		free(s);
		return vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY, "open: this process cannot map memory");
	}
	status = open_transport(&o, &s->transport);
	if (status) {
		free(s);
		return status;
	}
	init(s);
	pthread_mutex_lock(&sessions_lock);
	LIST_INSERT_HEAD(&sessions, s, link);
	pthread_mutex_unlock(&sessions_lock);
	*ret_session = s;
	return VGPU_OK;
}

vgpu_status vgpu_session_close(struct vgpu_session *s)
{
	bool forked;

	if (!s)
		return VGPU_OK;
	forked = *vgpu_generation != s->generation;
	pthread_mutex_lock(&sessions_lock);
	LIST_REMOVE(s, link);
	pthread_mutex_unlock(&sessions_lock);
	if (forked) {
		s->transport->ops->forget(s->transport);
	} else {
		vgpu_helper_stop(s);
		s->transport->ops->close(s->transport);
	}
	uninit(s);
	return VGPU_OK;
}

vgpu_status vgpu_session_counters(struct vgpu_session *s, struct vgpu_session_counters *ret)
{
	struct vgpu_session_counters c = { 0 };

	if (!s || !ret)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "counters: an argument is NULL");
	if (*vgpu_generation != s->generation)
		return vgpu_session_bad(s);
	c.waited = atomic_load(&s->count_waited);
	c.sleeps = atomic_load(&s->count_sleeps);
	c.doorbells = atomic_load(&s->count_doorbells);
	c.full = atomic_load(&s->count_full);
	pthread_mutex_lock(&s->pinned.lock);
	c.heap_bytes = s->pinned.heap.total;
	pthread_mutex_unlock(&s->pinned.lock);
	c.posted_errors = __atomic_load_n(&s->producer.control.header->posted_errors, __ATOMIC_RELAXED);
	c.posted_error = __atomic_load_n(&s->producer.control.header->posted_error, __ATOMIC_RELAXED);
	c.transport = s->transport->ops->kind;
	*ret = c;
	return VGPU_OK;
}
