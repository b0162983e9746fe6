/* Sums of comparisons of predictions. */
#include "compare.h"

#include <math.h>

static size_t
likeliest(const float *logits, size_t n)
{
	size_t best = 0;
	for (size_t i = 1; i < n; i++)
		best = logits[i] > logits[best] ? i : best;
	return best;
}

/* log of the sum of e^x */
static double
log_sum(const float *logits, size_t n, double most)
{
	double sum = 0.0;
	for (size_t i = 0; i < n; i++)
		sum += exp((double)logits[i] - most);
	return most + log(sum);
}

double
compare_loss(const float *logits, size_t n, int32_t token)
{
	return log_sum(logits, n, (double)logits[likeliest(logits, n)]) - (double)logits[token];
}

void
comparison_add(Comparison *c, const float *artefact, const float *model, size_t n, int32_t token)
{
	const size_t a = likeliest(artefact, n), m = likeliest(model, n);
	const double za = log_sum(artefact, n, (double)artefact[a]);
	const double zm = log_sum(model, n, (double)model[m]);
	const double loss = za - (double)artefact[token];
	double divergence = 0.0;
	for (size_t i = 0; i < n; i++) {
		const double p = (double)model[i] - zm;
		divergence += exp(p) * (p - ((double)artefact[i] - za));
	}
	c->count++;
	c->same += a == m;
	c->loss += loss;
	c->loss2 += loss * loss;
	c->reference += zm - (double)model[token];
	c->divergence += divergence;
	c->divergence2 += divergence * divergence;
}

/* Standard error of a mean from sums of values and squares. */
static double
error_of(double sum, double squares, uint64_t count)
{
	const double n = (double)count, mean = sum / n, variance = squares / n - mean * mean;
	return count > 1 && variance > 0.0 ? sqrt(variance / (n - 1.0)) : 0.0;
}

void
comparison_print(Text *t, const Comparison *c)
{
	const double n = (double)c->count, perplexity = exp(c->loss / n);
	text_printf(t,
		    "perplexity %.4f +/- %.4f, of the model %.4f\n"
		    "KL divergence %.5f +/- %.5f nats\n"
		    "same likeliest token %.2f %% of %llu\n",
		    perplexity, perplexity * error_of(c->loss, c->loss2, c->count),
		    exp(c->reference / n), c->divergence / n,
		    error_of(c->divergence, c->divergence2, c->count), 100.0 * (double)c->same / n,
		    (unsigned long long)c->count);
}

static void
member(Text *t, const char *name, double value)
{
	text_printf(t, ", \"%s\": ", name);
	text_double(t, value);
}

void
comparison_json(Text *t, const Comparison *c, int chunks, int ctx)
{
	const double n = (double)c->count, perplexity = exp(c->loss / n);
	text_printf(t, "{\"chunks\": %d, \"ctx\": %d, \"predictions\": %llu", chunks, ctx,
		    (unsigned long long)c->count);
	member(t, "perplexity", perplexity);
	member(t, "perplexity_error", perplexity * error_of(c->loss, c->loss2, c->count));
	member(t, "model_perplexity", exp(c->reference / n));
	member(t, "kl_divergence", c->divergence / n);
	member(t, "kl_divergence_error", error_of(c->divergence, c->divergence2, c->count));
	member(t, "same_likeliest", (double)c->same / n);
	text_printf(t, "}\n");
}
