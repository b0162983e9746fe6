/* What the files report_*.c share: the facts of one report, and the way figures are printed. */
#ifndef LATHE_TARGETS_REPORT_IMPL_H
#define LATHE_TARGETS_REPORT_IMPL_H

#include "artefact.h"
#include "facts.h"

/* Of one function and one decoded token: bytes that it reads or writes, and what it does. */
typedef struct ReportFunc {
	uint64_t codes, scales, vectors; /* of constants; codes with their padding;
					    vectors with the tables of transforms */
	uint64_t cache;	     /* keys and values of Report.positions positions, or of the window */
	uint64_t rows;	     /* each written once, and read once by each other kernel */
	uint64_t operations; /* two to a multiply-add of weights, keys and values */
} ReportFunc;

typedef struct Report {
	Arena *run;
	const Build *b;
	const Artefact *x;
	const Graph *g;
	const Layout *l;
	uint32_t positions; /* in the cache, behind which the token stands */
	ReportFunc *funcs;  /* [g->count] */
	ReportFunc all;
	Stored stored, layers; /* of all functions; of those of layers */
	uint64_t text;	       /* bytes of machine code in the library, of all levels */
} Report;

/* Of the machine that estimates are for: nobody's own, round numbers. */
enum { REPORT_GBYTES = 50, REPORT_GOPS = 1000, REPORT_POSITIONS = 1024 };
/* The context, batch and threads that the memory is summed for. */
enum { REPORT_BATCH = 128, REPORT_THREADS = 4 };

Report report_facts(Arena *run, const Build *b);
uint64_t report_bytes(const ReportFunc *f);
/* Seconds on that machine: what takes longer, bytes or operations. */
double report_seconds(const ReportFunc *f);
/* Bytes of memory at n_ctx positions, n_batch rows and n_threads workers, but for the context's own
 * few hundred (templates/api.c). */
uint64_t report_memory(const Report *r, uint64_t n_ctx, uint64_t n_batch, uint64_t n_threads);

/* ---- printing ----------------------------------------------------------------------------- */

void html(Text *t, const char *s);
/* <data> that holds the number and shows it for people; `fact` null, or its name, which programs
 * look for. */
void html_bytes(Text *t, const char *fact, uint64_t bytes);
void html_count(Text *t, const char *fact, uint64_t n);
/* "81.3 MB" */
const char *bytes_words(Arena *a, double bytes);
/* Three digits that count. */
const char *number_words(Arena *a, double v);
/* "12.3 µs" */
const char *seconds_words(Arena *a, double seconds);

/* report_graph.c: one function drawn, and where its transforms went as a table. */
void report_graphs(Text *t, const Report *r);
/* "layers 0, 1, 28 to 29": the functions that run a unit's code. */
const char *report_unit_words(const Report *r, const Unit *u);
/* report_chart.c */
void report_token_table(Text *t, const Report *r);
void report_layer_chart(Text *t, const Report *r);
void report_layer_table(Text *t, const Report *r);
void report_roofline(Text *t, const Report *r);
void report_roofline_table(Text *t, const Report *r);
void report_bandwidths(Text *t, const Report *r);
/* report_heat.c */
void report_heat(Text *t, const Report *r);
void report_heat_table(Text *t, const Report *r);

#endif
