// Adam with decoupled weight decay (arXiv 1711.05101) on a range of numbers, and the norm of a gradient.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "vector.h"

// The fields and their order are those of `AdamEntry` in lmlab/native/update.py.
struct AdamEntry {
    float* numbers;
    const float* gradient;
    float* step;    // step count, one number
    float* mean;    // running mean of the gradient
    float* square;  // running mean of the squared gradient
    int64_t count;
    // Row length of an n-gram table, of which only rows with a gradient are updated; 0: not a table, all numbers are updated.
    int32_t table_width;
    double lr, decay, beta1, beta2, eps;
};

// The factors of one step, which are equal for all numbers of a parameter.
struct AdamFactors {
    float kept, mean_share, square_kept, square_share, root_scale, eps, rate;

    // `step` counts from 1.
    AdamFactors(const AdamEntry& entry, double lr, double step) {
        double mean_bias = 1.0 - std::pow(entry.beta1, step), square_bias = 1.0 - std::pow(entry.beta2, step);
        // Row-wise Adam adds eps before the bias correction of the square, as torch.optim.SparseAdam does.
        bool lazy = entry.table_width;
        kept = float(1.0 - lr * entry.decay);
        mean_share = float(1.0 - entry.beta1);
        square_kept = float(entry.beta2);
        square_share = float(1.0 - entry.beta2);
        root_scale = lazy ? 1.0f : float(1.0 / std::sqrt(square_bias));
        eps = float(entry.eps);
        rate = float((lazy ? std::sqrt(square_bias) : 1.0) * lr / mean_bias);
    }
};

// The gradient is multiplied with `clip` as it is read.
inline void adam(const AdamEntry& entry, const AdamFactors& factors, float clip, int64_t first, int64_t count) {
    float* __restrict numbers = entry.numbers + first, * __restrict mean = entry.mean + first, * __restrict square = entry.square + first;
    const float* __restrict gradient = entry.gradient + first;
    const AdamFactors f = factors;
    for (int64_t i = 0; i < count; i++) {
        float fresh = gradient[i] * clip;
        mean[i] += f.mean_share * (fresh - mean[i]);
        square[i] = square[i] * f.square_kept + f.square_share * fresh * fresh;
        numbers[i] = numbers[i] * f.kept - f.rate * mean[i] / (std::sqrt(square[i]) * f.root_scale + f.eps);
    }
}

// The sum of squares: partial sums in float32, the total in float64.
inline double squares(const float* at, int64_t count) {
    constexpr int64_t BLOCK = 64 * LANES;
    double total = 0;
    for (; count > 0; at += BLOCK, count -= BLOCK) {
        int64_t whole = std::min(BLOCK, count) / LANES * LANES, rest = std::min(BLOCK, count) - whole;
        Vector sums[4] = {};
        int64_t i = 0;
        for (; i + 4 * LANES <= whole; i += 4 * LANES)
            for (int part = 0; part < 4; part++) {
                Vector value = load(at + i + part * LANES);
                sums[part] = multiply_add(value, value, sums[part]);
            }
        for (; i < whole; i += LANES) sums[0] = multiply_add(load(at + i), load(at + i), sums[0]);
        if (rest) {
            Vector value = load_some(at + whole, int(rest));
            sums[1] = multiply_add(value, value, sums[1]);
        }
        total += double(sum((sums[0] + sums[1]) + (sums[2] + sums[3])));
    }
    return total;
}
