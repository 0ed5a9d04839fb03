// One query against the keys and values that are kept: attention while decoding.
#pragma once
#include "vector.h"

// scores[j] = sum over d of query[d] keys[d][j] for BLOCK vectors of j. SPLIT sums side by side, so that the processor
// needn't wait for each.
template <int BLOCK, int SPLIT>
INLINE void score_block(const float* query, const float* keys, int stride, int width, float* scores) {
    Vector sums[SPLIT][BLOCK] = {};
    int d = 0;
    for (; d + SPLIT <= width; d += SPLIT) {
#pragma GCC unroll 4
        for (int part = 0; part < SPLIT; part++) {
            Vector factor = all(query[d + part]);
#pragma GCC unroll 4
            for (int b = 0; b < BLOCK; b++) sums[part][b] += factor * load(keys + size_t(d + part) * stride + b * LANES);
        }
    }
    for (; d < width; d++)
        for (int b = 0; b < BLOCK; b++) sums[0][b] += all(query[d]) * load(keys + size_t(d) * stride + b * LANES);
#pragma GCC unroll 4
    for (int b = 0; b < BLOCK; b++) {
        Vector sum = sums[0][b];
#pragma GCC unroll 4
        for (int part = 1; part < SPLIT; part++) sum += sums[part][b];
        store(scores + b * LANES, sum);
    }
}

// to = sum over j < seen of weights[j] values[j], for VECTORS vectors of each.
template <int VECTORS>
INLINE void mix_values(const float* weights, int seen, const float* values, int stride, float scale, float* to) {
    constexpr int SPLIT = 4;
    Vector sums[SPLIT][VECTORS] = {};
    int j = 0;
    for (; j + SPLIT <= seen; j += SPLIT)
#pragma GCC unroll 4
        for (int part = 0; part < SPLIT; part++) {
            Vector weight = all(weights[j + part]);
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) sums[part][v] += weight * load(values + size_t(j + part) * stride + v * LANES);
        }
    for (; j < seen; j++)
        for (int v = 0; v < VECTORS; v++) sums[0][v] += all(weights[j]) * load(values + size_t(j) * stride + v * LANES);
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; v++)
        store(to + v * LANES, ((sums[0][v] + sums[1][v]) + (sums[2][v] + sums[3][v])) * all(scale));
}

// to = softmax(query keys) values over the first `seen` positions. `query` is scaled already; keys are [width][stride],
// values [positions][padded width]; `scores` and `stride` have room for whole vectors.
inline void attend_to_past(const float* query, const float* keys, int stride, const float* values, int padded_width, int seen, int width, float* scores, float* to) {
    int j = 0;
    for (; j + 3 * LANES < seen; j += 4 * LANES) score_block<4, 2>(query, keys + j, stride, width, scores + j);
    for (; j < seen; j += LANES) score_block<1, 4>(query, keys + j, stride, width, scores + j);
    const int whole = j;
    for (j = seen; j < whole; j++) scores[j] = -1e30f;
    Vector top = load(scores);
    for (j = LANES; j < whole; j += LANES) top = maximum(top, load(scores + j));
    const Vector highest = all(largest(top));
    Vector total{};
    for (j = 0; j < whole; j += LANES) {
        Vector weight = exponential(load(scores + j) - highest);
        store(scores + j, weight);
        total += weight;
    }
    const float scale = 1.0f / sum(total);
    for (j = 0; j + LANES < padded_width; j += 2 * LANES) mix_values<2>(scores, seen, values + j, padded_width, scale, to + j);
    if (j < padded_width) mix_values<1>(scores, seen, values + j, padded_width, scale, to + j);
}
