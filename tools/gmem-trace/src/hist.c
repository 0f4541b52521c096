// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Histograms with 8 buckets for each power of two, as the BPF programs fill them. */
#include "gmem-trace.h"

/* The smallest value of a bucket. */
__u64 hist_low(unsigned int bucket)
{
	unsigned int octave = bucket / HIST_SUBS, sub = bucket % HIST_SUBS;

	if (!octave)
		return bucket;
	return (__u64)(HIST_SUBS + sub) << (octave - 1);
}

/* The first value after a bucket. */
__u64 hist_high(unsigned int bucket)
{
	return hist_low(bucket + 1);
}

static unsigned int hist_bucket(__u64 value)
{
	unsigned int bit;

	if (value < HIST_SUBS)
		return value;
	bit = 63 - __builtin_clzll(value);
	if (bit > HIST_TOP_BIT)
		return HIST_BUCKETS - 1;
	return (bit - HIST_SUB_BITS + 1) * HIST_SUBS +
	       (value >> (bit - HIST_SUB_BITS) & (HIST_SUBS - 1));
}

void hist_add_value(struct hist *h, __u64 value)
{
	h->count++;
	h->sum += value;
	h->bucket[hist_bucket(value)]++;
	if (value > h->max)
		h->max = value;
}

/* What stands for all values of a bucket: no more than 1/17 wrong for any of them. */
static __u64 hist_middle(unsigned int bucket)
{
	__u64 low = hist_low(bucket), high = hist_high(bucket);

	if (high - low <= 1)
		return low;
	return 2.0 * low * high / (low + high);
}

/* The smallest value that at least @per_mille of all values do not exceed; 0 if there is none. */
__u64 hist_percentile(const struct hist *h, unsigned int per_mille)
{
	__u64 total = 0, seen = 0, rank, value;
	unsigned int i;

	for (i = 0; i < HIST_BUCKETS; i++)
		total += h->bucket[i];
	if (!total)
		return 0;
	rank = (total * per_mille + 999) / 1000;
	if (!rank)
		rank = 1;
	for (i = 0; i < HIST_BUCKETS - 1; i++) {
		seen += h->bucket[i];
		if (seen >= rank)
			break;
	}
	value = hist_middle(i);
	return h->max && value > h->max ? h->max : value;
}

/* The largest value of those since @earlier: exact if it is a new maximum, else from its bucket. */
static __u64 max_since(const struct hist *h, const struct hist *earlier)
{
	unsigned int i;

	if (h->max > earlier->max)
		return h->max;
	for (i = HIST_BUCKETS; i-- > 0; ) {
		if (h->bucket[i] > earlier->bucket[i])
			return hist_high(i) - 1 < h->max ? hist_high(i) - 1 : h->max;
	}
	return 0;
}

void hist_subtract(struct hist *h, const struct hist *earlier)
{
	unsigned int i;

	h->max = max_since(h, earlier);
	h->count -= earlier->count;
	h->sum -= earlier->sum;
	for (i = 0; i < HIST_BUCKETS; i++)
		h->bucket[i] -= earlier->bucket[i];
}

void hist_add_all(struct hist *sum, const struct hist *h)
{
	unsigned int i;

	sum->count += h->count;
	sum->sum += h->sum;
	if (h->max > sum->max)
		sum->max = h->max;
	for (i = 0; i < HIST_BUCKETS; i++)
		sum->bucket[i] += h->bucket[i];
}

json_object *hist_json(const struct hist *h)
{
	json_object *o = json_object_new_object(), *buckets = json_object_new_array(), *b;
	unsigned int i;

	json_num(o, "count", h->count);
	json_num(o, "sum_ns", h->sum);
	json_num(o, "mean_ns", h->count ? h->sum / h->count : 0);
	json_num(o, "p50_ns", hist_percentile(h, 500));
	json_num(o, "p90_ns", hist_percentile(h, 900));
	json_num(o, "p99_ns", hist_percentile(h, 990));
	json_num(o, "p999_ns", hist_percentile(h, 999));
	json_num(o, "max_ns", h->max);
	for (i = 0; i < HIST_BUCKETS; i++) {
		if (!h->bucket[i])
			continue;
		b = json_object_new_array_ext(3);
		json_object_array_add(b, json_object_new_uint64(hist_low(i)));
		json_object_array_add(b, json_object_new_uint64(hist_high(i)));
		json_object_array_add(b, json_object_new_uint64(h->bucket[i]));
		json_object_array_add(buckets, b);
	}
	json_object_object_add(o, "buckets", buckets);
	return o;
}
