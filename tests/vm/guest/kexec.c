// SPDX-License-Identifier: MIT
/*
 * kexec KERNEL INITRD [crash]: loads a kernel with the present command line, and starts it; with
 * "crash" it is the one that starts when this one panics.
 */
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char line[4096];
	unsigned long flags = 0;
	int kernel, initrd, fd;
	ssize_t len;

	if (argc < 3)
		return 2;
	kernel = open(argv[1], O_RDONLY);
	initrd = open(argv[2], O_RDONLY);
	fd = open("/proc/cmdline", O_RDONLY);
	len = read(fd, line, sizeof(line) - 1);
	if (kernel < 0 || initrd < 0 || len <= 0) {
		perror("kexec: kernel, initrd or command line");
		return 1;
	}
	line[len - 1] = 0;
	if (argc > 3)
		flags = KEXEC_FILE_ON_CRASH;
	if (syscall(SYS_kexec_file_load, kernel, initrd, (unsigned long)len, line, flags)) {
		perror("kexec_file_load");
		return 1;
	}
	if (argc > 3)
		return 0;
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
	perror("reboot");
	return 1;
}
