/*
 * A run that can be taken up where it ended: behind each function its codes and the streams' rows
 * are in a folder. What is there counts only once `done` says so.
 */
#ifndef LATHE_GEN_METHOD_STATE_H
#define LATHE_GEN_METHOD_STATE_H

#include "ir/plan.h"
#include "recipe.h"

typedef struct RunState {
	Arena *run;
	const char *folder; /* null: nothing is kept */
	const Model *model;
	Graph *graph;
	Plan *plan;
	Stream *const *streams; /* [STREAMS], from `first` on */
	StreamKind first;
	Pool *pool;
	size_t row_floats; /* of a stream's rows between functions */
} RunState;

/*
 * Makes the folder, or reads the one that is there: functions [0, *done) are finished, their codes
 * in the plan, the streams behind them. `identity` is all that the run depends on: a folder of
 * another one, or one that is damaged, is refused (false).
 */
bool state_open(Diag *d, RunState *s, const char *identity, int *done);
/* Function f is finished. What cannot be written ends the program, and the folder is as before. */
void state_keep(RunState *s, int f);
/* The run has ended well: the folder goes. */
void state_close(RunState *s);

#endif
