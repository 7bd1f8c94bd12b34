// SPDX-License-Identifier: MIT
#include "bench/calls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double quantile(const double *sample, unsigned int n, double q)
{
	double sorted[BENCH_SAMPLES_MAX];

	if (!n)
		return 0;
	memcpy(sorted, sample, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), compare);
	return sorted[(unsigned int)(q * (n - 1) + 0.5)];
}

double bench_median(const double *sample, unsigned int n)
{
	return quantile(sample, n, 0.5);
}

/* First line of a command's output, without its end. */
static void output_of(const char *command, char *to, size_t size)
{
	FILE *f = popen(command, "re");

	snprintf(to, size, "unknown");
	if (!f)
		return;
	if (fgets(to, (int)size, f))
		to[strcspn(to, "\n")] = 0;
	else
		snprintf(to, size, "unknown");
	pclose(f);
}

void bench_about_fill(struct bench_about *a, const char *commit)
{
	char cpu[128], self[400], command[512];
	struct utsname u;
	time_t now = time(NULL);
	struct tm tm;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	uname(&u);
	output_of("sed -n 's/^model name[^:]*: //p' /proc/cpuinfo", cpu, sizeof(cpu));
	snprintf(a->machine, sizeof(a->machine), "%.120s, %ld CPUs, Linux %.60s", cpu, sysconf(_SC_NPROCESSORS_ONLN),
		 u.release);
	gmtime_r(&now, &tm);
	strftime(a->date, sizeof(a->date), "%Y-%m-%dT%H:%M:%SZ", &tm);
	if (commit)
		snprintf(a->commit, sizeof(a->commit), "%s", commit);
	else
		output_of("git rev-parse --verify -q HEAD 2>/dev/null", a->commit, sizeof(a->commit));
	self[n > 0 ? n : 0] = 0;
	snprintf(command, sizeof(command), "sha256sum '%s' | cut -c1-64", self);
	output_of(command, a->binary, sizeof(a->binary));
}

static double ratio(const struct bench_row *r)
{
	double native = bench_median(r->native, r->natives);

	return native > 0 ? bench_median(r->our, r->ours) / native : 0;
}

void bench_print(const struct bench_about *a, const struct bench_row *row, unsigned int rows)
{
	printf("%s\n%s, driver %s\n%s, commit %s\n\n", a->machine, a->gpu, a->driver, a->date, a->commit);
	printf("%-16s %-5s %10s %19s %10s %19s %7s\n", "", "", "native", "(10% .. 90%)", "ours", "(10% .. 90%)", "ratio");
	for (unsigned int i = 0; i < rows; i++) {
		const struct bench_row *r = &row[i];

		printf("%-16s %-5s", r->name, r->unit);
		if (r->natives)
			printf(" %10.3f (%8.3f..%8.3f)", bench_median(r->native, r->natives),
			       quantile(r->native, r->natives, 0.1), quantile(r->native, r->natives, 0.9));
		else
			printf(" %10s %19s", "-", "");
		printf(" %10.3f (%8.3f..%8.3f)", bench_median(r->our, r->ours), quantile(r->our, r->ours, 0.1),
		       quantile(r->our, r->ours, 0.9));
		printf(" %6.2f%s%s\n", ratio(r), r->native_is ? "  native: " : "", r->native_is ? r->native_is : "");
	}
	printf("\nMedians of samples; GB/s: more is better; ratio: ours / native.\n");
}

static void json_text(FILE *f, const char *name, const char *text)
{
	fprintf(f, "  \"%s\": \"", name);
	for (; *text; text++)
		if (*text == '"' || *text == '\\')
			fprintf(f, "\\%c", *text);
		else if ((unsigned char)*text >= 0x20)
			fputc(*text, f);
	fprintf(f, "\",\n");
}

static void json_samples(FILE *f, const char *name, const double *sample, unsigned int n, const char *end)
{
	fprintf(f, "\"%s\": [", name);
	for (unsigned int i = 0; i < n; i++)
		fprintf(f, "%s%.5g", i ? ", " : "", sample[i]);
	fprintf(f, "]%s", end);
}

int bench_write_json(const char *path, const struct bench_about *a, const struct bench_row *row, unsigned int rows)
{
	FILE *f = fopen(path, "we");
	int bad;

	if (!f)
		return -errno;
	fprintf(f, "{\n");
	json_text(f, "machine", a->machine);
	json_text(f, "gpu", a->gpu);
	json_text(f, "driver", a->driver);
	json_text(f, "date", a->date);
	json_text(f, "commit", a->commit);
	json_text(f, "binary_hash", a->binary);
	fprintf(f, "  \"results\": [\n");
	for (unsigned int i = 0; i < rows; i++) {
		const struct bench_row *r = &row[i];

		fprintf(f, "    {\"name\": \"%s\", \"unit\": \"%s\", \"native\": %.5g, \"ours\": %.5g, \"ratio\": %.4g,\n     ",
			r->name, r->unit, bench_median(r->native, r->natives), bench_median(r->our, r->ours), ratio(r));
		json_samples(f, "samples_native", r->native, r->natives, ",\n     ");
		json_samples(f, "samples_ours", r->our, r->ours, i + 1 < rows ? "},\n" : "}\n");
	}
	fprintf(f, "  ]\n}\n");
	bad = ferror(f);
	if (fclose(f) || bad)
		return -EIO;
	return 0;
}
