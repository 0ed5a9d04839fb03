// Causal attention of one head of one sequence, forward and backward, a block of queries at a time.
//
// Only the keys up to a block's last query are computed, and only those of a query's own document count: `starts` has the place at
// which the document of each query begins (null: all begin at 0). The backward pass recomputes the attention weights from the log-sum-exp of
// each query (as in FlashAttention, arXiv 2205.14135): the whole matrix of weights is never stored.
#pragma once
#include "buffer.h"
#include "functions.h"
#include "gemm.h"

constexpr int QUERY_BLOCK = 32;

struct HeadWork {
    Buffer keys_turned, keys, values_turned, values, queries, gradients, scores, slopes;
    void need(int time, int width) {
        size_t whole = panels_size(width, time) + panels_size(time, width);
        keys_turned.need(whole), keys.need(whole), values_turned.need(whole), values.need(whole);
        queries.need(panels_size(width, QUERY_BLOCK)), gradients.need(panels_size(width, QUERY_BLOCK));
        scores.need(size_t(QUERY_BLOCK) * (time + TILE_COLUMNS)), slopes.need(size_t(QUERY_BLOCK) * (time + TILE_COLUMNS));
    }
};

// The location of a head's rows: `time` rows of `width` numbers.
struct Rows {
    float* at;
    int stride;
    float* row(int index) const { return at + size_t(index) * stride; }
};

// Number of keys for the block of queries before `last`: whole panels, so that their layout is kept.
inline int keys_for(int last, int time) { return std::min(time, (last + TILE_COLUMNS - 1) / TILE_COLUMNS * TILE_COLUMNS); }

// scores[i - first][j] = queries(i) keys(j) for a block of queries.
inline void block_scores(HeadWork& work, Rows queries, int first, int last, int seen, int width, int stride) {
    product_of_packed(Left<false>{queries.row(first), queries.stride}, work.keys_turned, width, last - first, seen, width,
        Put{work.scores, stride});
}

inline void attend_forward(HeadWork& work, Rows queries, Rows keys, Rows values, Rows mixed, float* logsums, int logsum_stride,
    const int* starts, int time, int width, float scale, const Dropout& dropout, uint32_t place) {
    pack_columns(work.keys_turned, keys.at, keys.stride, width, time);
    pack_rows(work.values, values.at, values.stride, time, width);
    int stride = padded(time);
    for (int first = 0; first < time; first += QUERY_BLOCK) {
        int last = std::min(time, first + QUERY_BLOCK), seen = keys_for(last, time);
        block_scores(work, queries, first, last, seen, width, stride);
        for (int i = first; i < last; i++) {
            float* row = work.scores + size_t(i - first) * stride;
            int wide = padded(seen), begin = starts ? starts[i] : 0;
            for (int j = 0; j < begin; j++) row[j] = -1e30f;
            for (int j = i + 1; j < wide; j++) row[j] = -1e30f;
            Vector top = load(row);
            for (int j = LANES; j < wide; j += LANES) top = maximum(top, load(row + j));
            float highest = largest(top) * scale;
            Vector total{};
            for (int j = 0; j < wide; j += LANES) {
                Vector weight = exponential(multiply_add(load(row + j), all(scale), all(-highest)));
                // e^-87 is not zero, but weights of positions that don't count must be.
                store(row + j, weight);
                total += weight;
            }
            for (int j = 0; j < begin; j++) row[j] = 0.0f;
            for (int j = i + 1; j < wide; j++) row[j] = 0.0f;
            float whole = sum(total), inverse = 1.0f / whole;
            logsums[size_t(i) * logsum_stride] = highest + std::log(whole);
            if (dropout.limit)
                for (int j = 0; j < wide; j += LANES)
                    store(row + j, load(row + j) * all(inverse) * dropout.factors(place + uint32_t(i) * time + j));
            else
                for (int j = 0; j < wide; j += LANES) store(row + j, load(row + j) * all(inverse));
        }
        product_of_packed(
            Left<false>{work.scores, stride}, work.values, time, last - first, width, seen, Put{mixed.row(first), mixed.stride});
    }
}

// Sets the queries' gradients and adds to those of keys and values.
inline void attend_backward(HeadWork& work, Rows queries, Rows keys, Rows values, Rows mixed, Rows gradient, Rows query_gradients,
    Rows key_gradients, Rows value_gradients, const float* logsums, int logsum_stride, const int* starts, int time,
    int width, float scale, const Dropout& dropout, uint32_t place) {
    pack_columns(work.keys_turned, keys.at, keys.stride, width, time);
    pack_columns(work.values_turned, values.at, values.stride, width, time);
    pack_rows(work.keys, keys.at, keys.stride, time, width);
    int stride = padded(time);
    for (int first = 0; first < time; first += QUERY_BLOCK) {
        int last = std::min(time, first + QUERY_BLOCK), block = last - first, seen = keys_for(last, time), wide = padded(seen);
        block_scores(work, queries, first, last, seen, width, stride);
        product_of_packed(Left<false>{gradient.row(first), gradient.stride}, work.values_turned, width, block, seen, width,
            Put{work.slopes, stride});
        for (int i = first; i < last; i++) {
            float *weights = work.scores + size_t(i - first) * stride, *slopes = work.slopes + size_t(i - first) * stride;
            float along = dot(mixed.row(i), gradient.row(i), width);
            float logsum = logsums[size_t(i) * logsum_stride];
            for (int j = 0; j < wide; j += LANES) {
                Vector weight = exponential(multiply_add(load(weights + j), all(scale), all(-logsum))), slope = load(slopes + j);
                Vector kept = weight;
                if (dropout.limit) {
                    Vector factors = dropout.factors(place + uint32_t(i) * time + j);
                    kept = weight * factors;
                    slope = slope * factors;
                }
                store(weights + j, kept);
                store(slopes + j, weight * (slope - all(along)) * all(scale));
            }
            for (int j = 0, begin = starts ? starts[i] : 0; j < begin; j++) weights[j] = slopes[j] = 0.0f;
            for (int j = i + 1; j < wide; j++) weights[j] = slopes[j] = 0.0f;
        }
        product_of_packed(Left<false>{work.slopes, stride}, work.keys, time, block, width, seen,
            Put{query_gradients.row(first), query_gradients.stride});
        pack_rows(work.queries, queries.row(first), queries.stride, block, width);
        product(Left<true>{work.slopes, stride}, work.queries, seen, width, block, Add{key_gradients.at, key_gradients.stride});
        pack_rows(work.gradients, gradient.row(first), gradient.stride, block, width);
        product(
            Left<true>{work.scores, stride}, work.gradients, seen, width, block, Add{value_gradients.at, value_gradients.stride});
    }
}
