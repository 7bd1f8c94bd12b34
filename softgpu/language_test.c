/* SPDX-License-Identifier: MIT */
/* What ordinary kernels seldom need, kernel by kernel of tests/kernels/language.cu, against the CPU. */
#include <math.h>

#include "softgpu/testlib.h"

static CUmodule module;

static CUfunction function(const char *name)
{
	return softgpu_test_function(module, name);
}

static int setup(void **state)
{
	int error = softgpu_test_setup(state);

	if (!error)
		module = softgpu_test_module("language-zstd.fatbin");
	return error;
}

static CUdeviceptr zeros(size_t size)
{
	return softgpu_test_upload(NULL, size);
}

static void test_module_data(void **state)
{
	static const float weights[8] = { 0.5f, -1.25f, 2, 4, 8, -16, 32, 0.015625f };
	enum { N = 100 };
	CUdeviceptr counter, din, dout = zeros(N * 4), device_weights;
	unsigned long long count;
	float in[N], out[N], back[8];
	int n = N;
	size_t size;

	for (int i = 0; i < N; i++)
		in[i] = (float)i - 50;
	din = softgpu_test_upload(in, sizeof(in));
	OK(cu.cuModuleGetGlobal(&counter, &size, module, "counter"));
	assert_int_equal(size, 8);
	OK(cu.cuModuleGetGlobal(&device_weights, &size, module, "weights"));
	assert_int_equal(size, 32);
	softgpu_test_download(back, device_weights, sizeof(back));
	assert_memory_equal(back, weights, sizeof(back));
	OK(RUN(function("module_data"), 1, 128, 0, &din, &dout, &n));
	softgpu_test_download(out, dout, sizeof(out));
	softgpu_test_download(&count, counter, sizeof(count));
	assert_true(count == 7 + ((unsigned long long)N * (N - 1) / 2 << 20));
	for (int i = 0; i < N; i++)
		assert_true(out[i] == fmaf(in[i], weights[i & 7], i & 1 ? 1 : 4));
	IS(CUDA_ERROR_NOT_FOUND, cu.cuModuleGetGlobal(&counter, &size, module, "no_such"));
}

/* The nearest number with that many fraction bits, by another way than the interpreter's: float arithmetic on bits. */
static uint16_t reference_bf16(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	if (isnan(value))
		return 0x7fff;
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float half_to_float(uint16_t half)
{
	int exponent = half >> 10 & 31, fraction = half & 1023;
	float value;

	if (exponent == 31)
		value = fraction ? NAN : INFINITY;
	else
		value = exponent ? ldexpf((float)(fraction + 1024), exponent - 25) : ldexpf((float)fraction, -24);
	return half & 0x8000 ? -value : value;
}

/* Of all halves the nearest, ties to even: searched for. */
static uint16_t reference_half(float value)
{
	uint16_t best = 0;
	double distance = INFINITY;

	if (isnan(value))
		return 0x7fff;
	for (uint32_t h = 0; h < 0x7c00; h++) {
		double d = fabs(half_to_float((uint16_t)h) - fabs((double)value));

		if (d < distance || (d == distance && !(h & 1))) {
			distance = d;
			best = (uint16_t)h;
		}
	}
	if (fabs((double)value) >= 65520)
		best = 0x7c00;
	return signbit(value) ? best | 0x8000 : best;
}

static void test_half_convert(void **state)
{
	static const float special[] = { 0.0f,	    -0.0f,	INFINITY,  -INFINITY,	  65504,     65519.99f, 65520,	 1e30f,
					 6.1e-5f,   5.96e-8f,	2.98e-8f,  2.99e-8f,	  1e-30f,    1.0f,	1.0005f, -2.5f,
					 1.00048828125f, 1.00146484375f, 3.3895e38f, 1e-40f, 0.333333f };
	enum { N = 200, SPECIAL = sizeof(special) / sizeof(special[0]) };
	CUdeviceptr din, dh = zeros(N * 2), db = zeros(N * 2), dback = zeros(N * 8);
	float in[N], back[2 * N];
	uint16_t h[N], b[N];
	uint32_t seed = 3;
	int n = N;

	for (int i = 0; i < N; i++)
		in[i] = i < (int)SPECIAL ? special[i] :
				      ldexpf(softgpu_test_random_float(&seed), (int)(softgpu_test_random(&seed) % 40) - 25);
	in[N - 1] = NAN;
	din = softgpu_test_upload(in, sizeof(in));
	OK(RUN(function("half_convert"), 1, 256, 0, &din, &dh, &db, &dback, &n));
	softgpu_test_download(h, dh, sizeof(h));
	softgpu_test_download(b, db, sizeof(b));
	softgpu_test_download(back, dback, sizeof(back));
	for (int i = 0; i < N; i++) {
		uint32_t wide = (uint32_t)b[i] << 16;
		float from_b;

		memcpy(&from_b, &wide, sizeof(wide));
		assert_int_equal(h[i], reference_half(in[i]));
		assert_int_equal(b[i], reference_bf16(in[i]));
		assert_true(isnan(in[i]) ? isnan(back[2 * i]) : back[2 * i] == half_to_float(h[i]));
		assert_true(isnan(in[i]) ? isnan(back[2 * i + 1]) : back[2 * i + 1] == from_b);
	}
}

static void test_half_arithmetic(void **state)
{
	enum { N = 64 };
	uint16_t a = reference_half(1.7f), x[2 * N], y[2 * N], p[2 * N], q[2 * N], r[2 * N];
	CUdeviceptr dx, dy, dp, dq;
	uint32_t seed = 5;
	int n = N;

	for (int i = 0; i < 2 * N; i++) {
		x[i] = reference_half(softgpu_test_random_float(&seed) * 100);
		y[i] = reference_half(softgpu_test_random_float(&seed) * 100);
		p[i] = reference_bf16(softgpu_test_random_float(&seed) * 100);
		q[i] = reference_bf16(softgpu_test_random_float(&seed) * 100);
	}
	dx = softgpu_test_upload(x, sizeof(x));
	dy = softgpu_test_upload(y, sizeof(y));
	dp = softgpu_test_upload(p, sizeof(p));
	dq = softgpu_test_upload(q, sizeof(q));
	OK(RUN(function("half_axpy"), 1, N, 0, &a, &dx, &dy, &dp, &dq, &n));
	softgpu_test_download(r, dy, sizeof(r));
	for (int i = 0; i < 2 * N; i++) {
		/* 22 bits of product and a sum of close size: exact as a double, then one rounding. */
		double exact = (double)half_to_float(a) * half_to_float(x[i]) + half_to_float(y[i]);

		assert_int_equal(r[i], reference_half((float)exact));
	}
	softgpu_test_download(r, dq, sizeof(r));
	for (int i = 0; i < 2 * N; i++) {
		uint32_t wp = (uint32_t)p[i] << 16, wq = (uint32_t)q[i] << 16, bits;
		float fp, fq, product;

		memcpy(&fp, &wp, 4);
		memcpy(&fq, &wq, 4);
		bits = (uint32_t)reference_bf16(fp * fq) << 16;
		memcpy(&product, &bits, 4);
		assert_int_equal(r[i], reference_bf16(product + fp));
	}
}

static void test_warp(void **state)
{
	enum { N = 100 };
	CUdeviceptr din, dsum = zeros(N * 4), dballot = zeros(N * 4), dscan = zeros(N * 4);
	int in[128] = { 0 }, sum[N], scan[N], n = N;
	unsigned int ballot[N];
	uint32_t seed = 9;

	for (int i = 0; i < N; i++)
		in[i] = (int)(softgpu_test_random(&seed) % 1000) - (i < 32 ? 0 : 500);
	din = softgpu_test_upload(in, N * 4);
	OK(RUN(function("warp_ops"), 2, 64, 0, &din, &dsum, &dballot, &dscan, &n));
	softgpu_test_download(sum, dsum, sizeof(sum));
	softgpu_test_download(ballot, dballot, sizeof(ballot));
	softgpu_test_download(scan, dscan, sizeof(scan));
	for (int i = 0; i < N; i++) {
		int base = i / 32 * 32, total = 0, prefix = 0, any = 0, most = -1000000;
		unsigned int odd = 0, same = 0;

		for (int l = 0; l < 32; l++) {
			int v = in[base + l];

			total += v;
			prefix += base + l <= i ? v : 0;
			any |= v < 0;
			most = v > most ? v : most;
			odd |= (unsigned int)(v & 1) << l;
			same |= (unsigned int)((v & 3) == (in[i] & 3)) << l;
		}
		assert_int_equal(sum[i], total + (any << 20) + (!any << 21) + most);
		assert_int_equal(ballot[i], odd ^ same);
		assert_int_equal(scan[i], prefix);
	}
}

static void test_warp_partial(void **state)
{
	enum { N = 90 };
	CUdeviceptr din, dout = zeros(N * 4);
	int in[N], out[N], n = N;
	uint32_t seed = 10;

	for (int i = 0; i < N; i++)
		in[i] = (int)(softgpu_test_random(&seed) % 1000);
	din = softgpu_test_upload(in, sizeof(in));
	OK(RUN(function("warp_partial"), 1, 96, 0, &din, &dout, &n));
	softgpu_test_download(out, dout, sizeof(out));
	for (int i = 0; i < N; i++) {
		int expected = -1, first = -1, count = 0;

		for (int l = i / 32 * 32; l < i / 32 * 32 + 32 && l < N; l++) {
			if (in[l] & 1) {
				count++;
				first = first < 0 ? in[l] : first;
			}
		}
		if (in[i] & 1)
			expected = count * 100 + first;
		else
			for (int k = 0; k < (in[i] & 7); k++)
				expected += k * in[i];
		assert_int_equal(out[i], expected);
	}
}

static void test_doubles(void **state)
{
	enum { N = 200 };
	CUdeviceptr din, dout = zeros(N * 8);
	double in[N], out[N];
	uint32_t seed = 11;
	int n = N;

	for (int i = 0; i < N; i++)
		in[i] = (double)softgpu_test_random_float(&seed) * 10 + 1e-9 * i;
	din = softgpu_test_upload(in, sizeof(in));
	OK(RUN(function("doubles"), 1, 256, 0, &din, &dout, &n));
	softgpu_test_download(out, dout, sizeof(out));
	for (int i = 0; i < N; i++) {
		double x = in[i];
		double expected = sqrt(fabs(x)) + x / 3.0 + fma(x, x, 1.0) + floor(x) + (double)(float)x + exp(-x * x) +
				  sin(x);

		assert_true(fabs(out[i] - expected) <= fabs(expected) * 1e-13 + 1e-13);
	}
}

static int fibonacci(int n)
{
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static float poly(float x, int kind)
{
	switch (kind) {
	case 0:
		return x;
	case 1:
		return x * x;
	case 2:
		return x * x * x - 2;
	case 3:
		return 1 / x;
	case 4:
		return sqrtf(x);
	case 5:
		return expf(x);
	case 6:
		return x > 1 ? 7 : 9;
	default:
		return -x;
	}
}

static void test_functions(void **state)
{
	enum { N = 70 };
	CUdeviceptr dfib = zeros(N * 4), dout = zeros(N * 4);
	int fib[N], n = N;
	float out[N];

	OK(RUN(function("functions_and_switch"), 2, 48, 0, &dfib, &dout, &n));
	softgpu_test_download(fib, dfib, sizeof(fib));
	softgpu_test_download(out, dout, sizeof(out));
	for (int i = 0; i < N; i++) {
		float call = i % 3 == 0 ? (float)i + 2.5f : i % 3 == 1 ? (float)i - 2.5f : (float)i * 2.5f;
		float expected = poly((float)i + 1.5f, i % 9) + call;

		assert_int_equal(fib[i], fibonacci(i % 13));
		assert_true(fabsf(out[i] - expected) <= fabsf(expected) * 1e-5f);
	}
}

static void test_local_array(void **state)
{
	enum { N = 64 };
	unsigned int in[N], out[N];
	CUdeviceptr din, dout = zeros(N * 4);
	uint32_t seed = 13;
	int n = N;

	for (int i = 0; i < N; i++)
		in[i] = softgpu_test_random(&seed);
	din = softgpu_test_upload(in, sizeof(in));
	OK(RUN(function("local_array"), 1, 64, 0, &din, &dout, &n));
	softgpu_test_download(out, dout, sizeof(out));
	for (int i = 0; i < N; i++) {
		unsigned int a[16], sum = 0;

		for (unsigned int k = 0; k < 16; k++)
			a[k] = in[i] * (k + 1);
		for (unsigned int k = 0; k < 64; k++)
			a[(in[i] >> (k & 7)) & 15] += a[k & 15] ^ k;
		for (int k = 0; k < 16; k++)
			sum = sum * 31 + a[k];
		assert_int_equal(out[i], sum);
	}
}

static void test_struct_param(void **state)
{
	struct {
		int v[10];
		double d;
	} wide = { { 5, 4, 3, 2, 1, 10, 20, 30, 40, 50 }, 0.5 };
	CUdeviceptr dout = zeros(40 * 8);
	double out[40];
	int n = 40;

	OK(RUN(function("struct_param"), 1, 64, 0, &wide, &dout, &n));
	softgpu_test_download(out, dout, sizeof(out));
	for (int i = 0; i < n; i++)
		assert_true(out[i] == wide.v[i % 10] + wide.d * i);
}

static void test_atomics(void **state)
{
	enum { BLOCKS = 3, THREADS = 100, N = BLOCKS * THREADS };
	unsigned long long v[4] = { 1, 0, 0, 5 }, expected_xor = 0;
	int s[4] = { 0, 0, -1, 0 };
	float f = 0;
	double d = 0;
	CUdeviceptr dv = softgpu_test_upload(v, sizeof(v)), df = softgpu_test_upload(&f, sizeof(f));
	CUdeviceptr dd = softgpu_test_upload(&d, sizeof(d)), ds = softgpu_test_upload(s, sizeof(s));

	OK(RUN(function("atomics64"), BLOCKS, THREADS, 0, &dv, &df, &dd, &ds));
	softgpu_test_download(v, dv, sizeof(v));
	softgpu_test_download(&f, df, sizeof(f));
	softgpu_test_download(&d, dd, sizeof(d));
	softgpu_test_download(s, ds, sizeof(s));
	for (int i = 0; i < N; i++)
		expected_xor ^= 1ull << (i & 63);
	assert_true(v[0] == 1 + 0x100000001ull * (N * (N - 1) / 2));
	assert_true(v[1] == (unsigned long long)(N - 1) << 33);
	assert_true(v[2] == expected_xor);
	assert_true(v[3] == 5 + 3 * N);
	assert_true(f == N * 0.5f && d == N * 0.25);
	assert_int_equal(s[0], -(N - 1));
	assert_int_equal(s[1], N % 10);
	assert_int_equal(s[2], 0);
	assert_int_equal(s[3], 42);
}

static uint32_t prmt(uint32_t a, uint32_t b, uint32_t selector)
{
	uint64_t bytes = (uint64_t)b << 32 | a;
	uint32_t result = 0;

	for (int i = 0; i < 4; i++)
		result |= (uint32_t)(bytes >> ((selector >> (4 * i) & 7) * 8) & 255) << (8 * i);
	return result;
}

static uint32_t brev(uint32_t a)
{
	uint32_t r = 0;

	for (int i = 0; i < 32; i++)
		r |= (a >> i & 1) << (31 - i);
	return r;
}

static uint32_t float_bits(float f)
{
	uint32_t u;

	memcpy(&u, &f, 4);
	return u;
}

static uint32_t dp4a(uint32_t a, uint32_t b)
{
	int sum = 9;

	for (int i = 0; i < 32; i += 8)
		sum += (int8_t)(a >> i) * (int8_t)(b >> i);
	return (uint32_t)sum;
}

static void test_integers(void **state)
{
	enum { N = 64, OPS = 30 };
	static uint32_t out[OPS * N];
	uint32_t x[N], y[N], seed = 14;
	CUdeviceptr dx, dy, dout = zeros(sizeof(out));
	int n = N;

	for (int i = 0; i < N; i++) {
		x[i] = i ? softgpu_test_random(&seed) >> (i % 20) : 0;
		y[i] = i > 1 ? softgpu_test_random(&seed) >> (i % 30) : 0;
	}
	dx = softgpu_test_upload(x, sizeof(x));
	dy = softgpu_test_upload(y, sizeof(y));
	OK(RUN(function("integers"), 1, N, 0, &dx, &dy, &dout, &n));
	softgpu_test_download(out, dout, sizeof(out));
	for (int i = 0; i < N; i++) {
		uint32_t a = x[i], b = y[i];
		int32_t sa = (int32_t)a, sb = (int32_t)b, d = (int32_t)(b | 1);
		uint64_t w = (uint64_t)a << 32 | b, q = w / (b | 1), r = w % (a | 1);
		uint32_t expected[OPS] = {
			(uint32_t)__builtin_popcount(a), a ? (uint32_t)__builtin_clz(a) : 32, (uint32_t)__builtin_ffs(sa),
			brev(a), prmt(a, b, 0x3715), b & 31 ? b << (b & 31) | a >> (32 - (b & 31)) : b,
			(uint32_t)((uint64_t)a * b >> 32), (uint32_t)((int64_t)sa * sb >> 32), a / (b | 1), a % (b | 1),
			(uint32_t)(sa / d), (uint32_t)(sa % d), sa < 0 ? 0 - a : a, sa < sb ? a : b, a > b ? a : b,
			(a > b ? a - b : b - a) + 5, dp4a(a, b), (a & b) ^ (~a | 0x55), (uint32_t)(sa >> (b & 31)),
			(uint32_t)q, (uint32_t)(q >> 32), (uint32_t)r, (uint32_t)__builtin_popcountll(w),
			w ? (uint32_t)__builtin_clzll(w) : 64, (uint32_t)(w * w >> 32),
			(uint32_t)((unsigned __int128)w * w >> 64), (uint32_t)(int8_t)a, (uint32_t)(int16_t)b,
			(uint32_t)(int32_t)((float)a * 1e-3f), float_bits((float)sb),
		};

		for (int k = 0; k < OPS; k++)
			if (out[k * N + i] != expected[k])
				fail_msg("operation %d of %x and %x gave %x, not %x", k, a, b, out[k * N + i],
					 expected[k]);
	}
}

static void test_divide_128(void **state)
{
	enum { N = 256 };
	static uint64_t in[4 * N], out[4 * N];
	uint32_t seed = 11;
	CUdeviceptr din, dout = zeros(sizeof(out));
	int n = N;

	for (int i = 0; i < 4 * N; i++)
		in[i] = ((uint64_t)softgpu_test_random(&seed) << 32 | softgpu_test_random(&seed)) >> (i / 4 % 64);
	for (int i = 0; i < N; i += 3)
		in[4 * i + 2] = 0; /* a divisor of 64 bits */
	for (int i = 0; i < N; i++)
		in[4 * i + 3] |= 1;
	din = softgpu_test_upload(in, sizeof(in));
	OK(RUN(function("divide_128"), 2, N / 2, 0, &din, &dout, &n));
	softgpu_test_download(out, dout, sizeof(out));
	for (int i = 0; i < N; i++) {
		unsigned __int128 a = (unsigned __int128)in[4 * i] << 64 | in[4 * i + 1];
		unsigned __int128 b = (unsigned __int128)in[4 * i + 2] << 64 | in[4 * i + 3];

		assert_true(((unsigned __int128)out[4 * i] << 64 | out[4 * i + 1]) == a / b);
		assert_true(((unsigned __int128)out[4 * i + 2] << 64 | out[4 * i + 3]) == a % b);
	}
}

/* What reaches the tile: of each 16 bytes all but the last 0 to 3. */
static void test_async_tile(void **state)
{
	enum { N = 256 };
	static uint32_t in[N], tile[N], out[N];
	uint32_t seed = 12;
	CUdeviceptr din, dout = zeros(sizeof(out));

	for (int i = 0; i < N; i++) {
		in[i] = softgpu_test_random(&seed);
		tile[i] = i % 4 == 3 ? in[i] & UINT32_MAX >> i / 4 % 4 * 8 : in[i];
	}
	din = softgpu_test_upload(in, sizeof(in));
	OK(RUN(function("async_tile"), 1, 64, 0, &din, &dout));
	softgpu_test_download(out, dout, sizeof(out));
	for (int i = 0; i < N; i++) {
		uint32_t sum = 0, bytes = 0;

		for (int k = 0; k < 32; k += 8) {
			int a = tile[i] >> k & 255, b = tile[255 - i] >> k & 255, c = (int8_t)a,
			    d = (int8_t)(tile[i ^ 1] >> k);

			sum += (uint32_t)abs(a - b);
			bytes |= ((uint32_t)abs(c - d) & 255) << k;
		}
		assert_int_equal(out[i], sum + bytes);
	}
}

static void test_barriers(void **state)
{
	enum { SIZE = 3 * 5 * 7, BLOCKS = 2 * 2 * 3 };
	static int out[SIZE * BLOCKS];
	CUdeviceptr dout = zeros(sizeof(out));

	OK(cu.cuLaunchKernel(function("barriers"), 2, 2, 3, 3, 5, 7, 0, NULL, (void *[]){ &dout }, NULL));
	softgpu_test_download(out, dout, sizeof(out));
	for (int b = 0; b < BLOCKS; b++)
		for (int t = 0; t < SIZE; t++)
			assert_int_equal(out[b * SIZE + t], t >= SIZE - 5 ? 0 : (SIZE - 5) / 2 * 4 + 2 + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_module_data),  cmocka_unit_test(test_half_convert),
		cmocka_unit_test(test_half_arithmetic), cmocka_unit_test(test_warp),
		cmocka_unit_test(test_warp_partial), cmocka_unit_test(test_doubles),
		cmocka_unit_test(test_functions),    cmocka_unit_test(test_local_array),
		cmocka_unit_test(test_struct_param), cmocka_unit_test(test_atomics),
		cmocka_unit_test(test_integers),     cmocka_unit_test(test_barriers),
		cmocka_unit_test(test_divide_128),   cmocka_unit_test(test_async_tile),
	};

	return cmocka_run_group_tests(tests, setup, softgpu_test_teardown);
}
