// SPDX-License-Identifier: MIT
#include "host/admin/internal.h"

#include <getopt.h>
#include <string.h>

#include "protocol/control/control.h"

static const struct option options[] = {
	{ "socket", 1, NULL, 's' },
	{ "json", 0, NULL, 'j' },
	{ "help", 0, NULL, 'h' },
	{ "version", 0, NULL, 'v' },
	{ NULL, 0, NULL, 0 },
};

static const struct {
	const char *name;
	int (*run)(struct adm *a);
} commands[] = {
	{ "status", adm_status }, { "vm", adm_vm }, { "tenant", adm_tenant },
	{ "session", adm_session }, { "doctor", adm_doctor },
};

/* --json may stand anywhere: people put it last. */
static void take_json(struct adm *a)
{
	int kept = 0;

	for (int i = 0; i < a->argc; i++) {
		if (!strcmp(a->argv[i], "--json"))
			a->json = true;
		else
			a->argv[kept++] = a->argv[i];
	}
	a->argc = kept;
}

int main(int argc, char **argv)
{
	struct adm a = { .socket = VGPU_CONTROL_SOCKET };
	int c;

	/* "+": options after the command are the command's */
	while ((c = getopt_long(argc, argv, "+", options, NULL)) >= 0) {
		switch (c) {
		case 's':
			a.socket = optarg;
			break;
		case 'j':
			a.json = true;
			break;
		case 'h':
			fputs(adm_usage, stdout);
			return ADM_OK;
		case 'v':
			puts("vgpu-admin " VGPU_VERSION);
			return ADM_OK;
		default:
			return adm_wrong_usage("see above");
		}
	}
	a.argc = argc - optind;
	a.argv = argv + optind;
	take_json(&a);
	if (!a.argc)
		return adm_wrong_usage("the command is missing");
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(a.argv[0], commands[i].name))
			return commands[i].run(&a);
	return adm_wrong_usage("there is no such command");
}
