// The forward pass of the recurrence for some rows of the batch by one thread.
#pragma once
#include "recurrence.h"
#include "stream.h"
#include "sums.h"

class RecurrenceForward {
public:
    RecurrenceForward(const RecurrenceShape& shape, const RecurrenceWeights& weights, const PackedRecurrence& packed,
        const RecurrencePassed& passed, const float* z)
        : shape_(shape), weights_(weights), packed_(packed), at_{shape, passed}, z_(z) {}

    // Buffers of a step with residuals; kept between calls.
    struct Room {
        Buffer stream, normed, inverses;

        void need(const RecurrenceShape& shape, int rows) {
            if (!shape.residual) return;
            for (Buffer* buffer : {&stream, &normed}) buffer->need(size_t(rows) * shape.hidden);
            inverses.need(rows);
        }
    };

    // Computes all steps of `rows` rows from the row `first` on; the vector before the first step is already set.
    void run(Room& room, int first, int rows) const {
        room.need(shape_, rows);
        for (int step = 0; step < shape_.steps; step++) {
            for (int layer = 0; layer < shape_.layers; layer++) {
                layer_stage(room, step, layer, first, rows);
                if (!shape_.residual) continue;
                const bool last = layer == shape_.layers - 1;
                add_to_stream(room.stream, at_.output(layer, step, first), last ? at_.top(step, first) : room.normed, room.inverses,
                    rows, shape_.hidden, layer == 0);
            }
            if (step < shape_.updates) gate_stage(step, first, rows);
        }
    }

private:
    void layer_stage(Room& room, int step, int layer, int first, int rows) const {
        const int hidden = shape_.hidden;
        float* to = at_.output(layer, step, first);
        if (layer == 0)
            sums(at_.vector(step, first), shape_.vector, rows, packed_.reading, shape_.vector, hidden,
                z_ + (size_t(step) * shape_.batch + first) * hidden, hidden, to, hidden);
        else
            sums(shape_.residual ? (const float*)room.normed : at_.output(layer - 1, step, first), hidden, rows,
                packed_.layers[layer - 1], hidden, hidden, weights_.biases[layer - 1], 0, to, hidden);
        const Dropout drop = recurrence_dropout(shape_, step, layer);
        const size_t count = size_t(rows) * hidden;
        if (!drop.limit) {
            for (size_t j = 0; j < count; j += LANES) store(to + j, maximum(Vector{}, load(to + j)));
            return;
        }
        const uint32_t place = uint32_t(first) * hidden;
        for (size_t j = 0; j < count; j += LANES)
            store(to + j, maximum(Vector{}, load(to + j)) * drop.factors(place + uint32_t(j)));
    }

    // The gates, u, its norm, and the vector that the next step reads.
    void gate_stage(int step, int first, int rows) const {
        const int width = shape_.vector;
        float *gates = at_.gates(step, first), *mixed = at_.mixed(step, first), *next = at_.vector(step + 1, first);
        const float* now = at_.vector(step, first);
        sums(at_.top(step, first), shape_.hidden, rows, packed_.gates, shape_.hidden, shape_.gates(), weights_.gate_bias, 0, gates,
            shape_.gates());
        for (int row = 0; row < rows; row++) {
            float *candidate = gates + size_t(row) * shape_.gates(), *forget = candidate + width, *admit = forget + width;
            const size_t start = size_t(row) * width;
            for (int j = 0; j < width; j += LANES) {
                Vector kept = sigmoid(load(forget + j)), taken = sigmoid(load(admit + j));
                store(forget + j, kept);
                store(admit + j, taken);
                store(mixed + start + j, multiply_add(kept, load(now + start + j), taken * load(candidate + j)));
            }
        }
        const Norm norm{weights_.scale, weights_.shift, false};
        norm_forward(norm, mixed, next, at_.mean(step, first), at_.deviation(step, first), rows, width, width);
        for (size_t j = 0; j < size_t(rows) * width; j += LANES)
            store(next + j, minimum(all(LARGEST), maximum(all(-LARGEST), load(next + j))));
    }

    const RecurrenceShape& shape_;
    const RecurrenceWeights& weights_;
    const PackedRecurrence& packed_;
    const RecurrencePlaces at_;
    const float* z_;
};
