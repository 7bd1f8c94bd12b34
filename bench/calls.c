// SPDX-License-Identifier: MIT
/*
 * What single calls cost: native and through the local transport, in one run, sample by sample in
 * turn, so that whatever else the machine does meets both. Without an NVIDIA GPU only the
 * transport itself is measured, beside raw shared memory.
 */
#include "bench/calls.h"

#include <getopt.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/libvgpu/vgpu.h"

enum { POSTS = 100000, PRODUCERS = 4 };

static struct bench {
	const char *json, *transport, *commit;
	unsigned int samples;
	struct vgpu_session *gpu;
	struct vgpu_function *function;
	uint64_t memory;
	void *pinned, *pageable;
	struct bench_native *native;
	struct bench_raw *raw;
	struct bench_row row[BENCH_ROWS_MAX];
	unsigned int rows;
} b = { .samples = 21 };

double bench_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void must(vgpu_status status, const char *what)
{
	if (!status)
		return;
	fprintf(stderr, "%s: %s\n", what, vgpu_session_error_text());
	exit(1);
}
#define MUST(call) must(call, #call)

static struct bench_row *row_new(const char *name, const char *unit, const char *native_is)
{
	struct bench_row *r = &b.row[b.rows++];

	*r = (struct bench_row){ .name = name, .unit = unit, .native_is = native_is,
				 .more_is_better = !strcmp(unit, "GB/s") };
	return r;
}

/* ---- calls ---- */

static void our_launch(void)
{
	uint64_t p = 1, q = 2, r = 3;
	uint32_t n = 4;
	void *params[] = { &p, &q, &r, &n };

	MUST(vgpu_launch(b.function, (struct vgpu_dim3){ 1, 1, 1 }, (struct vgpu_dim3){ 1, 1, 1 }, 0, NULL, params));
}

static void our_sync(void)
{
	MUST(vgpu_synchronize(b.gpu));
}

static void native_launch(void)
{
	bench_native_launch(b.native);
}

static void native_sync(void)
{
	bench_native_sync(b.native);
}

/* ---- one sample: the median time of a call over batches, in microseconds ---- */

static double sample(void (*call)(void), void (*after)(void), unsigned int batch, unsigned int batches)
{
	double time[BENCH_SAMPLES_MAX];

	for (unsigned int i = 0; i < batches; i++) {
		double start = bench_now();

		for (unsigned int k = 0; k < batch; k++)
			call();
		time[i] = (bench_now() - start) / batch;
		if (after)
			after();
	}
	return bench_median(time, batches);
}

static void compare(struct bench_row *r, void (*native)(void), void (*native_after)(void), void (*ours)(void),
		    void (*our_after)(void), unsigned int batch, unsigned int batches)
{
	/* the first of each is for warming up */
	for (unsigned int i = 0; i <= b.samples; i++) {
		double n = sample(native, native_after, batch, batches);
		double o = sample(ours, our_after, batch, batches);

		if (!i)
			continue;
		r->native[r->natives++] = n;
		r->our[r->ours++] = o;
	}
}

/* ---- launches ---- */

static void native_launch_sync(void)
{
	native_launch();
	native_sync();
}

static void our_launch_sync(void)
{
	our_launch();
	our_sync();
}

static void native_many(void)
{
	for (int i = 0; i < 5000; i++)
		native_launch();
	native_sync();
}

static void our_many(void)
{
	for (int i = 0; i < 5000; i++)
		our_launch();
	our_sync();
}

static void launches(void)
{
	struct bench_row *r = row_new("launch_enqueue", "us", NULL);

	compare(r, native_launch, native_sync, our_launch, our_sync, 64, 31);
	r = row_new("launch_sustained", "us", NULL);
	compare(r, native_many, NULL, our_many, NULL, 1, 3);
	for (unsigned int i = 0; i < r->ours; i++) {
		r->native[i] /= 5000;
		r->our[i] /= 5000;
	}
	r = row_new("launch_sync", "us", NULL);
	compare(r, native_launch_sync, NULL, our_launch_sync, NULL, 50, 31);
}

/* ---- copies: the same four calls with two sizes ---- */

static size_t copy_bytes;
static bool copy_pinned;

static void native_h2d(void)
{
	bench_native_h2d(b.native, copy_pinned, copy_bytes);
}

static void native_d2h(void)
{
	bench_native_d2h(b.native, copy_pinned, copy_bytes);
}

static void our_h2d(void)
{
	MUST(vgpu_copy_h2d(b.gpu, b.memory, copy_pinned ? b.pinned : b.pageable, copy_bytes));
}

static void our_d2h(void)
{
	MUST(vgpu_copy_d2h(b.gpu, copy_pinned ? b.pinned : b.pageable, b.memory, copy_bytes));
}

/* A large copy counts when the data are there. */
static void native_h2d_whole(void)
{
	native_h2d();
	native_sync();
}

static void our_h2d_whole(void)
{
	our_h2d();
	our_sync();
}

static void large(const char *name, bool pinned, bool to_device)
{
	struct bench_row *r = row_new(name, "GB/s", NULL);

	copy_bytes = BENCH_COPY_BYTES;
	copy_pinned = pinned;
	compare(r, to_device ? native_h2d_whole : native_d2h, NULL, to_device ? our_h2d_whole : our_d2h, NULL, 1, 3);
	for (unsigned int i = 0; i < r->ours; i++) {
		r->native[i] = BENCH_COPY_BYTES / r->native[i] / 1e3;
		r->our[i] = BENCH_COPY_BYTES / r->our[i] / 1e3;
	}
}

static void copies(void)
{
	large("pinned_h2d", true, true);
	large("pinned_d2h", true, false);
	large("pageable_h2d", false, true);
	large("pageable_d2h", false, false);
	copy_bytes = 4;
	copy_pinned = false;
	compare(row_new("copy4_h2d", "us", NULL), native_h2d, native_sync, our_h2d, our_sync, 50, 31);
	compare(row_new("copy4_d2h", "us", NULL), native_d2h, NULL, our_d2h, NULL, 50, 31);
}

/* ---- opening, in processes of their own ---- */

static double run_self(const char *mode)
{
	int fds[2], status;
	double ms = -1;
	pid_t child;

	if (pipe(fds) || (child = fork()) < 0)
		return -1;
	if (!child) {
		dup2(fds[1], 1);
		execl("/proc/self/exe", "calls", mode, b.transport, NULL);
		_exit(127);
	}
	close(fds[1]);
	if (read(fds[0], &ms, sizeof(ms)) != sizeof(ms))
		ms = -1;
	close(fds[0]);
	waitpid(child, &status, 0);
	return ms;
}

static struct vgpu_session *session_open(const char *transport)
{
	struct vgpu_open_options o = { .size = sizeof(o), .transport = transport && *transport ? transport : NULL };
	struct vgpu_session *gpu;

	MUST(vgpu_session_open(&o, &gpu));
	return gpu;
}

/* The child's side: one number to the parent. */
static int child_main(const char *mode, const char *transport)
{
	struct vgpu_session *gpu = NULL;
	double ms, start = bench_now();

	if (!strcmp(mode, "--child-native")) {
		ms = bench_native_init();
	} else {
		gpu = session_open(transport);
		ms = (bench_now() - start) / 1000;
	}
	if (write(1, &ms, sizeof(ms)) != sizeof(ms))
		return 1;
	vgpu_session_close(gpu);
	return 0;
}

static void opening(void)
{
	struct bench_row *r = row_new("init", "ms", NULL);

	for (unsigned int i = 0; i < 7; i++) {
		double n = run_self("--child-native"), o = run_self("--child-ours");

		if (n < 0 || o < 0) {
			fprintf(stderr, "a process that opens the GPU failed\n");
			exit(1);
		}
		r->native[r->natives++] = n;
		r->our[r->ours++] = o;
		sleep(2); /* the host makes the next executor ready meanwhile */
	}
}

/* ---- the transport alone ---- */

static void raw_ping(void)
{
	bench_raw_ping(b.raw);
}

static void our_nop(void)
{
	MUST(vgpu_nop(b.gpu));
}

static void *produce(void *arg)
{
	(void)arg;
	for (int i = 0; i < POSTS; i++)
		MUST(vgpu_nop_post(b.gpu));
	return NULL;
}

/* Nanoseconds a call, over so many that the ring has long been full. */
static double post_sample(int producers)
{
	pthread_t thread[PRODUCERS];
	double start = bench_now();

	for (int i = 1; i < producers; i++)
		if (pthread_create(&thread[i], NULL, produce, NULL))
			abort();
	produce(NULL);
	for (int i = 1; i < producers; i++)
		pthread_join(thread[i], NULL);
	return (bench_now() - start) * 1e3 / ((double)POSTS * producers);
}

static double raw_post_sample(void)
{
	double start = bench_now();

	for (int i = 0; i < POSTS; i++)
		bench_raw_post(b.raw);
	return (bench_now() - start) * 1e3 / POSTS;
}

static void posts(const char *name, int producers)
{
	struct bench_row *r = row_new(name, "ns", "raw ring, one producer");

	for (unsigned int i = 0; i <= b.samples; i++) {
		double n, o;

		b.raw = bench_raw_start();
		n = raw_post_sample();
		bench_raw_stop(b.raw); /* it polls, and the executor wants the CPU */
		o = post_sample(producers);
		if (!i)
			continue;
		r->native[r->natives++] = n;
		r->our[r->ours++] = o;
	}
	MUST(vgpu_nop(b.gpu));
}

static void transport(void)
{
	struct bench_row *r = row_new("ring_round_trip", "us", "raw ping-pong");

	for (unsigned int i = 0; i <= b.samples; i++) {
		double n, o;

		b.raw = bench_raw_start();
		n = sample(raw_ping, NULL, 100, 51);
		bench_raw_stop(b.raw);
		o = sample(our_nop, NULL, 100, 51);
		if (!i)
			continue;
		r->native[r->natives++] = n;
		r->our[r->ours++] = o;
	}
	posts("posted_call", 1);
	posts("posted_call_4", PRODUCERS);
}

/* ---- all of it ---- */

static void prepare(bool with_gpu)
{
	struct vgpu_module *module;
	char log[1024];

	b.gpu = session_open(b.transport);
	if (!with_gpu)
		return;
	must(vgpu_module_load(b.gpu, bench_ptx, strlen(bench_ptx), log, sizeof(log), &module), log);
	MUST(vgpu_function_get(module, "nothing", &b.function));
	MUST(vgpu_malloc(b.gpu, BENCH_COPY_BYTES, &b.memory));
	MUST(vgpu_host_malloc(b.gpu, BENCH_COPY_BYTES, &b.pinned));
	b.pageable = malloc(BENCH_COPY_BYTES);
	if (!b.pageable)
		abort();
	memset(b.pageable, 1, BENCH_COPY_BYTES);
	memset(b.pinned, 1, BENCH_COPY_BYTES);
}

static int usage(const char *name, int rc)
{
	fprintf(rc ? stderr : stdout,
		"usage: %s [--json FILE] [--transport local:PATH] [--samples N] [--commit HASH]\n"
		"Measures calls native and through vgpu. Without an NVIDIA GPU only the transport.\n", name);
	return rc;
}

static int options(int argc, char **argv)
{
	static const struct option list[] = { { "json", required_argument, NULL, 'j' },
					      { "transport", required_argument, NULL, 't' },
					      { "samples", required_argument, NULL, 's' },
					      { "commit", required_argument, NULL, 'c' },
					      { "help", no_argument, NULL, 'h' }, { 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "", list, NULL)) != -1) {
		if (c == 'j')
			b.json = optarg;
		else if (c == 't')
			b.transport = optarg;
		else if (c == 'c')
			b.commit = optarg;
		else if (c == 's')
			b.samples = (unsigned int)atoi(optarg);
		else
			return usage(argv[0], c == 'h' ? 0 : 2);
	}
	if (!b.samples || b.samples >= BENCH_SAMPLES_MAX || optind < argc)
		return usage(argv[0], 2);
	return -1;
}

int main(int argc, char **argv)
{
	struct vgpu_device_properties p;
	struct bench_about about = { 0 };
	const char *why;
	int rc;

	if (argc == 3 && !strncmp(argv[1], "--child-", 8))
		return child_main(argv[1], argv[2]);
	rc = options(argc, argv);
	if (rc >= 0)
		return rc;
	if (!b.transport)
		b.transport = getenv("VGPU_TRANSPORT") ? getenv("VGPU_TRANSPORT") : "";
	bench_about_fill(&about, b.commit);
	if (!access("/dev/nvidiactl", F_OK))
		opening(); /* before this process has touched the GPU */
	b.native = bench_native_open(&why);
	prepare(b.native);
	MUST(vgpu_device_properties(b.gpu, &p));
	if (b.native) {
		bench_native_about(b.native, &about);
		launches();
		copies();
	} else {
		printf("%s: the transport alone, on \"%s\"\n\n", why, p.name);
		snprintf(about.gpu, sizeof(about.gpu), "%s", p.name);
		snprintf(about.driver, sizeof(about.driver), "CUDA %d.%d", p.driver_version / 1000,
			 p.driver_version / 10 % 100);
	}
	transport();
	bench_print(&about, b.row, b.rows);
	rc = b.json ? bench_write_json(b.json, &about, b.row, b.rows) : 0;
	if (rc)
		fprintf(stderr, "%s: %s\n", b.json, strerror(-rc));
	vgpu_session_close(b.gpu);
	return rc ? 1 : 0;
}
