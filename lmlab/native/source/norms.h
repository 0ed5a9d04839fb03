// LayerNorm and RMSNorm of rows, forward and backward. Rows are `stride` floats apart, with zeros after `width`.
#pragma once
#include "buffer.h"

constexpr float EPSILON = 1e-5f;

struct Norm {
    const float* weight;  // [stride], padded with zeros
    const float* bias;    // [stride], zeros without a bias
    bool rms;
};

// to = norm(x); means and inverses of each row's deviation (or root mean square) are saved for backward.
inline void norm_forward(
    const Norm& norm, const float* x, float* to, float* means, float* inverses, int rows, int width, int stride) {
    for (int row = 0; row < rows; row++, x += stride, to += stride) {
        Vector total{}, squares{};
        float mean = 0.0f;
        if (!norm.rms) {
            for (int j = 0; j < stride; j += LANES) total += load(x + j);
            mean = sum(total) / width;
            int whole = width / LANES * LANES;
            for (int j = 0; j < whole; j += LANES) {
                Vector apart = load(x + j) - all(mean);
                squares = multiply_add(apart, apart, squares);
            }
            if (whole < width) {
                float lanes[LANES] = {};
                for (int j = whole; j < width; j++) lanes[j - whole] = x[j] - mean;
                squares = multiply_add(load(lanes), load(lanes), squares);
            }
        } else {
            for (int j = 0; j < stride; j += LANES) squares = multiply_add(load(x + j), load(x + j), squares);
        }
        float inverse = 1.0f / std::sqrt(sum(squares) / width + EPSILON);
        means[row] = mean;
        inverses[row] = inverse;
        // The padding's weight and bias are zero, and so is its result.
        for (int j = 0; j < stride; j += LANES)
            store(to + j, multiply_add((load(x + j) - all(mean)) * all(inverse), load(norm.weight + j), load(norm.bias + j)));
    }
}

// sum_into += the gradient of x, given that of the norm's result; the gradients of weight and bias are added to theirs.
inline void norm_backward(const Norm& norm, const float* gradient, const float* x, const float* means, const float* inverses,
    float* sum_into, float* weight_gradient, float* bias_gradient, int rows, int width, int stride) {
    for (int row = 0; row < rows; row++, x += stride, gradient += stride, sum_into += stride) {
        Vector along{}, total{}, mean = all(means[row]), inverse = all(inverses[row]);
        for (int j = 0; j < stride; j += LANES) {
            Vector y = (load(x + j) - mean) * inverse, given = load(gradient + j), scaled = given * load(norm.weight + j);
            along = multiply_add(scaled, y, along);
            total += scaled;
            store(weight_gradient + j, multiply_add(given, y, load(weight_gradient + j)));
            if (bias_gradient) store(bias_gradient + j, load(bias_gradient + j) + given);
        }
        Vector slope = all(sum(along) / width), level = all(norm.rms ? 0.0f : sum(total) / width);
        for (int j = 0; j < stride; j += LANES) {
            Vector y = (load(x + j) - mean) * inverse;
            Vector change = multiply_add(load(gradient + j), load(norm.weight + j), -level) - y * slope;
            store(sum_into + j, multiply_add(inverse, change, load(sum_into + j)));
        }
        // Padding must stay zero; subtracting the mean has changed it.
        for (int j = width; j < stride; j++) sum_into[j] = 0.0f;
    }
}
