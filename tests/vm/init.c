// SPDX-License-Identifier: MIT
/*
 * PID 1 of a test guest: sets up the file systems, loads modules, and then either serves the test on the
 * host (agent.h) or runs the commands it was given and powers off. Settings on the kernel command line:
 *
 *	vgpu.mounts=TAG:PATH:MODE,...   9p shares to mount; MODE is ro or rw
 *	vgpu.root=overlay               run commands in a writable overlay over /host (the host's root, by 9p)
 *	vgpu.root=/dev/vda              go over to the system on this disk, whose init starts us again as a service
 *	vgpu.resume=/dev/vda            resume a hibernated system from there, if one is
 *	vgpu.run="COMMAND"              run this; so is each line "NAME COMMAND" of /etc/vgpu-run
 *
 * Each result is printed on the console as "VM-RESULT NAME STATUS".
 */
#include "tests/vm/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PORT_WAIT_MS = 10000 };

static char cmdline[4096];

static __attribute__((format(printf, 1, 2))) void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("vm-init: ");
	vprintf(format, args);
	printf("\n");
	va_end(args);
	fflush(stdout);
}

/* Copies the value of a setting, without quotes, or returns false. */
static bool setting(const char *name, char *ret_value, size_t size)
{
	size_t len = strlen(name);
	const char *p = cmdline;

	while ((p = strstr(p, name))) {
		const char *value = p + len + 1, *end;

		/* The kernel prints a quoted value with the quote before the name or the value. */
		if ((p != cmdline && p[-1] != ' ' && p[-1] != '"') || p[len] != '=') {
			p += len;
			continue;
		}
		if (*value == '"')
			end = strchrnul(++value, '"');
		else if (p != cmdline && p[-1] == '"')
			end = strchrnul(value, '"');
		else
			end = value + strcspn(value, " \n");
		if ((size_t)(end - value) >= size)
			return false;
		memcpy(ret_value, value, end - value);
		ret_value[end - value] = 0;
		return true;
	}
	return false;
}

static void make_dirs(const char *path)
{
	char copy[256], *p;

	snprintf(copy, sizeof(copy), "%s", path);
	for (p = copy + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		mkdir(copy, 0755);
		*p = '/';
	}
	mkdir(copy, 0755);
}

static int mount_at(const char *source, const char *target, const char *type, unsigned long flags,
		    const char *options)
{
	make_dirs(target);
	if (mount(source, target, type, flags, options)) {
		int rc = -errno;

		say("mounting %s (%s) at %s failed: %s", source, type, target, strerror(errno));
		return rc;
	}
	return 0;
}

/* What the device manager of a full system makes; shells need them for <(...). */
static void link_standard_files(const char *root)
{
	static const char *const links[][2] = { { "/proc/self/fd", "/dev/fd" }, { "/proc/self/fd/0", "/dev/stdin" },
						{ "/proc/self/fd/1", "/dev/stdout" }, { "/proc/self/fd/2", "/dev/stderr" } };
	char path[256];
	size_t i;

	for (i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", root, links[i][1]);
		if (symlink(links[i][0], path) && errno != EEXIST)
			say("linking %s failed: %s", path, strerror(errno));
	}
}

static void mount_kernel_file_systems(const char *root)
{
	static const struct { const char *type, *target, *options; } table[] = {
		{ "proc", "/proc", NULL },
		{ "sysfs", "/sys", NULL },
		{ "devtmpfs", "/dev", NULL },
		{ "devpts", "/dev/pts", "mode=0620,ptmxmode=0666" },
		{ "tmpfs", "/dev/shm", "mode=1777" },
		{ "tmpfs", "/tmp", "mode=1777" },
		{ "tmpfs", "/run", "mode=0755" },
		{ "cgroup2", "/sys/fs/cgroup", NULL },
		{ "debugfs", "/sys/kernel/debug", NULL },
	};
	char target[256];
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		snprintf(target, sizeof(target), "%s%s", root, table[i].target);
		/* An overlay is writable itself, and tests want to see what lies in the host's /tmp. */
		if (*root && !strcmp(table[i].target, "/tmp"))
			continue;
		mount_at(table[i].type, target, table[i].type, 0, table[i].options);
	}
	link_standard_files(root);
}

static int load_module(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;

	if (fd < 0) {
		rc = -errno;
	} else {
		if (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)
			rc = -errno;
		close(fd);
	}
	if (rc)
		say("loading %s failed: %s", path, strerror(-rc));
	return rc;
}

/* The list names the files in the order of their dependencies. */
static void load_modules(const char *list)
{
	char line[200], path[300];
	FILE *f = fopen(list, "re");

	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		snprintf(path, sizeof(path), "/modules/%s", line);
		load_module(path);
	}
	fclose(f);
}

/* Must come before anything is mounted from a disk; returns only when there was nothing to resume. */
static void resume_from_disk(void)
{
	char disk[64], number[32];
	struct stat st;
	int fd, i;

	if (!setting("vgpu.resume", disk, sizeof(disk)))
		return;
	load_module("/modules/virtio_blk.ko");
	for (i = 0; stat(disk, &st) && i < 500; i++)
		usleep(10000);
	if (stat(disk, &st))
		return;
	fd = open("/sys/power/resume", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	snprintf(number, sizeof(number), "%u:%u", major(st.st_rdev), minor(st.st_rdev));
	if (write(fd, number, strlen(number)) < 0)
		say("nothing to resume on %s", disk);
	close(fd);
}

static int copy_file(const char *from, const char *to)
{
	char buffer[65536];
	int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0755), rc = 0;
	ssize_t n = 0;

	if (in < 0 || out < 0)
		rc = -errno;
	while (!rc && (n = read(in, buffer, sizeof(buffer))) > 0)
		if (write(out, buffer, n) != n)
			rc = -EIO;
	if (n < 0)
		rc = -errno;
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return rc;
}

/* In /run, so that the system on the disk is what its packages have made. */
static int install_service(const char *root)
{
	static const char unit[] = "[Unit]\nDescription=Serves the test on the host\n"
				   "[Service]\nExecStart=/run/vgpu-agent\nTasksMax=infinity\n"
				   "TimeoutStopSec=5\n";
	char path[256], link[300];
	FILE *f;
	int rc;

	snprintf(path, sizeof(path), "%s/run", root);
	rc = mount_at("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755");
	if (rc)
		return rc;
	snprintf(path, sizeof(path), "%s/run/vgpu-agent", root);
	rc = copy_file("/init", path);
	if (rc)
		return rc;
	snprintf(path, sizeof(path), "%s/run/systemd/system/multi-user.target.wants", root);
	make_dirs(path);
	snprintf(link, sizeof(link), "%s/vgpu-agent.service", path);
	snprintf(path, sizeof(path), "%s/run/systemd/system/vgpu-agent.service", root);
	f = fopen(path, "we");
	if (!f)
		return -errno;
	rc = fputs(unit, f) < 0 ? -EIO : 0;
	if (fclose(f))
		rc = -EIO;
	return rc || !symlink("../vgpu-agent.service", link) ? rc : -errno;
}

/* Returns when no disk is named, or when that failed. */
static void enter_disk_root(void)
{
	static const char root[] = "/newroot";
	static const char *const ours[] = { "/sys/kernel/debug", "/sys/fs/cgroup", "/dev/shm", "/dev/pts", "/sys", "/proc",
					    "/run", "/tmp" };
	struct stat st;
	char disk[64];
	size_t i;

	if (!setting("vgpu.root", disk, sizeof(disk)) || strncmp(disk, "/dev/", 5))
		return;
	load_modules("/modules/order-disk");
	for (i = 0; stat(disk, &st) && i < 500; i++)
		usleep(10000);
	if (mount_at(disk, root, "ext4", 0, NULL))
		return;
	if (install_service(root)) {
		say("the agent could not be put into %s", root);
		return;
	}
	for (i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		umount2(ours[i], MNT_DETACH);
	if (chdir(root) || mount("/dev", "dev", NULL, MS_MOVE, NULL) || mount(".", "/", NULL, MS_MOVE, NULL) ||
	    chroot(".") || chdir("/"))
		say("going over to %s failed: %s", disk, strerror(errno));
	else
		execl("/sbin/init", "init", (char *)NULL);
	say("%s has no init: %s", disk, strerror(errno));
}

static void mount_shares(void)
{
	char list[1024], *entry, *rest = list;

	if (!setting("vgpu.mounts", list, sizeof(list)))
		return;
	while ((entry = strsep(&rest, ","))) {
		char *tag = strsep(&entry, ":"), *path = strsep(&entry, ":");
		bool ro = entry && !strcmp(entry, "ro");

		if (!path)
			continue;
		/* A read-only share does not change while a guest runs: what was read once is kept. */
		mount_at(tag, path, "9p", ro ? MS_RDONLY : 0,
			 ro ? "trans=virtio,version=9p2000.L,msize=512000,cache=loose" :
			      "trans=virtio,version=9p2000.L,msize=512000,cache=mmap");
	}
}

/* Programs of the host find their libraries, and users their names, where they expect them. */
static void link_host_root(void)
{
	static const char *const names[] = { "usr", "lib", "lib64", "lib32", "etc/passwd", "etc/group",
					     "etc/ld.so.cache", "etc/alternatives" };
	char from[64], to[64];
	size_t i;

	if (access("/host/usr", F_OK))
		return;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(from, sizeof(from), "/host/%s", names[i]);
		snprintf(to, sizeof(to), "/%s", names[i]);
		if (access(from, F_OK) == 0 && symlink(from, to) && errno != EEXIST)
			say("linking %s failed: %s", to, strerror(errno));
	}
}

static void make_overlay_root(void)
{
	static const char root[] = "/newroot";
	char kind[32], list[1024], target[256], *entry, *rest = list;

	if (!setting("vgpu.root", kind, sizeof(kind)) || strcmp(kind, "overlay"))
		return;
	if (mount_at("tmpfs", "/overlay", "tmpfs", 0, "mode=0755"))
		return;
	make_dirs("/overlay/upper");
	make_dirs("/overlay/work");
	if (mount_at("overlay", root, "overlay", 0,
		     "lowerdir=/host,upperdir=/overlay/upper,workdir=/overlay/work"))
		return;
	mount_kernel_file_systems(root);
	if (setting("vgpu.mounts", list, sizeof(list)))
		while ((entry = strsep(&rest, ","))) {
			char *path;

			strsep(&entry, ":");
			path = strsep(&entry, ":");
			if (!path || !strcmp(path, "/host"))
				continue;
			snprintf(target, sizeof(target), "%s%s", root, path);
			make_dirs(target);
			if (mount(path, target, NULL, MS_BIND, NULL))
				say("binding %s failed: %s", path, strerror(errno));
		}
	agent_set_root(root);
}

static void start_loopback(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(fd, SIOCSIFFLAGS, &request))
		say("the loopback interface is not up: %s", strerror(errno));
	close(fd);
}

static void run_and_report(const char *name, const char *command)
{
	int status = 0, pid = agent_spawn(command, (int[]){ 0, 1, 2 });

	if (pid < 0) {
		printf("VM-RESULT %s 126\n", name);
		return;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	printf("VM-RESULT %s %d\n", name, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	fflush(stdout);
}

/* Returns whether there was anything to run. */
static bool run_given_commands(void)
{
	char command[2048];
	bool any = setting("vgpu.run", command, sizeof(command));
	FILE *f = fopen("/etc/vgpu-run", "re");

	while (f && fgets(command, sizeof(command), f)) {
		char *rest = command, *name = strsep(&rest, " \n");

		if (!rest || !*name || *name == '#')
			continue;
		rest[strcspn(rest, "\n")] = 0;
		run_and_report(name, rest);
		any = true;
	}
	if (f)
		fclose(f);
	if (setting("vgpu.run", command, sizeof(command)))
		run_and_report("run", command);
	return any;
}

static void read_cmdline(void)
{
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, cmdline, sizeof(cmdline) - 1);

	if (fd >= 0)
		close(fd);
	cmdline[n > 0 ? n : 0] = 0;
	cmdline[strcspn(cmdline, "\n")] = 0;
}

/* As a service of a whole system. */
static int serve_system(void)
{
	int port, what;

	read_cmdline();
	mount_shares();
	port = agent_open(PORT_WAIT_MS);
	what = port < 0 ? port : agent_serve(port);
	if (what < 0) {
		say("serving the host failed: %s", strerror(-what));
		return 1;
	}
	execl("/bin/systemctl", "systemctl", what == 'r' ? "reboot" : "poweroff", (char *)NULL);
	return 1;
}

int main(void)
{
	int port = -ENOENT, what = 'o';
	bool ran;

	if (getpid() != 1 && !access("/run/vgpu-agent", F_OK))
		return serve_system();
	if (getpid() != 1) {
		fprintf(stderr, "init: this is the first process of a test guest and runs as nothing else\n");
		return 2;
	}
	umask(022);
	setenv("PATH", "/bin:/sbin:/usr/local/bin:/usr/bin:/usr/sbin", 1);
	setenv("HOME", "/tmp", 1);
	setenv("TERM", "dumb", 1);
	mount_kernel_file_systems("");
	read_cmdline();
	load_modules("/modules/order");
	if (!access("/etc/vgpu.ko", F_OK))
		load_module("/etc/vgpu.ko");
	enter_disk_root();
	resume_from_disk();
	mount_shares();
	link_host_root();
	make_overlay_root();
	start_loopback();
	ran = run_given_commands();
	if (!ran || !access("/sys/class/virtio-ports", F_OK))
		port = agent_open(ran ? 0 : PORT_WAIT_MS);
	if (port >= 0)
		what = agent_serve(port);
	else if (!ran)
		say("there is neither a command to run nor a port named %s", AGENT_PORT_NAME);
	if (what < 0)
		say("serving the host failed: %s", strerror(-what));
	sync();
	reboot(what == 'r' ? RB_AUTOBOOT : RB_POWER_OFF);
	return 1;
}
