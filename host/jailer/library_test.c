// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/jailer/internal.h"

static void test_cache(void **state)
{
	struct jail_options o = { .env_count = 0 };
	char path[PATH_MAX];

	/* what this program itself was linked with */
	assert_true(jail_library_find(&o, "libc.so.6", path, sizeof(path)));
	assert_int_equal(path[0], '/');
	assert_int_equal(access(path, R_OK), 0);
	assert_true(strstr(path, "/libc.so.6"));
	assert_false(jail_library_find(&o, "libnothing-has-this-name.so.9", path, sizeof(path)));
	assert_false(jail_library_find(&o, "libc.so.6", path, 8));
}

static void test_environment(void **state)
{
	char dir[] = "/tmp/vgpu-library-XXXXXX", file[64], variable[128], path[PATH_MAX];
	struct jail_options o = { .env = { (char *)"A=B", variable }, .env_count = 2 };
	int fd;

	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/libc.so.6", dir);
	fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	close(fd);
	snprintf(variable, sizeof(variable), "LD_LIBRARY_PATH=/nowhere::%s", dir);
	assert_true(jail_library_find(&o, "libc.so.6", path, sizeof(path)));
	assert_string_equal(path, file);
	unlink(file);
	assert_true(jail_library_find(&o, "libc.so.6", path, sizeof(path)));
	assert_string_not_equal(path, file);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_cache), cmocka_unit_test(test_environment) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
