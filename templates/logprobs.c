/* ---- log-probabilities: double, from add, mul, div and bits, in one order ----------------- */

/* e^x for x <= 0, within 1e-14 of it; NaN passes. x = k ln 2 + r, |r| <= ln 2 / 2, and e^r is its
 * series to r^12. */
static double
exp_negative(double x)
{
	const double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
	double e = 1.0, power;
	if (!(x > -700.0))
		return x <= -700.0 ? 0.0 : x;
	const int k = (int)(x * 1.44269504088896340736 - 0.5);
	const double r = x - k * ln2_high - k * ln2_low;
	for (int i = 12; i > 0; i--)
		e = 1.0 + e * r / i;
	const uint64_t bits = (uint64_t)(1023 + k) << 52;
	memcpy(&power, &bits, sizeof power);
	return e * power;
}

/* log(x) for normal x >= 1, within 1e-15 of it or one part in 1e15; NaN passes. x = m 2^k, m near
 * 1, log(m) = 2 artanh((m - 1) / (m + 1)). */
static double
log_above_one(double x)
{
	const double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
	uint64_t bits;
	double m, series = 0.0;
	if (!(x >= 1.0))
		return x;
	memcpy(&bits, &x, sizeof bits);
	int k = (int)(bits >> 52) - 1023;
	bits = (bits & UINT64_C(0x000fffffffffffff)) | UINT64_C(1023) << 52;
	memcpy(&m, &bits, sizeof m);
	if (m > 1.41421356237309504880) {
		m *= 0.5;
		k++;
	}
	const double s = (m - 1.0) / (m + 1.0);
	for (int i = 23; i > 0; i -= 2)
		series = series * (s * s) + 1.0 / i;
	return k * ln2_high + (k * ln2_low + 2.0 * s * series);
}

int
@name@_logprobs(const float *logits, const int32_t *tokens, int n, float *logprobs)
{
	if (!logits || !tokens || n < 1 || !logprobs)
		return @name@_ERROR_ARGUMENT;
	for (int i = 0; i < n; i++)
		if (tokens[i] < 0 || tokens[i] >= @name@_N_VOCAB)
			return @name@_ERROR_TOKEN;
	const unsigned state = float_state_enter();
	for (int i = 0; i < n; i++) {
		const float *row = logits + (size_t)i * @name@_N_VOCAB;
		double largest = row[0], sum = 0.0;
		for (int t = 1; t < @name@_N_VOCAB; t++)
			largest = row[t] > largest ? row[t] : largest;
		for (int t = 0; t < @name@_N_VOCAB; t++)
			sum += exp_negative(row[t] - largest);
		logprobs[i] = (float)(row[tokens[i]] - largest - log_above_one(sum));
	}
	float_state_leave(state);
	return @name@_OK;
}
