// SPDX-License-Identifier: MIT
#include "common/window/window.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

enum { MIB = 1 << 20 };

static void a_window_is_sealed(void **state)
{
	int fd;

	assert_int_equal(vgpu_window_create("t", 4 * MIB, &fd), 0);
	assert_int_equal(vgpu_window_check(fd, 4 * MIB), 0);
	assert_int_equal(vgpu_window_check(fd, 2 * MIB), -EINVAL);
	assert_int_not_equal(ftruncate(fd, 2 * MIB), 0);
	assert_int_not_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	close(fd);
}

static void others_are_refused(void **state)
{
	int fd = memfd_create("t", MFD_ALLOW_SEALING);
	int file = open("/tmp", O_TMPFILE | O_RDWR, 0600);

	assert_int_equal(ftruncate(fd, 4 * MIB), 0);
	assert_int_equal(vgpu_window_check(fd, 4 * MIB), -EPERM);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE), 0);
	assert_int_equal(vgpu_window_check(fd, 4 * MIB), -EPERM);
	assert_int_equal(vgpu_window_check(file, 4 * MIB), -EINVAL);
	assert_int_equal(vgpu_window_check(-1, 4 * MIB), -EINVAL);
	close(fd);
	/* one to which a seal against writing can still be added */
	fd = memfd_create("t", MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(fd, 4 * MIB), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	assert_int_equal(vgpu_window_check(fd, 4 * MIB), -EPERM);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL), 0);
	assert_int_equal(vgpu_window_check(fd, 4 * MIB), 0);
	close(fd);
	close(file);
	assert_int_equal(vgpu_window_create("t", 3 * MIB, &fd), -EINVAL);
	assert_int_equal(vgpu_window_create("t", 0, &fd), -EINVAL);
}

static void punching_clears(void **state)
{
	int fd;
	unsigned char *p;

	assert_int_equal(vgpu_window_create("t", 4 * MIB, &fd), 0);
	p = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	memset(p, 0xa5, 4 * MIB);
	assert_int_equal(vgpu_window_punch(fd, 2 * MIB, 2 * MIB), 0);
	assert_int_equal(p[2 * MIB - 1], 0xa5);
	for (int i = 0; i < 2 * MIB; i += 512)
		assert_int_equal(p[2 * MIB + i], 0);
	munmap(p, 4 * MIB);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_window_is_sealed),
		cmocka_unit_test(others_are_refused),
		cmocka_unit_test(punching_clears),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
