// The description of a context-propagation model's recurrence for the kernel: its shape, weights, and the tensors of a pass.
//
//     h_1 = drop(relu(z_t + V c_t));  h_l = drop(relu(W_l h_(l-1) + b_l))
//     [d, f, i] = G o_t + g, with f and i followed by a sigmoid, and o_t = h_L
//     c_(t+1) = clamp(LayerNorm(u_t), -10, 10)  with  u_t = f * c_t + i * d
//
// With residuals each layer adds to a residual stream, which is read divided by its root mean square:
//
//     a_1 = drop(relu(z_t + V c_t));  a_l = drop(relu(W_l n(a_1 + .. + a_(l-1)) + b_l));  o_t = n(a_1 + .. + a_L)
//
// Widths are multiples of 16, so that no row needs padding. Filled by lmlab/native/recurrence.py, whose fields are the same.
#pragma once
#include <cstdint>
#include <vector>

#include "buffer.h"
#include "functions.h"
#include "gemm.h"
#include "norms.h"
#include "pool.h"

constexpr float LARGEST = 10.0f;

struct RecurrenceShape {
    int32_t layers, hidden, vector, steps, batch;
    int32_t updates;   // number of updates of the context vector: `steps`, or one less
    int32_t residual;  // whether the layers have a residual stream
    int32_t keep;  // whether all steps are saved for the backward pass; else tensors that aren't results hold the last step only
    float dropout;
    uint64_t seed;  // of the dropout masks

    int gates() const { return 3 * vector; }
    // Number of layers whose outputs are in `lower`: without residuals the last one's output is in `top`.
    int lower() const { return layers - 1 + residual; }
};

// Row-major, a matrix is [outputs][inputs]; also the gradients of these.
struct RecurrenceWeights {
    float *reading, *gates, *gate_bias, *scale, *shift;  // V, G, g, the norm's weight and bias
    int64_t reading_stride;                              // floats between V's rows
    float **layers, **biases;                            // W_2..W_L, b_2..b_L
};

// The tensors that a pass fills, time-major: see `ForwardPass` in lmlab/model/recurrence.py.
struct RecurrencePassed {
    float* top;                 // [steps][batch][hidden]: o
    float* lower;               // [lower()][steps, or 1][batch][hidden]: h of all layers but the last, or a of all
    float* vectors;             // [updates + 1][batch][vector]
    float* gates;               // [updates, or 1][batch][3 x vector]
    float* mixed;               // [updates, or 1][batch][vector]
    float *means, *deviations;  // [updates, or 1][batch]
};

// Addresses of the numbers of a step's row.
struct RecurrencePlaces {
    const RecurrenceShape& shape;
    const RecurrencePassed& passed;

    size_t place(int step, int row) const { return size_t(shape.keep ? step : 0) * shape.batch + row; }
    float* top(int step, int row) const { return passed.top + (size_t(step) * shape.batch + row) * shape.hidden; }
    // Layers are counted from 0 to layers - 1.
    float* output(int layer, int step, int row) const {
        if (layer == shape.lower()) return top(step, row);
        const size_t kept = size_t(shape.keep ? shape.steps : 1) * shape.batch;
        return passed.lower + (layer * kept + place(step, row)) * shape.hidden;
    }
    float* vector(int step, int row) const { return passed.vectors + (size_t(step) * shape.batch + row) * shape.vector; }
    float* gates(int step, int row) const { return passed.gates + place(step, row) * shape.gates(); }
    float* mixed(int step, int row) const { return passed.mixed + place(step, row) * shape.vector; }
    float* mean(int step, int row) const { return passed.means + place(step, row); }
    float* deviation(int step, int row) const { return passed.deviations + place(step, row); }
};

// Dropout after a layer at a step, at place row x hidden + column: masks don't depend on how rows are divided.
inline Dropout recurrence_dropout(const RecurrenceShape& shape, int step, int layer) {
    return Dropout(shape.dropout, shape.seed, uint32_t(step) * shape.layers + layer);
}

// The matrices packed for the forward or the backward pass.
struct PackedRecurrence {
    Buffer reading, gates;
    std::vector<Buffer> layers;

    // `forward`: right(k = input, j = output), else right(k = output, j = input). The matrices are divided among the threads.
    void pack(Pool& pool, const RecurrenceShape& shape, const RecurrenceWeights& weights, bool forward) {
        const int later = shape.layers - 1;
        layers.resize(later);
        pool.run([&](int thread) {
            for (int index = thread; index < later + 2; index += pool.threads()) {
                if (index < later)
                    pack_one(layers[index], weights.layers[index], shape.hidden, shape.hidden, shape.hidden, forward);
                else if (index == later)
                    pack_one(gates, weights.gates, shape.hidden, shape.gates(), shape.hidden, forward);
                else
                    pack_one(reading, weights.reading, weights.reading_stride, shape.hidden, shape.vector, forward);
            }
        });
    }

private:
    static void pack_one(Buffer& to, const float* from, int stride, int outputs, int inputs, bool forward) {
        to.need(size_t(outputs) * inputs);
        forward ? pack_columns(to, from, stride, inputs, outputs) : pack_rows(to, from, stride, outputs, inputs);
    }
};
