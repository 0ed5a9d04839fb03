// Attention of one query to the cached keys and values, in decoding.
#pragma once
#include "vector.h"

constexpr float NOWHERE = -1e30f;  // the score of a lane that is no position

// scores[j] = sum over d of query[d] keys[d][j] for BLOCK vectors of j, each of which has its keys in one place. SPLIT
// partial sums hide the latency of additions.
template <int BLOCK, int SPLIT>
INLINE void score_block(const float* query, const float* keys, int width, float* scores) {
    Vector sums[SPLIT][BLOCK] = {};
    int d = 0;
    for (; d + SPLIT <= width; d += SPLIT) {
#pragma GCC unroll 4
        for (int part = 0; part < SPLIT; part++) {
            Vector factor = all(query[d + part]);
#pragma GCC unroll 4
            for (int b = 0; b < BLOCK; b++)
                sums[part][b] = multiply_add(factor, load(keys + (size_t(b) * width + d + part) * LANES), sums[part][b]);
        }
    }
    for (; d < width; d++)
        for (int b = 0; b < BLOCK; b++)
            sums[0][b] = multiply_add(all(query[d]), load(keys + (size_t(b) * width + d) * LANES), sums[0][b]);
#pragma GCC unroll 4
    for (int b = 0; b < BLOCK; b++) {
        Vector sum = sums[0][b];
#pragma GCC unroll 4
        for (int part = 1; part < SPLIT; part++) sum += sums[part][b];
        store(scores + b * LANES, sum);
    }
}

// to = scale x sum over j < count of weights[j] values[j], for VECTORS vectors of each.
constexpr int MIXED = 4;

template <int VECTORS>
INLINE void mix_values(const float* weights, int count, const float* values, int stride, float scale, float* to) {
    Vector sums[MIXED][VECTORS] = {};
    int j = 0;
    for (; j + MIXED <= count; j += MIXED)
#pragma GCC unroll 4
        for (int part = 0; part < MIXED; part++) {
            Vector weight = all(weights[j + part]);
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++)
                sums[part][v] = multiply_add(weight, load(values + size_t(j + part) * stride + v * LANES), sums[part][v]);
        }
    // Beyond the last position there may be NaN, which a weight of zero wouldn't remove.
#pragma GCC unroll 4
    for (int part = 0; part < MIXED - 1; part++)
        if (j + part < count)
            for (int v = 0; v < VECTORS; v++)
                sums[part][v] =
                    multiply_add(all(weights[j + part]), load(values + size_t(j + part) * stride + v * LANES), sums[part][v]);
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; v++) store(to + v * LANES, ((sums[0][v] + sums[1][v]) + (sums[2][v] + sums[3][v])) * all(scale));
}

// to = softmax(query keys) values over the positions from `begin` to before `seen`. `query` is scaled already; keys are
// [positions / LANES][width][LANES], values [positions][padded width].
inline void attend_to_past(
    const float* query, const float* keys, const float* values, int padded_width, int begin, int seen, int width, float* scores,
    float* to) {
    // Whole vectors before `begin` are left out.
    const int skipped = begin / LANES * LANES;
    keys += size_t(skipped) * width, values += size_t(skipped) * padded_width;
    begin -= skipped, seen -= skipped;
    int j = 0;
    for (; j + 3 * LANES < seen; j += 4 * LANES) score_block<4, 2>(query, keys + size_t(j) * width, width, scores + j);
    for (; j < seen; j += LANES) score_block<1, 4>(query, keys + size_t(j) * width, width, scores + j);
    // Only some lanes of the last vectors are positions.
    const int whole = j;
    Integers place;
    for (int lane = 0; lane < LANES; lane++) place[lane] = lane;
    Vector top = all(NOWHERE);
    for (j = 0; j < whole; j += LANES) {
        Vector score = select((place + j < seen) & (place + j >= begin), load(scores + j), all(NOWHERE));
        store(scores + j, score);
        top = maximum(top, score);
    }
    const Vector highest = all(largest(top));
    Vector total{};
    for (j = 0; j < whole; j += LANES) {
        // e^-87 is not zero.
        Vector weight = select((place + j < seen) & (place + j >= begin), exponential(load(scores + j) - highest), Vector{});
        store(scores + j, weight);
        total += weight;
    }
    const float scale = 1.0f / sum(total);
    j = 0;
    for (; j + LANES < padded_width; j += 2 * LANES) mix_values<2>(scores, seen, values + j, padded_width, scale, to + j);
    if (j < padded_width) mix_values<1>(scores, seen, values + j, padded_width, scale, to + j);
}
