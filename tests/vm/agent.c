// SPDX-License-Identifier: MIT
/* The guest's end of agent.h: runs what the host asks for and hands back output and exit status. */
#include "tests/vm/agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

struct command {
	uint32_t id;
	pid_t pid;    /* 0: ended */
	int in;       /* write end of its standard input, or -1 */
	int out[2];   /* read ends of its standard output and error, or -1 */
	int status;   /* wait status once pid is 0 */
	bool used;
};

static struct command commands[AGENT_COMMANDS_MAX];
static char *payload;
static const char *command_root;

void agent_set_root(const char *path)
{
	command_root = path;
}

/* The port's number is not fixed: the driver publishes its name in sysfs. */
static int port_find(char *ret_path, size_t size)
{
	static const char class_dir[] = "/sys/class/virtio-ports";
	struct dirent *entry;
	DIR *dir = opendir(class_dir);

	if (!dir)
		return -ENOENT;
	while ((entry = readdir(dir))) {
		char file[512], name[64] = "";
		FILE *f;

		snprintf(file, sizeof(file), "%s/%s/name", class_dir, entry->d_name);
		f = fopen(file, "re");
		if (!f)
			continue;
		if (!fgets(name, sizeof(name), f))
			name[0] = 0;
		fclose(f);
		name[strcspn(name, "\n")] = 0;
		if (strcmp(name, AGENT_PORT_NAME))
			continue;
		snprintf(ret_path, size, "/dev/%s", entry->d_name);
		closedir(dir);
		return 0;
	}
	closedir(dir);
	return -ENOENT;
}

int agent_open(int timeout_ms)
{
	char path[300];
	int waited_ms, fd;

	for (waited_ms = 0;; waited_ms += 10) {
		if (!port_find(path, sizeof(path))) {
			fd = open(path, O_RDWR | O_CLOEXEC);
			if (fd >= 0)
				return fd;
		}
		if (waited_ms >= timeout_ms)
			return -ENOENT;
		usleep(10000);
	}
}

static int write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		p += n;
		len -= n;
	}
	return 0;
}

/* Reads exactly len bytes; while no host is connected the port reads as empty. */
static int read_all(int fd, void *data, size_t len)
{
	char *p = data;

	while (len) {
		ssize_t n = read(fd, p, len);

		if (n < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			return -errno;
		}
		if (n == 0) {
			usleep(20000);
			continue;
		}
		p += n;
		len -= n;
	}
	return 0;
}

static int frame_send(int port, enum agent_type type, uint32_t id, const void *data, uint32_t len)
{
	struct agent_header header = { .magic = AGENT_MAGIC, .type = type, .id = id, .len = len };
	int rc = write_all(port, &header, sizeof(header));

	return rc || !len ? rc : write_all(port, data, len);
}

static int frame_receive(int port, struct agent_header *ret_header)
{
	char *magic = ret_header->magic;
	int rc = read_all(port, ret_header, sizeof(*ret_header));

	while (!rc && memcmp(magic, AGENT_MAGIC, 4)) {
		memmove(ret_header, magic + 1, sizeof(*ret_header) - 1);
		rc = read_all(port, (char *)ret_header + sizeof(*ret_header) - 1, 1);
	}
	if (rc)
		return rc;
	if (ret_header->len > AGENT_PAYLOAD_MAX)
		return -EMSGSIZE;
	rc = read_all(port, payload, ret_header->len);
	payload[ret_header->len] = 0;
	return rc;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int agent_spawn(const char *command, const int fds[3])
{
	pid_t pid = fork();
	sigset_t none;
	int i;

	if (pid)
		return pid < 0 ? -errno : pid;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	for (i = 0; i < 3; i++)
		if (dup2(fds[i], i) < 0)
			_exit(126);
	if (command_root && (chroot(command_root) || chdir("/")))
		_exit(126);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

static struct command *command_find(uint32_t id)
{
	struct command *c;

	for (c = commands; c < commands + AGENT_COMMANDS_MAX; c++)
		if (c->used && c->id == id)
			return c;
	return NULL;
}

static int command_start(struct command *c, uint32_t id)
{
	int pipes[3][2], rc = 0, made;

	for (made = 0; made < 3; made++)
		if (pipe2(pipes[made], O_CLOEXEC)) {
			rc = -errno;
			break;
		}
	if (!rc)
		rc = agent_spawn(payload, (int[]){ pipes[0][0], pipes[1][1], pipes[2][1] });
	if (rc < 0) {
		while (made--) {
			close(pipes[made][0]);
			close(pipes[made][1]);
		}
		return rc;
	}
	*c = (struct command){ .id = id, .pid = rc, .in = pipes[0][1],
			       .out = { pipes[1][0], pipes[2][0] }, .used = true };
	close(pipes[0][0]);
	close(pipes[1][1]);
	close(pipes[2][1]);
	return 0;
}

static int command_run(int port, uint32_t id)
{
	struct command *c;
	uint32_t status;

	for (c = commands; c < commands + AGENT_COMMANDS_MAX; c++)
		if (!c->used)
			break;
	if (c < commands + AGENT_COMMANDS_MAX && !command_start(c, id))
		return 0;
	status = 126 << 8;
	return frame_send(port, AGENT_EXIT, id, &status, sizeof(status));
}

static void command_stdin(struct command *c, uint32_t len)
{
	if (!c || c->in < 0)
		return;
	/* A command that does not read its input would block everybody: tests send little. */
	if (!len || write_all(c->in, payload, len))
		close_fd(&c->in);
}

/* Moves what the command has written to the host. Its end is told only when both streams are at theirs. */
static int command_output(int port, struct command *c, int stream)
{
	static char buffer[65536];
	ssize_t n = read(c->out[stream], buffer, sizeof(buffer));

	if (n > 0)
		return frame_send(port, stream ? AGENT_STDERR : AGENT_STDOUT, c->id, buffer, n);
	if (n == 0 || (errno != EINTR && errno != EAGAIN))
		close_fd(&c->out[stream]);
	return 0;
}

/*
 * A command has ended when its process has: what it left running in the background may keep the pipes
 * open for ever, so whatever is in them now is passed on and they are closed.
 */
static int command_end(int port, struct command *c)
{
	uint32_t status = c->status;
	int i, rc = 0;

	for (i = 0; i < 2 && !rc; i++) {
		while (!rc && c->out[i] >= 0) {
			struct pollfd p = { .fd = c->out[i], .events = POLLIN };

			if (poll(&p, 1, 0) <= 0)
				break;
			rc = command_output(port, c, i);
		}
		close_fd(&c->out[i]);
	}
	close_fd(&c->in);
	c->used = false;
	return rc ? rc : frame_send(port, AGENT_EXIT, c->id, &status, sizeof(status));
}

static int reap(int port)
{
	struct command *c;
	int status, rc = 0;
	pid_t pid;

	while (!rc && (pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (c = commands; c < commands + AGENT_COMMANDS_MAX; c++)
			if (c->used && c->pid == pid) {
				c->status = status;
				rc = command_end(port, c);
				break;
			}
	return rc;
}

static int hello(int port, uint32_t len)
{
	struct utsname name;
	char answer[256];

	if (len > 64 || uname(&name))
		return 0;
	snprintf(answer, sizeof(answer), "%.64s %.100s", payload, name.release);
	return frame_send(port, AGENT_READY, 0, answer, strlen(answer));
}

/* Returns 'o' or 'r' when the host wants the guest off or rebooted, 0, or -errno. */
static int frame_handle(int port, const struct agent_header *header)
{
	struct command *c = command_find(header->id);
	uint32_t sig;

	switch (header->type) {
	case AGENT_HELLO:
		return hello(port, header->len);
	case AGENT_RUN:
		return c ? 0 : command_run(port, header->id);
	case AGENT_STDIN:
		command_stdin(c, header->len);
		return 0;
	case AGENT_KILL:
		if (c && header->len == sizeof(sig)) {
			memcpy(&sig, payload, sizeof(sig));
			kill(-c->pid, sig);
		}
		return 0;
	case AGENT_POWER:
		return payload[0] == 'r' ? 'r' : 'o';
	}
	return 0;
}

static int serve_once(int port, int signals)
{
	struct pollfd polls[2 + 2 * AGENT_COMMANDS_MAX];
	struct { struct command *c; int stream; } who[2 + 2 * AGENT_COMMANDS_MAX];
	int n = 2, i, s, rc = 0;

	polls[0] = (struct pollfd){ .fd = port, .events = POLLIN };
	polls[1] = (struct pollfd){ .fd = signals, .events = POLLIN };
	for (i = 0; i < AGENT_COMMANDS_MAX; i++)
		for (s = 0; s < 2; s++)
			if (commands[i].used && commands[i].out[s] >= 0) {
				who[n].c = &commands[i];
				who[n].stream = s;
				polls[n++] = (struct pollfd){ .fd = commands[i].out[s], .events = POLLIN };
			}
	if (poll(polls, n, -1) < 0)
		return errno == EINTR ? 0 : -errno;
	for (i = 2; i < n && !rc; i++)
		if (polls[i].revents)
			rc = command_output(port, who[i].c, who[i].stream);
	if (!rc && polls[1].revents) {
		struct signalfd_siginfo info;

		if (read(signals, &info, sizeof(info)) == sizeof(info))
			rc = reap(port);
	}
	if (!rc && (polls[0].revents & POLLIN)) {
		struct agent_header header;

		rc = frame_receive(port, &header);
		if (!rc)
			rc = frame_handle(port, &header);
	} else if (polls[0].revents & POLLHUP) {
		usleep(20000); /* no host is connected at the moment */
	}
	return rc;
}

int agent_serve(int port)
{
	sigset_t set;
	int signals, rc;

	payload = malloc(AGENT_PAYLOAD_MAX + 1);
	if (!payload)
		return -ENOMEM;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signals = signalfd(-1, &set, SFD_CLOEXEC);
	if (signals < 0)
		return -errno;
	do
		rc = serve_once(port, signals);
	while (!rc);
	close(signals);
	return rc;
}
