// SPDX-License-Identifier: MIT
/*
 * Endless load for run.py: while it runs, a copy and a kernel are in flight at any time, and every
 * byte that comes back is checked.
 *
 *   vgpu-load [--transport T] [--kernels DIR] [--rounds N] [--elements N] [--bulk BYTES] [--pause-ms N]
 *             [--launches N] [--grow BYTES]
 *
 * Three rounds are under way at once. The copy stream uploads round r, downloads round r-1 and
 * moves a block there and back; the work stream runs the kernels of round r meanwhile. Host memory
 * is pinned. SIGTERM ends it in order. Output, a line at a time:
 *
 *   open                      there is a session
 *   round N ok, B in flight   N rounds were right; in B of them both streams were busy when asked
 *   end N                     closed in order after N rounds
 *   error: NAME: sentence     a call failed, or there is no session
 *   wrong: what               a result is not right
 *
 * --launches of each kernel a round, to the same effect: so many that the GPU has more to do than the host.
 * --pause-ms rests before each round, for a neighbour that shall leave the machine to others.
 * --grow BYTES loads a module of that size again and again instead, until that fails.
 * Exit code 0: ended in order, 1: error, 2: usage, 3: a wrong result.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/libvgpu/vgpu.h"

enum {
	LANES = 3,
	BLOCK = 256,
	LINE_MS = 100, /* between two lines of progress */
};

struct lane {
	uint32_t round;
	void *in, *out, *bulk;	      /* pinned; bulk is twice the block: there, and back */
	uint64_t dev_in, dev_out, dev_bulk;
	struct vgpu_event *uploaded, *computed, *done;
};

struct load {
	struct vgpu_session *session;
	struct vgpu_stream *copy, *work;
	struct vgpu_function *add, *scan;
	struct lane lane[LANES];
	uint32_t elements, pause_ms, launches;
	size_t bulk;
	uint32_t rounds, in_flight;
};

static volatile sig_atomic_t stop;

static void on_term(int number)
{
	stop = number;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int failed(vgpu_status status)
{
	printf("error: %s: %s\n", vgpu_status_name(status), vgpu_session_error_text());
	fflush(stdout);
	return 1;
}

static int wrong(const struct load *l, const struct lane *lane, const char *what, uint32_t at, uint32_t have,
		 uint32_t want)
{
	printf("wrong: round %u of %u: %s[%u] is %#x, not %#x\n", lane->round, l->rounds, what, at, have, want);
	fflush(stdout);
	return 3;
}

#define TRY(call) \
	do { \
		vgpu_status status_ = (call); \
		if (status_) \
			return failed(status_); \
	} while (0)

/* ---- what a round is made of: two vectors and integers to sum, the same on both sides ---- */

static uint32_t pattern(uint32_t round, uint32_t i)
{
	uint32_t x = i * 2654435761u ^ round * 0x9e3779b1u;

	x ^= x >> 15;
	return x * 0x85ebca6bu;
}

/* integers up to 2^20: the sum of two is exact in a float */
static float vector_at(uint32_t round, uint32_t i)
{
	return (float)(pattern(round, i) >> 12);
}

static size_t in_bytes(const struct load *l)
{
	return (size_t)l->elements * 3 * 4;
}

/* the sum, the scan, and a total for each block */
static size_t out_bytes(const struct load *l)
{
	return ((size_t)l->elements * 2 + l->elements / BLOCK) * 4;
}

static void fill(const struct load *l, struct lane *lane)
{
	uint32_t n = l->elements, *bulk = lane->bulk;
	float *v = lane->in;
	int32_t *s = (int32_t *)lane->in + 2 * (size_t)n;

	for (uint32_t i = 0; i < 2 * n; i++)
		v[i] = vector_at(lane->round, i);
	for (uint32_t i = 0; i < n; i++)
		s[i] = (int32_t)(pattern(lane->round, ~i) >> 20);
	for (uint32_t i = 0; i < l->bulk / 4; i++)
		bulk[i] = pattern(lane->round, i + 7);
	/* what comes back must have come back in this round */
	memset(lane->out, 0xa5, out_bytes(l));
	memset((char *)lane->bulk + l->bulk, 0xa5, l->bulk);
}

static int verify(const struct load *l, const struct lane *lane)
{
	uint32_t n = l->elements, sum = 0;
	const float *v = lane->out;
	const uint32_t *scan = (const uint32_t *)lane->out + n, *total = scan + n;
	const uint32_t *back = lane->bulk;

	for (uint32_t i = 0; i < n; i++) {
		float want = vector_at(lane->round, i) + vector_at(lane->round, n + i);

		if (v[i] != want)
			return wrong(l, lane, "sum", i, (uint32_t)v[i], (uint32_t)want);
	}
	for (uint32_t i = 0; i < n; i++) {
		sum = (i % BLOCK ? sum : 0) + (pattern(lane->round, ~i) >> 20);
		if (scan[i] != sum)
			return wrong(l, lane, "scan", i, scan[i], sum);
		if (i % BLOCK == BLOCK - 1 && total[i / BLOCK] != sum)
			return wrong(l, lane, "total", i / BLOCK, total[i / BLOCK], sum);
	}
	back += l->bulk / 4;
	for (uint32_t i = 0; i < l->bulk / 4; i++)
		if (back[i] != pattern(lane->round, i + 7))
			return wrong(l, lane, "block", i, back[i], pattern(lane->round, i + 7));
	return 0;
}

/* ---- a round on its way ---- */

static int launch(struct load *l, struct lane *lane)
{
	uint64_t a = lane->dev_in, b = a + (uint64_t)l->elements * 4, s = b + (uint64_t)l->elements * 4;
	uint64_t c = lane->dev_out, out = c + (uint64_t)l->elements * 4, sums = out + (uint64_t)l->elements * 4;
	int n = (int)l->elements;
	struct vgpu_dim3 grid = { l->elements / BLOCK, 1, 1 }, block = { BLOCK, 1, 1 };
	void *add[] = { &a, &b, &c, &n }, *scan[] = { &s, &out, &sums, &n };

	for (uint32_t i = 0; i < l->launches; i++) {
		TRY(vgpu_launch(l->add, grid, block, 0, l->work, add));
		TRY(vgpu_launch(l->scan, grid, block, BLOCK * 4, l->work, scan));
	}
	return 0;
}

static int download(struct load *l, struct lane *lane)
{
	TRY(vgpu_stream_wait_event(l->session, l->copy, lane->computed));
	TRY(vgpu_copy_d2h_async(l->session, lane->out, lane->dev_out, out_bytes(l), l->copy));
	TRY(vgpu_event_record(lane->done, l->copy));
	return 0;
}

static int submit(struct load *l, struct lane *lane, struct lane *before)
{
	int rc;

	fill(l, lane);
	TRY(vgpu_copy_h2d_async(l->session, lane->dev_in, lane->in, in_bytes(l), l->copy));
	TRY(vgpu_event_record(lane->uploaded, l->copy));
	TRY(vgpu_stream_wait_event(l->session, l->work, lane->uploaded));
	rc = launch(l, lane);
	if (rc)
		return rc;
	TRY(vgpu_event_record(lane->computed, l->work));
	TRY(vgpu_copy_h2d_async(l->session, lane->dev_bulk, lane->bulk, l->bulk, l->copy));
	TRY(vgpu_copy_d2h_async(l->session, (char *)lane->bulk + l->bulk, lane->dev_bulk, l->bulk, l->copy));
	return before ? download(l, before) : 0;
}

static int wait_and_verify(struct load *l, struct lane *lane)
{
	int rc;

	l->in_flight += vgpu_stream_query(l->work) == 600 && vgpu_stream_query(l->copy) == 600;
	TRY(vgpu_event_synchronize(lane->done));
	rc = verify(l, lane);
	l->rounds += !rc;
	return rc;
}

static void progress(const struct load *l, uint64_t *last)
{
	uint64_t now = now_ms();

	if (l->rounds > 1 && now - *last < LINE_MS)
		return;
	*last = now;
	printf("round %u ok, %u in flight\n", l->rounds, l->in_flight);
	fflush(stdout);
}

static int work(struct load *l, uint32_t rounds)
{
	uint64_t last = 0;
	uint32_t r;
	int rc = 0;

	for (r = 0; !stop && (!rounds || r < rounds) && !rc; r++) {
		struct lane *lane = &l->lane[r % LANES];

		if (l->pause_ms)
			nanosleep(&(struct timespec){ l->pause_ms / 1000, l->pause_ms % 1000 * 1000000L }, NULL);
		if (r >= LANES) {
			rc = wait_and_verify(l, lane);
			progress(l, &last);
		}
		lane->round = r;
		if (!rc)
			rc = submit(l, lane, r ? &l->lane[(r - 1) % LANES] : NULL);
	}
	if (!rc && r)
		rc = download(l, &l->lane[(r - 1) % LANES]);
	for (uint32_t i = r > LANES ? r - LANES : 0; i < r && !rc; i++)
		rc = wait_and_verify(l, &l->lane[i % LANES]);
	return rc;
}

/* ---- beginnings ---- */

/* PTX with a comment behind it that makes it `bytes` long. */
static char *read_image(const char *folder, const char *file, size_t bytes, size_t *ret_bytes)
{
	char path[512], *image;
	size_t got;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	f = fopen(path, "rb");
	image = calloc(1, bytes + 2);
	if (!f || !image) {
		printf("error: %s: %s\n", path, strerror(errno));
		if (f)
			fclose(f);
		free(image);
		return NULL;
	}
	got = fread(image, 1, bytes, f);
	fclose(f);
	*ret_bytes = got + 1;
	return image;
}

static int load_function(struct load *l, const char *folder, const char *file, const char *name,
			 struct vgpu_function **ret)
{
	struct vgpu_module *module;
	size_t bytes;
	char *image = read_image(folder, file, 1 << 20, &bytes);
	vgpu_status status;

	if (!image)
		return 1;
	status = vgpu_module_load(l->session, image, bytes, NULL, 0, &module);
	free(image);
	if (status)
		return failed(status);
	TRY(vgpu_function_get(module, name, ret));
	return 0;
}

static int prepare_lane(struct load *l, struct lane *lane)
{
	TRY(vgpu_host_malloc(l->session, in_bytes(l), &lane->in));
	TRY(vgpu_host_malloc(l->session, out_bytes(l), &lane->out));
	TRY(vgpu_host_malloc(l->session, 2 * l->bulk, &lane->bulk));
	TRY(vgpu_malloc(l->session, in_bytes(l), &lane->dev_in));
	TRY(vgpu_malloc(l->session, out_bytes(l), &lane->dev_out));
	TRY(vgpu_malloc(l->session, l->bulk, &lane->dev_bulk));
	TRY(vgpu_event_create(l->session, VGPU_EVENT_DISABLE_TIMING, &lane->uploaded));
	TRY(vgpu_event_create(l->session, VGPU_EVENT_DISABLE_TIMING, &lane->computed));
	TRY(vgpu_event_create(l->session, VGPU_EVENT_DISABLE_TIMING, &lane->done));
	return 0;
}

static int prepare(struct load *l, const char *folder)
{
	int rc;

	TRY(vgpu_stream_create(l->session, VGPU_STREAM_NON_BLOCKING, 0, &l->copy));
	TRY(vgpu_stream_create(l->session, VGPU_STREAM_NON_BLOCKING, 0, &l->work));
	rc = load_function(l, folder, "vector.ptx", "vector_add", &l->add);
	if (!rc)
		rc = load_function(l, folder, "reduce.ptx", "scan_block", &l->scan);
	for (int i = 0; i < LANES && !rc; i++)
		rc = prepare_lane(l, &l->lane[i]);
	return rc;
}

static int grow(struct load *l, const char *folder, size_t bytes)
{
	size_t used;
	char *image = read_image(folder, "vector.ptx", bytes, &used);

	if (!image)
		return 1;
	if (used < bytes - 3) {
		memset(image + used - 1, 'x', bytes - used);
		memcpy(image + used - 1, "\n//", 3);
		image[bytes - 1] = 0;
	}
	for (unsigned int i = 1;; i++) {
		struct vgpu_module *module;
		vgpu_status status = vgpu_module_load(l->session, image, bytes, NULL, 0, &module);

		if (status) {
			free(image);
			return failed(status);
		}
		printf("module %u\n", i);
		fflush(stdout);
	}
}

static int number(const char *text, unsigned long long least, unsigned long long most, unsigned long long *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, 10);
	if (!errno && end != text && !*end && *ret >= least && *ret <= most)
		return 0;
	fprintf(stderr, "%s: not a number from %llu to %llu\n", text, least, most);
	return -EINVAL;
}

int main(int argc, char **argv)
{
	struct vgpu_open_options options = { .size = sizeof(options) };
	unsigned long long rounds = 0, elements = 16384, bulk = 2 << 20, pause = 0, growth = 0;
	unsigned long long launches = 6;
	const char *kernels = "tests/kernels";
	static struct load l;
	vgpu_status status;
	int rc = 0;

	for (int i = 1; i < argc; i += 2) {
		const char *o = argv[i], *v = argv[i + 1];

		if (!v)
			return fprintf(stderr, "%s: needs a value\n", o), 2;
		if (!strcmp(o, "--transport"))
			options.transport = v;
		else if (!strcmp(o, "--kernels"))
			kernels = v;
		else if (!strcmp(o, "--rounds"))
			rc = number(v, 1, UINT32_MAX, &rounds);
		else if (!strcmp(o, "--elements"))
			rc = number(v, BLOCK, 1 << 24, &elements);
		else if (!strcmp(o, "--bulk"))
			rc = number(v, 4, 1 << 28, &bulk);
		else if (!strcmp(o, "--pause-ms"))
			rc = number(v, 0, 10000, &pause);
		else if (!strcmp(o, "--launches"))
			rc = number(v, 1, 1 << 20, &launches);
		else if (!strcmp(o, "--grow"))
			rc = number(v, 4096, 512 << 20, &growth);
		else
			rc = fprintf(stderr, "%s: unknown option\n", o);
		if (rc)
			return 2;
	}
	signal(SIGTERM, on_term);
	status = vgpu_session_open(&options, &l.session);
	if (status)
		return failed(status);
	printf("open\n");
	fflush(stdout);
	l.elements = (uint32_t)elements / BLOCK * BLOCK;
	l.bulk = bulk / 4 * 4;
	l.pause_ms = (uint32_t)pause;
	l.launches = (uint32_t)launches;
	if (growth)
		rc = grow(&l, kernels, growth);
	else if (!(rc = prepare(&l, kernels)))
		rc = work(&l, (uint32_t)rounds);
	status = vgpu_session_close(l.session);
	if (!rc && status)
		rc = failed(status);
	if (!rc)
		printf("end %u\n", l.rounds);
	return rc;
}
