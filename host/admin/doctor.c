// SPDX-License-Identifier: MIT
/* vgpu-admin doctor: what this machine has, and what to do about what it has not. */
#include "host/admin/internal.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(json_t *checks, const char *name, const char *verdict, const char *text, const char *action)
{
	json_array_append_new(checks, json_pack("{s:s, s:s, s:s, s:s}", "check", name, "verdict", verdict, "text",
						text, "action", action));
}

static bool first_line(const char *path, char *ret, size_t size)
{
	FILE *f = fopen(path, "re");
	bool good = f && fgets(ret, (int)size, f);

	if (f)
		fclose(f);
	if (good)
		ret[strcspn(ret, "\n")] = 0;
	return good;
}

/* In a child: a driver may do anything when it is loaded. Exit status: version / 10, 0 for none. */
static int driver_version(void)
{
	int fds[2], version = 0;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return 0;
	pid = fork();
	if (!pid) {
		void *lib = dlopen("libcuda.so.1", RTLD_NOW);
		int (*get)(int *) = lib ? (int (*)(int *))dlsym(lib, "cuDriverGetVersion") : NULL;

		if (!get || get(&version) || write(fds[1], &version, sizeof(version)) < 0)
			_exit(1);
		_exit(0);
	}
	close(fds[1]);
	if (pid < 0 || read(fds[0], &version, sizeof(version)) != sizeof(version))
		version = 0;
	close(fds[0]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return version;
}

static void check_driver(json_t *checks)
{
	char text[256], line[200];
	int version = driver_version();

	if (!version) {
		check(checks, "driver", "bad", "libcuda.so.1 is not there or does not work",
		      "install NVIDIA's driver 550 or newer; to try without a GPU, install vgpu-softgpu and set "
		      "VGPU_JAILER_OPTIONS in /etc/default/vgpu-jailer: see vgpu-jailer(8)");
		return;
	}
	snprintf(text, sizeof(text), "CUDA %d.%d%s%s", version / 1000, version % 1000 / 10,
		 first_line("/sys/module/nvidia/version", line, sizeof(line)) ? ", NVIDIA " : "",
		 first_line("/sys/module/nvidia/version", line, sizeof(line)) ? line : "");
	if (version < 12040)
		check(checks, "driver", "bad", text, "install NVIDIA's driver 550 (CUDA 12.4) or newer");
	else
		check(checks, "driver", "ok", text, "");
}

static void check_gpus(json_t *checks)
{
	char text[128];
	glob_t g;
	size_t n = glob("/proc/driver/nvidia/gpus/*", 0, NULL, &g) ? 0 : g.gl_pathc;

	if (n)
		globfree(&g);
	snprintf(text, sizeof(text), "%zu NVIDIA GPU%s", n, n == 1 ? "" : "s");
	check(checks, "gpus", n ? "ok" : "bad", n ? text : "no NVIDIA GPU is visible to this kernel",
	      n ? "" : "look for it with lspci, and load the nvidia module");
	if (n && access("/dev/nvidia-uvm", F_OK))
		check(checks, "devices", "bad", "/dev/nvidia-uvm is missing", "nvidia-modprobe -u -c 0");
}

/* With HMM a kernel could reach all host memory of its process; executors switch it off. */
static void check_hmm(json_t *checks)
{
	char text[64] = "";

	if (!first_line("/sys/module/nvidia_uvm/parameters/uvm_disable_hmm", text, sizeof(text))) {
		check(checks, "hmm", "ok", "the driver has no HMM, or is not loaded", "");
		return;
	}
	if (text[0] == 'Y' || text[0] == '1')
		check(checks, "hmm", "ok", "switched off for the whole host", "");
	else
		check(checks, "hmm", "ok", "possible; each executor switches it off for itself or refuses to start",
		      "options nvidia_uvm uvm_disable_hmm=1 in /etc/modprobe.d switches it off for all");
}

static void check_kernel(json_t *checks)
{
	static const struct { const char *file, *name; } spaces[] = {
		{ "/proc/self/ns/mnt", "mount" }, { "/proc/self/ns/net", "net" },
		{ "/proc/self/ns/pid", "pid" }, { "/proc/self/ns/ipc", "ipc" },
	};
	char missing[128] = "", controllers[256] = "";
	struct utsname u;

	if (uname(&u) == 0)
		check(checks, "kernel", strverscmp(u.release, "4.19") >= 0 ? "ok" : "bad", u.release,
		      strverscmp(u.release, "4.19") >= 0 ? "" : "Linux 4.19 or newer is needed");
	for (size_t i = 0; i < sizeof(spaces) / sizeof(*spaces); i++) {
		size_t n = strlen(missing);

		if (access(spaces[i].file, F_OK))
			snprintf(missing + n, sizeof(missing) - n, " %s", spaces[i].name);
	}
	check(checks, "namespaces", missing[0] ? "warning" : "ok", missing[0] ? missing : "all that executors use",
	      missing[0] ? "use a kernel with these namespaces: executors are confined less without" : "");
	if (first_line("/sys/fs/cgroup/cgroup.controllers", controllers, sizeof(controllers)) &&
	    strstr(controllers, "memory"))
		check(checks, "cgroups", "ok", "version 2 with the memory controller", "");
	else if (!access("/sys/fs/cgroup/memory/memory.limit_in_bytes", F_OK) ||
		 !access("/sys/fs/cgroup/memory/cgroup.procs", F_OK))
		check(checks, "cgroups", "ok", "version 1 with the memory controller", "");
	else
		check(checks, "cgroups", "warning", "no memory controller: executors have no memory limit",
		      "boot with the memory controller enabled (cgroup_enable=memory)");
}

static void check_kvm(json_t *checks)
{
	if (!access("/dev/kvm", R_OK | W_OK))
		check(checks, "kvm", "ok", "/dev/kvm is there", "");
	else
		check(checks, "kvm", "warning", "/dev/kvm cannot be used: VMs would be slow",
		      "enable virtualisation in the firmware and load kvm_intel or kvm_amd");
}

/* The last line that a command says, or false when it fails. */
static bool run(const char *command, char *ret_line, size_t size)
{
	FILE *f = popen(command, "re");
	char line[512];

	ret_line[0] = 0;
	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\r\n")] = 0;
		if (line[0])
			snprintf(ret_line, size, "%s", line);
	}
	return f && pclose(f) == 0;
}

/* A stub fits one version of QEMU; whether this one fits, QEMU knows: an empty machine is enough. */
static void check_qemu(json_t *checks)
{
	char line[512], command[768], text[600];
	glob_t g;
	int major, minor;

	if (!run("qemu-system-x86_64 --version 2>/dev/null | head -1", line, sizeof(line)) ||
	    sscanf(line, "QEMU emulator version %d.%d", &major, &minor) != 2) {
		check(checks, "qemu", "warning", "qemu-system-x86_64 is not installed",
		      "needed for VMs, not for local programs");
		return;
	}
	if (glob("/usr/lib/*/qemu/vgpu-stub.so", 0, NULL, &g)) {
		snprintf(text, sizeof(text), "version %d.%d, and no vgpu-stub is installed", major, minor);
		check(checks, "qemu", "warning", text,
		      "install the package vgpu-stub, or build it: tools/build-stub.sh in vgpu's source");
		return;
	}
	snprintf(command, sizeof(command),
		 "echo quit | timeout 20 qemu-system-x86_64 -machine none -accel tcg -display none -nodefaults"
		 " -monitor stdio -plugin file=%s 2>&1 >/dev/null", g.gl_pathv[0]);
	globfree(&g);
	if (run(command, line, sizeof(line))) {
		snprintf(text, sizeof(text), "version %d.%d, and a vgpu-stub that fits", major, minor);
		check(checks, "qemu", "ok", text, "");
	} else {
		snprintf(text, sizeof(text), "version %d.%d does not take the vgpu-stub: %.400s", major, minor, line);
		check(checks, "qemu", "bad", text, "install the vgpu-stub that was built for this QEMU");
	}
}

static int print(const json_t *checks)
{
	size_t i;
	json_t *c;
	bool bad = false;

	json_array_foreach(checks, i, c) {
		const char *verdict = adm_string(c, "verdict"), *action = adm_string(c, "action");

		bad |= !strcmp(verdict, "bad");
		printf("%-8s %-11s %s\n", verdict, adm_string(c, "check"), adm_string(c, "text"));
		if (*action && strcmp(action, "-") != 0)
			printf("%-20s -> %s\n", "", action);
	}
	return bad ? ADM_FAILED : ADM_OK;
}

/* Then what NVIDIA's driver says of this machine is of no interest. */
static bool software_gpu(struct adm *a)
{
	char text[1024];
	json_t *status = adm_try(a, "status", NULL, text, sizeof(text));
	bool software = json_is_true(json_object_get(json_object_get(status, "gpu"), "software"));

	json_decref(status);
	return software;
}

int adm_doctor(struct adm *a)
{
	json_t *checks = json_array(), *theirs;
	char text[1024];
	int rc;

	if (a->argc > 1)
		return adm_wrong_usage("doctor takes no arguments");
	if (!software_gpu(a)) {
		check_driver(checks);
		check_gpus(checks);
		check_hmm(checks);
	}
	check_kernel(checks);
	check_kvm(checks);
	check_qemu(checks);
	theirs = adm_try(a, "doctor", NULL, text, sizeof(text));
	if (theirs) {
		check(checks, "mediator", "ok", "answers", "");
		json_array_extend(checks, json_object_get(theirs, "checks"));
	} else {
		check(checks, "mediator", "bad", text, "");
	}
	json_decref(theirs);
	rc = a->json ? adm_print_json(checks) : print(checks);
	json_decref(checks);
	return rc;
}
