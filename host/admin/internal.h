/* SPDX-License-Identifier: MIT */
/* vgpu-admin: the administrator's command line over the control socket (protocol/control). */
#ifndef VGPU_HOST_ADMIN_INTERNAL_H
#define VGPU_HOST_ADMIN_INTERNAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { ADM_OK = 0, ADM_FAILED = 1, ADM_USAGE = 2, ADM_COLUMNS = 12 };

struct adm {
	const char *socket;
	bool json;
	int argc; /* what follows the global options */
	char **argv;
};

/* client.c: one request. NULL after a message on standard error. Takes params over. */
json_t *adm_call(struct adm *a, const char *method, json_t *params);
/* As above, without the message: *ret_text says what was wrong. */
json_t *adm_try(struct adm *a, const char *method, json_t *params, char *ret_text, size_t size);
int adm_print_json(const json_t *value);

/* arguments.c: "--name VALUE" into params by a table */
enum adm_value { ADM_TEXT, ADM_NUMBER, ADM_SIZE, ADM_SIZE_OR_NONE, ADM_USER, ADM_GROUP, ADM_YES_NO };
struct adm_option {
	const char *name;  /* of the option, without -- */
	const char *param; /* of the request */
	enum adm_value value;
};
/* The first argument is `name`; options follow. NULL after a message. */
json_t *adm_arguments(int argc, char **argv, const struct adm_option *options);

/* table.c: rows of text, columns as wide as they need */
struct adm_table;
struct adm_table *adm_table_create(const char *const *titles);
/* One text per title, copied; a title that begins with '>' is aligned to the right. */
void adm_table_row(struct adm_table *t, const char *const *cells);
/* Prints and frees. */
void adm_table_print(struct adm_table *t);

/* text.c: values for people */
const char *adm_size(char *buffer, size_t size, json_int_t bytes);
const char *adm_field_size(char *buffer, size_t size, const json_t *o, const char *key);
const char *adm_field(char *buffer, size_t size, const json_t *o, const char *key);
json_int_t adm_integer(const json_t *o, const char *key);
const char *adm_string(const json_t *o, const char *key);
bool adm_parse_size(const char *text, uint64_t *ret);

/* the commands: exit status */
int adm_status(struct adm *a);
int adm_vm(struct adm *a);
int adm_tenant(struct adm *a);
int adm_session(struct adm *a);
int adm_doctor(struct adm *a);
/* usage.c */
extern const char adm_usage[];
int adm_wrong_usage(const char *why);

#endif
