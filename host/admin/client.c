// SPDX-License-Identifier: MIT
/* One request and its answer. */
#include "host/admin/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/util/cleanup.h"
#include "protocol/control/control.h"

static int open_socket(const char *path, char *ret_text, size_t size)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = 30 };
	vgpu_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path) >= (int)sizeof(sa.sun_path)) {
		snprintf(ret_text, size, "the socket's path %s is too long", path);
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		snprintf(ret_text, size,
			 "the mediator does not answer at %s (%s): is it running? systemctl status vgpu-mediator",
			 path, strerror(errno));
		return -1;
	}
	return vgpu_take_fd(&fd);
}

static bool send_line(int fd, const char *line)
{
	size_t left = strlen(line);

	while (left) {
		ssize_t n = send(fd, line, left, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0) {
			line += n;
			left -= (size_t)n;
		}
	}
	return true;
}

/* To be freed; NULL when the line does not come. Answers may be longer than requests may. */
static char *receive_line(int fd)
{
	size_t used = 0, space = 65536;
	char *line = malloc(space);

	while (line) {
		ssize_t n = recv(fd, line + used, space - used, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		used += (size_t)n;
		if (line[used - 1] == '\n') {
			line[used - 1] = 0;
			return line;
		}
		if (used == space) {
			char *more = space < 64u << 20 ? realloc(line, 2 * space) : NULL;

			if (!more)
				break;
			line = more;
			space *= 2;
		}
	}
	free(line);
	return NULL;
}

static json_t *exchange(int fd, const char *method, json_t *params, char *ret_text, size_t size)
{
	json_t *request = json_pack("{s:s, s:i, s:s, s:o}", "jsonrpc", "2.0", "id", 1, "method", method,
				    "params", params);
	vgpu_free char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	vgpu_free char *answer = NULL;
	json_t *whole;

	json_decref(request);
	snprintf(ret_text, size, "the mediator's answer did not come");
	if (!text || !send_line(fd, text) || !send_line(fd, "\n"))
		return NULL;
	answer = receive_line(fd);
	if (!answer)
		return NULL;
	whole = json_loads(answer, 0, NULL);
	if (!whole)
		snprintf(ret_text, size, "the mediator's answer is not JSON");
	return whole;
}

json_t *adm_try(struct adm *a, const char *method, json_t *params, char *ret_text, size_t size)
{
	vgpu_close int fd = open_socket(a->socket, ret_text, size);
	json_t *whole, *result;

	if (fd < 0) {
		json_decref(params);
		return NULL;
	}
	whole = exchange(fd, method, params ? params : json_object(), ret_text, size);
	if (!whole)
		return NULL;
	result = json_incref(json_object_get(whole, "result"));
	if (!result)
		snprintf(ret_text, size, "%s", adm_string(json_object_get(whole, "error"), "message"));
	json_decref(whole);
	return result;
}

json_t *adm_call(struct adm *a, const char *method, json_t *params)
{
	char text[1024];
	json_t *result = adm_try(a, method, params, text, sizeof(text));

	if (!result)
		fprintf(stderr, "vgpu-admin: %s\n", text);
	return result;
}

int adm_print_json(const json_t *value)
{
	int rc = json_dumpf(value, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);

	return puts("") < 0 || rc ? ADM_FAILED : ADM_OK;
}
