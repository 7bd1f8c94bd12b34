/* SPDX-License-Identifier: MIT */
/* The test kernels against the same work done by the CPU. */
#include <math.h>

#include "softgpu/testlib.h"

static void test_vector_add(void **state)
{
	enum { N = 10007 };
	CUfunction function = softgpu_test_function(softgpu_test_module("vector.ptx"), "vector_add");
	static float a[N], b[N], c[N];
	uint32_t seed = 1;
	CUdeviceptr da, db, dc;
	int n = N;

	for (int i = 0; i < N; i++) {
		a[i] = softgpu_test_random_float(&seed);
		b[i] = softgpu_test_random_float(&seed);
	}
	da = softgpu_test_upload(a, sizeof(a));
	db = softgpu_test_upload(b, sizeof(b));
	dc = softgpu_test_upload(NULL, sizeof(c));
	OK(RUN(function, (N + 255) / 256, 256, 0, &da, &db, &dc, &n));
	softgpu_test_download(c, dc, sizeof(c));
	for (int i = 0; i < N; i++)
		assert_true(c[i] == a[i] + b[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vector_add),
	};

	return cmocka_run_group_tests(tests, softgpu_test_setup, softgpu_test_teardown);
}
