/* A plan's transforms in a graph. */
#ifndef LATHE_IR_PLAN_APPLY_H
#define LATHE_IR_PLAN_APPLY_H

#include "graph.h"
#include "plan.h"

/*
 * Puts each transform T of the plan at its site of a graph that graph_build made: the row goes
 * through T, and through T^-1 on its way to each reader, so the function stays what it was. The
 * passes then move the pairs (rewrite.h). Formats are the caller's to set; ready codes are found
 * through the plan, which must outlive the graph.
 *
 * A transform of the wrong order, or one that would have to run at a site where nothing may run, is
 * refused at its line with the law that holds it (false).
 */
bool graph_apply_plan(Graph *g, const Plan *p, Diag *d);

/*
 * tied.c: chooses what becomes of a tied embedding and head under plan p (Graph.tied), and marks
 * their values as shared where they stay one table. The cheaper is one table where its transforms
 * take under 1 % of the head's multiply-adds, unless the head's row is rounded to fewer than 8
 * bits: a row in the plan's basis rounds better. What was wanted and cannot be is refused (false).
 */
bool graph_choose_tied(Graph *g, const Plan *p, Diag *d);

/* The site of the row that linears of a role read, -1: the role is no linear. */
int role_site(int role);
/* Why t may not make the rows of a site longer or shorter; null: it may, or does not. */
const char *site_padding_law(const Plan *p, Site s, const Transform *t);
/* Columns of a role's matrices of a layer as the plan stores them: more than the model's where the
 * rows that they read are padded. */
uint32_t plan_columns(const Plan *p, const Model *m, int role, uint32_t layer);
/* How messages call a site: "layers.3.attn.v" or "residual". */
const char *site_place(Arena *a, Site s, int layer);

#endif
