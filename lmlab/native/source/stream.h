// The residual stream of a network whose norms have no weights: addition, normalisation, and the backward pass.
#pragma once
#include "norms.h"

// stream += added (or = added, at the beginning); normed = stream / its root mean square, whose inverse is saved.
inline void add_to_stream(float* stream, const float* added, float* normed, float* inverses, int rows, int width, bool begins) {
    for (int row = 0; row < rows; row++, stream += width, added += width, normed += width) {
        Vector squares{};
        for (int j = 0; j < width; j += LANES) {
            Vector value = begins ? load(added + j) : load(stream + j) + load(added + j);
            store(stream + j, value);
            squares = multiply_add(value, value, squares);
        }
        const float inverse = 1.0f / std::sqrt(sum(squares) / width + EPSILON);
        inverses[row] = inverse;
        for (int j = 0; j < width; j += LANES) store(normed + j, load(stream + j) * all(inverse));
    }
}

// sum_into += the gradient of the stream, given that of `normed`.
inline void stream_backward(
    const float* gradient, const float* normed, const float* inverses, float* sum_into, int rows, int width) {
    for (int row = 0; row < rows; row++, gradient += width, normed += width, sum_into += width) {
        Vector along{};
        for (int j = 0; j < width; j += LANES) along = multiply_add(load(gradient + j), load(normed + j), along);
        const Vector slope = all(sum(along) / width), inverse = all(inverses[row]);
        for (int j = 0; j < width; j += LANES)
            store(sum_into + j,
                multiply_add(inverse, multiply_add(load(normed + j), -slope, load(gradient + j)), load(sum_into + j)));
    }
}
