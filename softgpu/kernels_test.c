/* SPDX-License-Identifier: MIT */
/* The test kernels against the same work done by the CPU. */
#include <math.h>

#include "softgpu/testlib.h"

static CUdeviceptr zeros(size_t size)
{
	return softgpu_test_upload(NULL, size);
}

static float *random_floats(size_t count, uint32_t seed)
{
	float *numbers = malloc(count * sizeof(*numbers));

	assert_non_null(numbers);
	for (size_t i = 0; i < count; i++)
		numbers[i] = softgpu_test_random_float(&seed);
	return numbers;
}

static void run_vector_add(const char *image)
{
	enum { N = 10007 };
	CUmodule module = softgpu_test_module(image);
	CUfunction function = softgpu_test_function(module, "vector_add");
	float *a = random_floats(N, 1), *b = random_floats(N, 2), c[N];
	CUdeviceptr da = softgpu_test_upload(a, sizeof(c)), db = softgpu_test_upload(b, sizeof(c)), dc = zeros(sizeof(c));
	int n = N;

	OK(RUN(function, (N + 255) / 256, 256, 0, &da, &db, &dc, &n));
	softgpu_test_download(c, dc, sizeof(c));
	for (int i = 0; i < N; i++)
		assert_true(c[i] == a[i] + b[i]);
	OK(cu.cuModuleUnload(module));
	OK(cu.cuMemFree(da));
	OK(cu.cuMemFree(db));
	OK(cu.cuMemFree(dc));
	free(a);
	free(b);
}

static void test_vector_add(void **state)
{
	run_vector_add("vector.ptx");
}

/* The same kernel in each container that nvcc makes. */
static void test_fat_binaries(void **state)
{
	run_vector_add("vector-plain.fatbin");
	run_vector_add("vector-lz4.fatbin");
	run_vector_add("vector-zstd.fatbin");
	run_vector_add("vector-12.ptx");
}

static void test_saxpy(void **state)
{
	enum { N = 5000 };
	CUfunction function = softgpu_test_function(softgpu_test_module("vector.ptx"), "saxpy");
	float *x = random_floats(N, 3), *y = random_floats(N, 4), r[N], a = 2.5f;
	CUdeviceptr dx = softgpu_test_upload(x, sizeof(r)), dy = softgpu_test_upload(y, sizeof(r));
	int n = N;

	OK(RUN(function, 7, 128, 0, &a, &dx, &dy, &n));
	softgpu_test_download(r, dy, sizeof(r));
	for (int i = 0; i < N; i++)
		assert_true(r[i] == fmaf(a, x[i], y[i]));
	free(x);
	free(y);
}

static void test_matmul(void **state)
{
	CUfunction function = softgpu_test_function(softgpu_test_module("matmul.ptx"), "matmul_tiled");

	for (int n = 16; n <= 83; n += 67) {
		size_t size = (size_t)n * n * sizeof(float);
		float *a = random_floats((size_t)n * n, 5), *b = random_floats((size_t)n * n, 6), *c = malloc(size);
		CUdeviceptr da = softgpu_test_upload(a, size), db = softgpu_test_upload(b, size), dc = zeros(size);
		unsigned int tiles = (unsigned int)(n + 15) / 16;

		OK(cu.cuLaunchKernel(function, tiles, tiles, 1, 16, 16, 1, 0, NULL, (void *[]){ &da, &db, &dc, &n },
				     NULL));
		softgpu_test_download(c, dc, size);
		for (int row = 0; row < n; row++) {
			for (int col = 0; col < n; col++) {
				float sum = 0;

				for (int k = 0; k < n; k++)
					sum = fmaf(a[row * n + k], b[k * n + col], sum);
				assert_true(c[row * n + col] == sum);
			}
		}
		free(a);
		free(b);
		free(c);
	}
}

static void test_reduce(void **state)
{
	enum { N = 100003, BLOCKS = 9 };
	CUfunction function = softgpu_test_function(softgpu_test_module("reduce.ptx"), "reduce_sum");
	float *in = random_floats(N, 7), out[BLOCKS];
	CUdeviceptr din = softgpu_test_upload(in, N * sizeof(float)), dout = zeros(sizeof(out));
	double sum = 0, expected = 0;
	int n = N;

	OK(RUN(function, BLOCKS, 256, 0, &din, &dout, &n));
	softgpu_test_download(out, dout, sizeof(out));
	for (int i = 0; i < N; i++)
		expected += in[i];
	for (int i = 0; i < BLOCKS; i++)
		sum += out[i];
	assert_true(fabs(sum - expected) < 1e-2);
	free(in);
}

static void test_histogram(void **state)
{
	enum { N = 77777 };
	CUfunction function = softgpu_test_function(softgpu_test_module("reduce.ptx"), "histogram256");
	static unsigned char in[N];
	unsigned int bins[256], expected[256] = { 0 };
	uint32_t seed = 8;
	CUdeviceptr din, dbins = zeros(sizeof(bins));
	int n = N;

	for (int i = 0; i < N; i++) {
		in[i] = (unsigned char)(softgpu_test_random(&seed) & softgpu_test_random(&seed));
		expected[in[i]]++;
	}
	din = softgpu_test_upload(in, N);
	OK(RUN(function, 5, 192, 0, &din, &dbins, &n));
	softgpu_test_download(bins, dbins, sizeof(bins));
	assert_memory_equal(bins, expected, sizeof(bins));
}

static void test_scan(void **state)
{
	enum { N = 5000, THREADS = 512, BLOCKS = (N + THREADS - 1) / THREADS };
	CUfunction function = softgpu_test_function(softgpu_test_module("reduce.ptx"), "scan_block");
	static int in[N], out[N];
	int sums[BLOCKS], n = N, sum = 0;
	CUdeviceptr din, dout = zeros(sizeof(out)), dsums = zeros(sizeof(sums));

	for (int i = 0; i < N; i++)
		in[i] = i * 7 % 13 - 5;
	din = softgpu_test_upload(in, sizeof(in));
	OK(RUN(function, BLOCKS, THREADS, THREADS * 4, &din, &dout, &dsums, &n));
	softgpu_test_download(out, dout, sizeof(out));
	softgpu_test_download(sums, dsums, sizeof(sums));
	for (int i = 0; i < N; i++) {
		sum = i % THREADS ? sum + in[i] : in[i];
		assert_int_equal(out[i], sum);
		if (i % THREADS == THREADS - 1 || i == N - 1)
			assert_int_equal(sums[i / THREADS], sum);
	}
}

static void test_mandelbrot(void **state)
{
	enum { W = 70, H = 45 };
	CUfunction function = softgpu_test_function(softgpu_test_module("math.ptx"), "mandelbrot");
	float x0 = -2, y0 = -1.2f, dx = 2.8f / W, dy = 2.4f / H;
	int w = W, h = H, maxit = 200;
	static unsigned int out[W * H];
	CUdeviceptr dout = zeros(sizeof(out));

	OK(cu.cuLaunchKernel(function, (W + 15) / 16, (H + 7) / 8, 1, 16, 8, 1, 0, NULL,
			     (void *[]){ &dout, &w, &h, &x0, &y0, &dx, &dy, &maxit }, NULL));
	softgpu_test_download(out, dout, sizeof(out));
	for (int py = 0; py < H; py++) {
		for (int px = 0; px < W; px++) {
			float cx = fmaf((float)px, dx, x0), cy = fmaf((float)py, dy, y0), x = 0, y = 0;
			int it = 0;

			while (it < maxit && fmaf(x, x, y * y) <= 4) {
				float t = fmaf(x, x, -(y * y)) + cx;

				y = fmaf(2 * x, y, cy);
				x = t;
				it++;
			}
			/* The compiler may fuse differently: the border may move by a step, the inside may not. */
			if (it == maxit || it < 8)
				assert_in_range(out[py * W + px], it - 1, it + 1);
		}
	}
}

static void test_softmax(void **state)
{
	enum { ROWS = 5, COLS = 333 };
	CUfunction function = softgpu_test_function(softgpu_test_module("math.ptx"), "softmax_rows");
	float *in = random_floats(ROWS * COLS, 9), out[ROWS * COLS];
	CUdeviceptr din = softgpu_test_upload(in, sizeof(out)), dout = zeros(sizeof(out));
	int rows = ROWS, cols = COLS;

	OK(RUN(function, ROWS + 1, 128, 0, &din, &dout, &rows, &cols));
	softgpu_test_download(out, dout, sizeof(out));
	for (int row = 0; row < ROWS; row++) {
		double sum = 0;

		for (int i = 0; i < COLS; i++)
			sum += exp(in[row * COLS + i]);
		for (int i = 0; i < COLS; i++)
			assert_true(fabs(out[row * COLS + i] - exp(in[row * COLS + i]) / sum) < 1e-6);
	}
	free(in);
}

static void test_nbody(void **state)
{
	enum { N = 300 };
	CUfunction function = softgpu_test_function(softgpu_test_module("math.ptx"), "nbody_step");
	float *pos = random_floats(N * 4, 10), *vel = random_floats(N * 4, 11), newpos[N * 4], newvel[N * 4], dt = 0.01f;
	CUdeviceptr dpos, dnew = zeros(sizeof(newpos)), dvel;
	int n = N;

	for (int i = 0; i < N; i++)
		pos[i * 4 + 3] = fabsf(pos[i * 4 + 3]);
	dpos = softgpu_test_upload(pos, sizeof(newpos));
	dvel = softgpu_test_upload(vel, sizeof(newvel));
	OK(RUN(function, (N + 127) / 128, 128, 0, &dpos, &dnew, &dvel, &dt, &n));
	softgpu_test_download(newpos, dnew, sizeof(newpos));
	softgpu_test_download(newvel, dvel, sizeof(newvel));
	for (int i = 0; i < N; i++) {
		double a[3] = { 0 };

		for (int k = 0; k < N; k++) {
			double d[3], square = 0.01, s;

			for (int j = 0; j < 3; j++) {
				d[j] = (double)pos[k * 4 + j] - pos[i * 4 + j];
				square += d[j] * d[j];
			}
			s = pos[k * 4 + 3] / (square * sqrt(square));
			for (int j = 0; j < 3; j++)
				a[j] += d[j] * s;
		}
		for (int j = 0; j < 3; j++) {
			double v = vel[i * 4 + j] + a[j] * dt;

			assert_true(fabs(newvel[i * 4 + j] - v) < 1e-3);
			assert_true(fabs(newpos[i * 4 + j] - (pos[i * 4 + j] + v * dt)) < 1e-4);
		}
	}
	free(pos);
	free(vel);
}

static void test_bitonic(void **state)
{
	enum { N = 2048 };
	CUfunction function = softgpu_test_function(softgpu_test_module("reduce.ptx"), "bitonic_step");
	static unsigned int data[N];
	uint64_t before = 0, after = 0;
	uint32_t seed = 12;
	CUdeviceptr ddata;
	int n = N;

	for (int i = 0; i < N; i++)
		before += data[i] = softgpu_test_random(&seed);
	ddata = softgpu_test_upload(data, sizeof(data));
	for (int k = 2; k <= N; k *= 2)
		for (int j = k / 2; j > 0; j /= 2)
			OK(cu.cuLaunchKernel(function, N / 256, 1, 1, 256, 1, 1, 0, NULL,
					     (void *[]){ &ddata, &n, &j, &k }, NULL));
	softgpu_test_download(data, ddata, sizeof(data));
	for (int i = 0; i < N; i++) {
		after += data[i];
		assert_true(!i || data[i - 1] <= data[i]);
	}
	assert_true(before == after);
}

/* Parameters as one buffer, and what the driver tells of them. */
static void test_parameters(void **state)
{
	CUfunction function = softgpu_test_function(softgpu_test_module("vector.ptx"), "saxpy");
	struct {
		float a;
		CUdeviceptr x, y;
		int n;
	} params = { .a = 3, .n = 2 };
	const size_t offsets[] = { 0, 8, 16, 24 }, sizes[] = { 4, 8, 8, 4 };
	size_t size = sizeof(params), offset, bytes;
	void *extra[] = { CU_LAUNCH_PARAM_BUFFER_POINTER, &params, CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
			  CU_LAUNCH_PARAM_END };
	float x[2] = { 1, 2 }, y[2] = { 10, 20 };

	for (size_t i = 0; i < 4; i++) {
		OK(cu.cuFuncGetParamInfo(function, i, &offset, &bytes));
		assert_int_equal(offset, offsets[i]);
		assert_int_equal(bytes, sizes[i]);
	}
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuFuncGetParamInfo(function, 4, &offset, &bytes));
	params.x = softgpu_test_upload(x, sizeof(x));
	params.y = softgpu_test_upload(y, sizeof(y));
	OK(cu.cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, NULL, NULL, extra));
	softgpu_test_download(y, params.y, sizeof(y));
	assert_true(y[0] == 13 && y[1] == 26);
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, NULL, NULL, NULL));
	size = 8;
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, NULL, NULL, extra));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vector_add), cmocka_unit_test(test_fat_binaries),
		cmocka_unit_test(test_saxpy),	   cmocka_unit_test(test_matmul),
		cmocka_unit_test(test_reduce),	   cmocka_unit_test(test_histogram),
		cmocka_unit_test(test_scan),	   cmocka_unit_test(test_mandelbrot),
		cmocka_unit_test(test_softmax),	   cmocka_unit_test(test_nbody),
		cmocka_unit_test(test_bitonic),	   cmocka_unit_test(test_parameters),
	};

	return cmocka_run_group_tests(tests, softgpu_test_setup, softgpu_test_teardown);
}
