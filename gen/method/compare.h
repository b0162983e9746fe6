/*
 * How far an artefact is from its model: perplexity of both, the divergence of their predictions,
 * and how often both find the same token the likeliest.
 */
#ifndef LATHE_GEN_METHOD_COMPARE_H
#define LATHE_GEN_METHOD_COMPARE_H

#include "ir/support.h"

/* Sums over predictions. Of a logits' row p is softmax, in double. */
typedef struct Comparison {
	uint64_t count, same; /* predictions; same likeliest token, the lowest id of equals */
	double loss, loss2, reference, divergence, divergence2;
} Comparison;

/* One prediction: logits of the artefact and of the model, n each, and the token that came. The
 * divergence is KL(model || artefact), in nats. */
void comparison_add(Comparison *c, const float *artefact, const float *model, size_t n,
		    int32_t token);
/* -log p of the token that came, in nats. */
double compare_loss(const float *logits, size_t n, int32_t token);
/* For people, and as a JSON object with a newline. */
void comparison_print(Text *t, const Comparison *c);
void comparison_json(Text *t, const Comparison *c, int chunks, int ctx);

#endif
