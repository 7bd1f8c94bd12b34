// SPDX-License-Identifier: MIT
/*
 * Runs the kernels of tests/kernels through libvgpu and checks every result against the CPU.
 * `make demo` runs it in each VM, the tests run it everywhere.
 *
 *   vgpu-kernels [--kernels DIR] [--transport T] [--scale N] [--rounds N] [--pinned] [NAME ...]
 *
 * --scale multiplies the problem sizes (default 1: about a second on the software GPU). Prints one
 * line a kernel: name, launches, bytes copied, milliseconds, and "ok" or what is wrong. Exit code
 * 0: all right, 1: a wrong result or an error, 2: usage.
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/libvgpu/vgpu.h"

struct run {
	struct vgpu_session *session;
	const char *kernels;
	unsigned int scale;
	bool pinned;
	unsigned int launches;
	uint64_t bytes;
	unsigned int seed;
	char why[512];
};

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int fail(struct run *r, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(r->why, sizeof(r->why), format, ap);
	va_end(ap);
	return -1;
}

#define TRY(r, call) \
	do { \
		vgpu_status status_ = (call); \
		if (status_) \
			return fail(r, "%s: %s: %s", #call, vgpu_status_name(status_), \
				    vgpu_session_error_text()); \
	} while (0)

static float random_float(struct run *r)
{
	return (float)(rand_r(&r->seed) % 20001) / 10000.0f - 1.0f;
}

/* Memory on both sides of one array. Host memory is pinned or ordinary, as asked for. */
struct array {
	void *host;
	uint64_t device;
	size_t bytes;
	bool pinned;
};

static int array_new(struct run *r, size_t bytes, struct array *ret)
{
	ret->bytes = bytes;
	ret->pinned = r->pinned;
	if (r->pinned)
		TRY(r, vgpu_host_malloc(r->session, bytes, &ret->host));
	else
		ret->host = malloc(bytes);
	if (!ret->host)
		return fail(r, "%zu bytes of host memory: %s", bytes, strerror(errno));
	TRY(r, vgpu_malloc(r->session, bytes, &ret->device));
	return 0;
}

static void array_free(struct run *r, struct array *a)
{
	if (a->device)
		vgpu_free(r->session, a->device);
	if (a->pinned)
		vgpu_host_free(r->session, a->host);
	else
		free(a->host);
	memset(a, 0, sizeof(*a));
}

static int up(struct run *r, struct array *a)
{
	r->bytes += a->bytes;
	TRY(r, vgpu_copy_h2d(r->session, a->device, a->host, a->bytes));
	return 0;
}

static int down(struct run *r, struct array *a)
{
	r->bytes += a->bytes;
	TRY(r, vgpu_copy_d2h(r->session, a->host, a->device, a->bytes));
	return 0;
}

static int load(struct run *r, const char *file, const char *name, struct vgpu_module **ret_module,
		struct vgpu_function **ret_function)
{
	char path[512];
	long size;
	FILE *f;
	char *image;

	snprintf(path, sizeof(path), "%s/%s", r->kernels, file);
	f = fopen(path, "rb");
	if (!f)
		return fail(r, "%s: %s", path, strerror(errno));
	fseek(f, 0, SEEK_END);
	size = ftell(f);
	rewind(f);
	image = calloc(1, (size_t)size + 1);
	if (!image || fread(image, 1, (size_t)size, f) != (size_t)size) {
		fclose(f);
		free(image);
		return fail(r, "%s: cannot be read", path);
	}
	fclose(f);

	vgpu_status status = vgpu_module_load(r->session, image, (size_t)size + 1, NULL, 0, ret_module);

	free(image);
	if (status)
		return fail(r, "module %s: %s: %s", file, vgpu_status_name(status),
			    vgpu_session_error_text());
	TRY(r, vgpu_function_get(*ret_module, name, ret_function));
	return 0;
}

static int launch(struct run *r, struct vgpu_function *f, struct vgpu_dim3 grid, struct vgpu_dim3 block,
		  unsigned int shared, void **params)
{
	r->launches++;
	TRY(r, vgpu_launch(f, grid, block, shared, NULL, params));
	return 0;
}

static struct vgpu_dim3 d1(unsigned int x)
{
	return (struct vgpu_dim3){ x, 1, 1 };
}

static unsigned int blocks(int n, int per)
{
	return (unsigned int)((n + per - 1) / per);
}

enum { ARRAYS = 4 };

/* Floats differ by the order of additions and by approximations that CUDA documents. */
static int near(struct run *r, const char *what, size_t i, double got, double want, double tolerance)
{
	if (fabs(got - want) <= tolerance * (1 + fabs(want)))
		return 0;
	return fail(r, "%s[%zu] is %.9g, the CPU says %.9g", what, i, got, want);
}

static int vector_add(struct run *r, struct vgpu_function *f, struct array a[ARRAYS])
{
	int n = 100003 * (int)r->scale;
	void *params[] = { &a[0].device, &a[1].device, &a[2].device, &n };

	for (int k = 0; k < 3; k++)
		if (array_new(r, (size_t)n * 4, &a[k]))
			return -1;
	float *x = a[0].host, *y = a[1].host, *z = a[2].host;

	for (int i = 0; i < n; i++) {
		x[i] = random_float(r);
		y[i] = random_float(r);
	}
	if (up(r, &a[0]) || up(r, &a[1]) || launch(r, f, d1(blocks(n, 256)), d1(256), 0, params) || down(r, &a[2]))
		return -1;
	for (int i = 0; i < n; i++)
		if (z[i] != x[i] + y[i])
			return fail(r, "c[%d] is %.9g, the CPU says %.9g", i, z[i], x[i] + y[i]);
	return 0;
}

static int saxpy(struct run *r, struct vgpu_function *f, struct array a[ARRAYS])
{
	int n = 80001 * (int)r->scale;
	float factor = 1.75f, *y0;
	void *params[] = { &factor, &a[0].device, &a[1].device, &n };

	if (array_new(r, (size_t)n * 4, &a[0]) || array_new(r, (size_t)n * 4, &a[1]) ||
	    array_new(r, (size_t)n * 4, &a[2]))
		return -1;
	float *x = a[0].host, *y = a[1].host;

	y0 = a[2].host;
	for (int i = 0; i < n; i++) {
		x[i] = random_float(r);
		y0[i] = y[i] = random_float(r);
	}
	if (up(r, &a[0]) || up(r, &a[1]) || launch(r, f, d1(64), d1(128), 0, params) || down(r, &a[1]))
		return -1;
	for (int i = 0; i < n; i++)
		if (near(r, "y", (size_t)i, y[i], fmaf(factor, x[i], y0[i]), 1e-6))
			return -1;
	return 0;
}

static int matmul(struct run *r, struct vgpu_function *f, struct array a[ARRAYS])
{
	int n = 70 + 26 * (int)r->scale;
	void *params[] = { &a[0].device, &a[1].device, &a[2].device, &n };
	struct vgpu_dim3 grid = { blocks(n, 16), blocks(n, 16), 1 }, block = { 16, 16, 1 };

	for (int k = 0; k < 3; k++)
		if (array_new(r, (size_t)n * (size_t)n * 4, &a[k]))
			return -1;
	float *x = a[0].host, *y = a[1].host, *z = a[2].host;

	for (int i = 0; i < n * n; i++) {
		x[i] = random_float(r);
		y[i] = random_float(r);
	}
	if (up(r, &a[0]) || up(r, &a[1]) || launch(r, f, grid, block, 0, params) || down(r, &a[2]))
		return -1;
	for (int i = 0; i < n; i++)
		for (int j = 0; j < n; j++) {
			double sum = 0;

			for (int k = 0; k < n; k++)
				sum += (double)x[i * n + k] * y[k * n + j];
			if (near(r, "c", (size_t)(i * n + j), z[i * n + j], sum, 1e-4))
				return -1;
		}
	return 0;
}

static int reduce(struct run *r, struct vgpu_function *f, struct array a[ARRAYS])
{
	int n = 200000 * (int)r->scale;
	unsigned int grid = 40;
	double sum = 0, got = 0;
	void *params[] = { &a[0].device, &a[1].device, &n };

	if (array_new(r, (size_t)n * 4, &a[0]) || array_new(r, grid * 4, &a[1]))
		return -1;
	float *x = a[0].host, *part = a[1].host;

	for (int i = 0; i < n; i++)
		sum += x[i] = random_float(r);
	if (up(r, &a[0]) || launch(r, f, d1(grid), d1(256), 0, params) || down(r, &a[1]))
		return -1;
	for (unsigned int i = 0; i < grid; i++)
		got += part[i];
	return near(r, "sum", 0, got, sum, 1e-3);
}

static int histogram(struct run *r, struct vgpu_function *f, struct array a[ARRAYS])
{
	int n = 300007 * (int)r->scale;
	unsigned int want[256] = { 0 };
	void *params[] = { &a[0].device, &a[1].device, &n };

	if (array_new(r, (size_t)n, &a[0]) || array_new(r, sizeof(want), &a[1]))
		return -1;
	uint8_t *in = a[0].host;

	for (int i = 0; i < n; i++)
		want[in[i] = (uint8_t)(rand_r(&r->seed) >> 4)]++;
	TRY(r, vgpu_memset8(r->session, a[1].device, 0, sizeof(want)));
	if (up(r, &a[0]) || launch(r, f, d1(30), d1(256), 0, params) || down(r, &a[1]))
		return -1;
	return memcmp(a[1].host, want, sizeof(want)) ? fail(r, "the bins are not the CPU's") : 0;
}

static int scan(struct run *r, struct vgpu_function *f, struct array a[ARRAYS])
{
	int n = 40 * 512 * (int)r->scale - 77, sum = 0;
	unsigned int grid = blocks(n, 512);
	void *params[] = { &a[0].device, &a[1].device, &a[2].device, &n };

	if (array_new(r, (size_t)n * 4, &a[0]) || array_new(r, (size_t)n * 4, &a[1]) || array_new(r, grid * 4, &a[2]))
		return -1;
	int *in = a[0].host, *out = a[1].host, *sums = a[2].host;

	for (int i = 0; i < n; i++)
		in[i] = rand_r(&r->seed) % 1000 - 500;
	if (up(r, &a[0]) || launch(r, f, d1(grid), d1(512), 512 * 4, params) || down(r, &a[1]) || down(r, &a[2]))
		return -1;
	for (int i = 0; i < n; i++) {
		sum = i % 512 ? sum + in[i] : in[i];
		if (out[i] != sum)
			return fail(r, "out[%d] is %d, the CPU says %d", i, out[i], sum);
		if ((i % 512 == 511 || i == n - 1) && sums[i / 512] != sum)
			return fail(r, "sums[%d] is %d, the CPU says %d", i / 512, sums[i / 512], sum);
	}
	return 0;
}

static int mandelbrot(struct run *r, struct vgpu_function *f, struct array a[ARRAYS])
{
	int w = 160 * (int)r->scale, h = 100, most = 64, differ = 0;
	float x0 = -2.2f, y0 = -1.2f, dx = 3.2f / (float)w, dy = 0.024f;
	void *params[] = { &a[0].device, &w, &h, &x0, &y0, &dx, &dy, &most };
	struct vgpu_dim3 grid = { blocks(w, 16), blocks(h, 8), 1 }, block = { 16, 8, 1 };

	if (array_new(r, (size_t)w * (size_t)h * 4, &a[0]) || launch(r, f, grid, block, 0, params) || down(r, &a[0]))
		return -1;
	unsigned int *out = a[0].host;

	for (int py = 0; py < h; py++)
		for (int px = 0; px < w; px++) {
			/* nvcc fuses multiplications and additions, as here */
			float cx = fmaf((float)px, dx, x0), cy = fmaf((float)py, dy, y0), x = 0, y = 0;
			int it = 0;

			while (it < most && fmaf(x, x, y * y) <= 4.0f) {
				float t = fmaf(x, x, -(y * y)) + cx;

				y = fmaf(2 * x, y, cy);
				x = t;
				it++;
			}
			differ += out[py * w + px] != (unsigned int)it;
		}
	/* points on the border of the set depend on which operations were fused */
	return differ * 50 > w * h ? fail(r, "%d of %d points differ from the CPU's", differ, w * h) : 0;
}

static int softmax(struct run *r, struct vgpu_function *f, struct array a[ARRAYS])
{
	int rows = 40 * (int)r->scale, cols = 333;
	void *params[] = { &a[0].device, &a[1].device, &rows, &cols };

	if (array_new(r, (size_t)rows * (size_t)cols * 4, &a[0]) || array_new(r, (size_t)rows * (size_t)cols * 4, &a[1]))
		return -1;
	float *in = a[0].host, *out = a[1].host;

	for (int i = 0; i < rows * cols; i++)
		in[i] = 8 * random_float(r);
	if (up(r, &a[0]) || launch(r, f, d1((unsigned int)rows), d1(256), 0, params) || down(r, &a[1]))
		return -1;
	for (int row = 0; row < rows; row++) {
		double most = -1e30, sum = 0;

		for (int i = 0; i < cols; i++)
			most = fmax(most, in[row * cols + i]);
		for (int i = 0; i < cols; i++)
			sum += exp(in[row * cols + i] - most);
		for (int i = 0; i < cols; i++)
			if (near(r, "out", (size_t)(row * cols + i), out[row * cols + i],
				 exp(in[row * cols + i] - most) / sum, 1e-5))
				return -1;
	}
	return 0;
}

static int nbody(struct run *r, struct vgpu_function *f, struct array a[ARRAYS])
{
	int n = 300 * (int)r->scale;
	float dt = 0.01f;
	void *params[] = { &a[0].device, &a[1].device, &a[2].device, &dt, &n };

	for (int k = 0; k < 3; k++)
		if (array_new(r, (size_t)n * 16, &a[k]))
			return -1;
	float(*pos)[4] = a[0].host, (*newpos)[4] = a[1].host, (*vel)[4] = a[2].host;

	for (int i = 0; i < n; i++)
		for (int k = 0; k < 4; k++) {
			pos[i][k] = k == 3 ? fabsf(random_float(r)) : random_float(r);
			vel[i][k] = 0;
		}
	if (up(r, &a[0]) || up(r, &a[2]) || launch(r, f, d1(blocks(n, 256)), d1(256), 0, params) || down(r, &a[1]))
		return -1;
	for (int i = 0; i < n; i++) {
		double acc[3] = { 0 };

		for (int k = 0; k < n; k++) {
			double d[3], q = 0.01;

			for (int c = 0; c < 3; c++) {
				d[c] = (double)pos[k][c] - pos[i][c];
				q += d[c] * d[c];
			}
			for (int c = 0; c < 3; c++)
				acc[c] += d[c] * pos[k][3] / (q * sqrt(q));
		}
		for (int c = 0; c < 3; c++)
			if (near(r, "pos", (size_t)(i * 4 + c), newpos[i][c], pos[i][c] + acc[c] * dt * dt, 1e-4))
				return -1;
	}
	return 0;
}

static int ascending(const void *a, const void *b)
{
	unsigned int x = *(const unsigned int *)a, y = *(const unsigned int *)b;

	return x < y ? -1 : x > y;
}

static int bitonic(struct run *r, struct vgpu_function *f, struct array a[ARRAYS])
{
	int n = 4096, j, k;
	void *params[] = { &a[0].device, &n, &j, &k };

	while (n < 4096 * (int)r->scale)
		n *= 2;
	if (array_new(r, (size_t)n * 4, &a[0]) || array_new(r, (size_t)n * 4, &a[1]))
		return -1;
	unsigned int *data = a[0].host, *want = a[1].host;

	for (int i = 0; i < n; i++)
		want[i] = data[i] = (unsigned int)rand_r(&r->seed);
	qsort(want, (size_t)n, 4, ascending);
	if (up(r, &a[0]))
		return -1;
	for (k = 2; k <= n; k *= 2)
		for (j = k / 2; j > 0; j /= 2)
			if (launch(r, f, d1(blocks(n, 256)), d1(256), 0, params))
				return -1;
	if (down(r, &a[0]))
		return -1;
	return memcmp(data, want, (size_t)n * 4) ? fail(r, "the numbers are not sorted as on the CPU") : 0;
}

static const struct test {
	const char *name, *file;
	int (*run)(struct run *r, struct vgpu_function *f, struct array a[ARRAYS]);
} tests[] = {
	{ "vector_add", "vector.ptx", vector_add },
	{ "saxpy", "vector.ptx", saxpy },
	{ "matmul_tiled", "matmul.ptx", matmul },
	{ "reduce_sum", "reduce.ptx", reduce },
	{ "histogram256", "reduce.ptx", histogram },
	{ "scan_block", "reduce.ptx", scan },
	{ "mandelbrot", "math.ptx", mandelbrot },
	{ "softmax_rows", "math.ptx", softmax },
	{ "nbody_step", "math.ptx", nbody },
	{ "bitonic_step", "reduce.ptx", bitonic },
};

static int run_one(struct run *r, const struct test *t)
{
	struct array arrays[ARRAYS] = { 0 };
	struct vgpu_function *function = NULL;
	struct vgpu_module *module = NULL;
	double start = now_ms();
	int rc;

	r->launches = 0;
	r->bytes = 0;
	rc = load(r, t->file, t->name, &module, &function);
	if (!rc)
		rc = t->run(r, function, arrays);
	for (int i = 0; i < ARRAYS; i++)
		array_free(r, &arrays[i]);
	if (module)
		vgpu_module_unload(module);
	printf("%-14s %5u launches %10llu bytes %9.1f ms  %s\n", t->name, r->launches,
	       (unsigned long long)r->bytes, now_ms() - start, rc ? r->why : "ok");
	fflush(stdout);
	return rc;
}

static bool wanted(const char *name, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (!strcmp(*names, name))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	struct run r = { .kernels = "tests/kernels", .scale = 1, .seed = 1 };
	struct vgpu_open_options options = { .size = sizeof(options) };
	unsigned int rounds = 1, failed = 0, passed = 0;
	vgpu_status status;
	int i;

	for (i = 1; i < argc && !strncmp(argv[i], "--", 2); i++) {
		if (!strcmp(argv[i], "--pinned"))
			r.pinned = true;
		else if (i + 1 == argc)
			return fprintf(stderr, "%s: needs a value, or is unknown\n", argv[i]), 2;
		else if (!strcmp(argv[i], "--kernels"))
			r.kernels = argv[++i];
		else if (!strcmp(argv[i], "--transport"))
			options.transport = argv[++i];
		else if (!strcmp(argv[i], "--scale"))
			r.scale = (unsigned int)atoi(argv[++i]);
		else if (!strcmp(argv[i], "--rounds"))
			rounds = (unsigned int)atoi(argv[++i]);
		else
			return fprintf(stderr, "%s: unknown option\n", argv[i]), 2;
	}
	status = vgpu_session_open(&options, &r.session);
	if (status) {
		printf("no session: %s: %s\n", vgpu_status_name(status), vgpu_session_error_text());
		return 1;
	}
	for (unsigned int round = 0; round < rounds; round++)
		for (size_t t = 0; t < sizeof(tests) / sizeof(tests[0]); t++)
			if (wanted(tests[t].name, argv + i)) {
				if (run_one(&r, &tests[t]))
					failed++;
				else
					passed++;
			}
	vgpu_session_close(r.session);
	printf("%u passed, %u failed\n", passed, failed);
	return failed || !passed;
}
