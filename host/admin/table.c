// SPDX-License-Identifier: MIT
/* Tables for people: two spaces between columns, the last one not padded. */
#include "host/admin/internal.h"

#include <stdlib.h>
#include <string.h>

struct row {
	struct row *next;
	char *cell[ADM_COLUMNS];
};

struct adm_table {
	struct row *first, **last;
	unsigned int columns;
	size_t width[ADM_COLUMNS];
	bool right[ADM_COLUMNS];
};

static void add(struct adm_table *t, const char *const *cells)
{
	struct row *r = calloc(1, sizeof(*r));

	if (!r)
		return;
	for (unsigned int i = 0; i < t->columns; i++) {
		r->cell[i] = strdup(cells[i] ? cells[i] : "-");
		if (r->cell[i] && strlen(r->cell[i]) > t->width[i])
			t->width[i] = strlen(r->cell[i]);
	}
	*t->last = r;
	t->last = &r->next;
}

struct adm_table *adm_table_create(const char *const *titles)
{
	struct adm_table *t = calloc(1, sizeof(*t));
	const char *plain[ADM_COLUMNS] = { NULL };

	if (!t)
		return NULL;
	t->last = &t->first;
	for (; t->columns < ADM_COLUMNS && titles[t->columns]; t->columns++) {
		t->right[t->columns] = titles[t->columns][0] == '>';
		plain[t->columns] = titles[t->columns] + t->right[t->columns];
	}
	add(t, plain);
	return t;
}

void adm_table_row(struct adm_table *t, const char *const *cells)
{
	if (t)
		add(t, cells);
}

static void print_cell(const struct adm_table *t, unsigned int i, const char *text)
{
	bool last = i + 1 == t->columns;
	int width = (int)t->width[i];

	if (t->right[i])
		printf("%*s%s", width, text, last ? "" : "  ");
	else if (last)
		printf("%s", text);
	else
		printf("%-*s  ", width, text);
}

void adm_table_print(struct adm_table *t)
{
	while (t && t->first) {
		struct row *r = t->first;

		for (unsigned int i = 0; i < t->columns; i++) {
			print_cell(t, i, r->cell[i] ? r->cell[i] : "");
			free(r->cell[i]);
		}
		puts("");
		t->first = r->next;
		free(r);
	}
	free(t);
}
