// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "common/log/log.h"

/* Runs with standard error in a pipe and gives what was written. */
static void capture(char *ret, size_t size, int priority, const char *text)
{
	int saved = dup(STDERR_FILENO), fds[2];
	ssize_t n;

	assert_int_equal(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	vgpu_log(priority, "event text=%s", text);
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = read(fds[0], ret, size - 1);
	assert_true(n >= 0);
	ret[n] = 0;
	close(fds[0]);
}

static void test_line(void **state)
{
	char out[4096], longer[3000];

	vgpu_log_init("test", VGPU_LOG_INFO);
	capture(out, sizeof(out), VGPU_LOG_WARNING, "a\nb");
	assert_string_equal(out, "<4>test: event text=a?b\n");
	capture(out, sizeof(out), VGPU_LOG_DEBUG, "a");
	assert_string_equal(out, "");
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	capture(out, sizeof(out), VGPU_LOG_ERROR, longer);
	assert_true(strlen(out) < 2048);
	assert_int_equal(out[strlen(out) - 1], '\n');
}

static void test_text(void **state)
{
	char out[8];

	vgpu_log_text(out, sizeof(out), "ab\"\\\n\x80z!", 8);
	assert_string_equal(out, "ab????z");
	vgpu_log_text(out, sizeof(out), "abcdef", 3);
	assert_string_equal(out, "abc");
	vgpu_log_text(out, 1, "abc", 3);
	assert_string_equal(out, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_line), cmocka_unit_test(test_text) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
