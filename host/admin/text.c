// SPDX-License-Identifier: MIT
/* Values for people. */
#include "host/admin/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *adm_size(char *buffer, size_t size, json_int_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double value = (double)bytes;
	unsigned int unit = 0;

	while (value >= 1024 && unit < 4) {
		value /= 1024;
		unit++;
	}
	/* whole numbers as such: a limit of 8G reads "8 GiB" */
	if (value == (double)(json_int_t)value)
		snprintf(buffer, size, "%lld %s", (long long)value, units[unit]);
	else
		snprintf(buffer, size, "%.1f %s", value, units[unit]);
	return buffer;
}

json_int_t adm_integer(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

const char *adm_string(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "-";
}

const char *adm_field_size(char *buffer, size_t size, const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_integer(v) ? adm_size(buffer, size, json_integer_value(v)) : "none";
}

const char *adm_field(char *buffer, size_t size, const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	if (json_is_string(v))
		return json_string_value(v);
	if (json_is_boolean(v))
		return json_is_true(v) ? "yes" : "no";
	if (!json_is_integer(v))
		return "-";
	snprintf(buffer, size, "%lld", (long long)json_integer_value(v));
	return buffer;
}

bool adm_parse_size(const char *text, uint64_t *ret)
{
	static const char units[] = "KMGT";
	unsigned long long n;
	unsigned int shift = 0;
	const char *unit;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (end == text || errno || text[0] == '-')
		return false;
	unit = *end ? strchr(units, *end) : NULL;
	if (unit) {
		shift = 10 * (unsigned int)(unit - units + 1);
		end++;
		if (!strcmp(end, "iB") || !strcmp(end, "B"))
			end += strlen(end);
	}
	if (*end || n > ((uint64_t)INT64_MAX >> shift))
		return false;
	*ret = (uint64_t)n << shift;
	return true;
}
