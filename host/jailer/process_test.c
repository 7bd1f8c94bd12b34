// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/jailer/internal.h"

static void *go_on(void *unused)
{
	for (;;)
		pause();
	return NULL;
}

/* A child whose first thread ends at once, while another goes on. */
static pid_t leaderless(void)
{
	pthread_t thread;
	pid_t pid = fork();

	if (pid)
		return pid;
	if (pthread_create(&thread, NULL, go_on, NULL))
		_exit(1);
	pthread_exit(NULL);
}

static bool is_zombie(pid_t pid)
{
	char path[64], line[128];
	bool zombie = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		zombie |= !strncmp(line, "State:\tZ", strlen("State:\tZ"));
	fclose(f);
	return zombie;
}

static void lives_without_its_first_thread(void **state)
{
	pid_t pid = leaderless();
	uint64_t ticks;

	assert_true(pid > 0);
	while (!is_zombie(pid))
		usleep(1000);
	assert_int_equal(jail_process_start_time(pid, &ticks), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	/* dead, and not waited for */
	while (jail_process_start_time(pid, &ticks) == 0)
		usleep(1000);
	assert_int_equal(jail_process_start_time(pid, &ticks), -ESRCH);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_zombie_has_no_uid(void **state)
{
	const uid_t uid = 3999000001u;
	pid_t pid;

	if (getuid()) {
		print_message("needs root for another user id\n");
		skip();
	}
	pid = fork();
	if (!pid) {
		if (setuid(uid))
			_exit(1);
		pause();
		_exit(0);
	}
	while (!jail_process_uid_used(uid, false))
		usleep(1000);
	assert_int_equal(kill(pid, SIGKILL), 0);
	while (jail_process_uid_used(uid, false))
		usleep(1000);
	assert_true(is_zombie(pid));
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lives_without_its_first_thread),
		cmocka_unit_test(a_zombie_has_no_uid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
