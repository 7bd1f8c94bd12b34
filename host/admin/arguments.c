// SPDX-License-Identifier: MIT
/* Options of a command as parameters of a request. */
#include "host/admin/internal.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

static bool parse_number(const char *text, uint64_t *ret)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (end == text || *end || errno || text[0] == '-' || n > INT64_MAX)
		return false;
	*ret = n;
	return true;
}

static bool parse_user(const char *text, uint64_t *ret)
{
	const struct passwd *user = getpwnam(text);

	if (user)
		*ret = user->pw_uid;
	return user || parse_number(text, ret);
}

static bool parse_group(const char *text, uint64_t *ret)
{
	const struct group *group = getgrnam(text);

	if (group)
		*ret = group->gr_gid;
	return group || parse_number(text, ret);
}

/* NULL: not a value of this type. "none" takes a limit, or a user, away. */
static json_t *value_of(enum adm_value type, const char *text)
{
	uint64_t n = 0;
	bool good;

	switch (type) {
	case ADM_TEXT:
		return json_string(text);
	case ADM_YES_NO:
		if (strcmp(text, "yes") != 0 && strcmp(text, "no") != 0)
			return NULL;
		return json_boolean(!strcmp(text, "yes"));
	case ADM_NUMBER:
		good = parse_number(text, &n);
		break;
	case ADM_SIZE:
		good = adm_parse_size(text, &n);
		break;
	default:
		if (!strcmp(text, "none"))
			return json_null();
		good = type == ADM_USER	 ? parse_user(text, &n) :
		       type == ADM_GROUP ? parse_group(text, &n) :
					   adm_parse_size(text, &n);
	}
	return good ? json_integer((json_int_t)n) : NULL;
}

static const char *wanted(enum adm_value type)
{
	switch (type) {
	case ADM_YES_NO:
		return "yes or no";
	case ADM_NUMBER:
		return "a number";
	case ADM_USER:
		return "a user's name or id, or none: there is no such user";
	case ADM_GROUP:
		return "a group's name or id, or none: there is no such group";
	case ADM_SIZE:
		return "a size such as 512M or 8G";
	default:
		return "a size such as 512M or 8G, or none";
	}
}

static const struct adm_option *find(const struct adm_option *options, const char *name, size_t length)
{
	for (; options && options->name; options++)
		if (strlen(options->name) == length && !strncmp(options->name, name, length))
			return options;
	return NULL;
}

/* One option at argv[*at], as "--name VALUE" or "--name=VALUE". */
static bool take_option(int argc, char **argv, int *at, const struct adm_option *options, json_t *params)
{
	const char *name = argv[*at] + 2;
	const char *equals = strchr(name, '=');
	size_t length = equals ? (size_t)(equals - name) : strlen(name);
	const struct adm_option *option = find(options, name, length);
	const char *text = equals ? equals + 1 : *at + 1 < argc ? argv[++*at] : NULL;
	json_t *value;

	if (!option || !text) {
		fprintf(stderr, "vgpu-admin: --%.*s %s\n", (int)length, name,
			option ? "needs a value" : "is not an option of this command");
		return false;
	}
	value = value_of(option->value, text);
	if (!value) {
		fprintf(stderr, "vgpu-admin: --%s %s: it must be %s\n", option->name, text, wanted(option->value));
		return false;
	}
	json_object_set_new(params, option->param, value);
	return true;
}

json_t *adm_arguments(int argc, char **argv, const struct adm_option *options)
{
	json_t *params = json_object();
	bool named = false;

	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "--", 2)) {
			if (take_option(argc, argv, &i, options, params))
				continue;
		} else if (!named) {
			json_object_set_new(params, "name", json_string(argv[i]));
			named = true;
			continue;
		} else {
			fprintf(stderr, "vgpu-admin: unexpected argument %s\n", argv[i]);
		}
		json_decref(params);
		return NULL;
	}
	if (named)
		return params;
	json_decref(params);
	fprintf(stderr, "vgpu-admin: the name is missing\nTry: vgpu-admin --help\n");
	return NULL;
}
