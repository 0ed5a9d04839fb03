// The backward pass of the recurrence for some rows of the batch by one thread: gradients of z, and a share of those of the
// weights.
//
// A block of steps computes the gradients of each relu's input; a weight's gradient is then a product over the rows of all steps of
// the block.
#pragma once
#include "recurrence.h"
#include "stream.h"
#include "sums.h"

// Number of a matrix' outputs whose gradients are computed together.
constexpr int RECURRENCE_OUTPUTS = 16 * SUMS_ROWS;

class RecurrenceBackward {
public:
    // `rows` x `steps` is the maximum size of a block. The gradients of the weights are added to `totals`.
    RecurrenceBackward(const RecurrenceShape& shape, const RecurrenceWeights& weights, const PackedRecurrence& packed,
        const RecurrencePassed& passed, const float* gradient, float* z_gradient, const RecurrenceWeights& totals)
        : shape_(shape),
          weights_(weights),
          packed_(packed),
          at_{shape, passed},
          gradient_(gradient),
          z_gradient_(z_gradient),
          totals_(totals),
          kept_(recurrence_dropout(shape, 0, 0).scale) {}

    // Buffers for blocks of this size; kept between calls.
    struct Room {
        Buffer own, opened, normed, carried, mixed, panels, turned, zeros;
        Buffer stream, inverses, read, given;  // of residuals

        void need(const RecurrenceShape& shape, int rows, int steps) {
            const size_t count = size_t(rows) * steps, widest = std::max(shape.hidden, shape.gates());
            own.need(count * shape.hidden * shape.layers);
            opened.need(count * shape.gates());
            for (Buffer* buffer : {&normed, &carried, &mixed}) buffer->need(size_t(rows) * shape.vector);
            panels.need(count * std::max(shape.hidden, shape.vector));
            turned.need(size_t(RECURRENCE_OUTPUTS) * (count + LANES));
            zeros.need(widest);
            if (!shape.residual) return;
            for (Buffer* buffer : {&stream, &given}) buffer->need(size_t(rows) * shape.hidden);
            inverses.need(size_t(rows) * shape.layers);
            read.need(count * shape.hidden * shape.layers);
        }
    };

    // Computes all steps of `rows` rows from the row `first` on, in blocks of `block` steps.
    void run(Room& room, int first, int rows, int block) {
        room.need(shape_, rows, block);
        room_ = &room, first_ = first, rows_ = rows, block_ = block;
        std::memset(room.carried, 0, sizeof(float) * rows * shape_.vector);
        for (int start = (shape_.steps - 1) / block * block; start >= 0; start -= block) {
            const int stop = std::min(start + block, shape_.steps);
            for (int step = stop - 1; step >= start; step--) {
                const int place = step - start, last = shape_.layers - 1;
                gate_stage(step, place, shape_.residual ? (float*)room.given : own(last, place));
                if (shape_.residual) {
                    stream_stage(step, place);
                } else {
                    through_relu(own(last, place), at_.top(step, first_));
                    for (int layer = last; layer > 0; layer--) layer_stage(step, layer, place);
                }
                reading_stage(step, place);
            }
            weight_gradients(start, stop);
        }
    }

private:
    // The gradients of a layer's relu inputs, at a place in the block.
    float* own(int layer, int place) const { return room_->own + ((size_t(layer) * block_ + place) * rows_) * shape_.hidden; }
    // With residuals, the normalised stream after a layer, which the next layer, or gates and head, read.
    float* read(int layer, int place) const { return room_->read + ((size_t(layer) * block_ + place) * rows_) * shape_.hidden; }
    float* opened(int place) const { return room_->opened + size_t(place) * rows_ * shape_.gates(); }

    // From the gradient of a layer's output to that of its relu's input. A number above zero was positive and kept; NaN stays
    // NaN.
    void through_relu(float* gradient, const float* output) const {
        const Vector kept = all(kept_);
        for (size_t j = 0; j < size_t(rows_) * shape_.hidden; j += LANES)
            store(gradient + j, select(load(output + j) <= Vector{}, Vector{}, load(gradient + j) * kept));
    }

    // From the gradients of the head's input and of the vector after the step to that of the input of head and gates.
    void gate_stage(int step, int place, float* to) const {
        const int width = shape_.vector, hidden = shape_.hidden;
        const float* given = gradient_ + (size_t(step) * shape_.batch + first_) * hidden;
        float* carried = room_->carried;
        if (step == shape_.updates) {
            std::memcpy(to, given, sizeof(float) * rows_ * hidden);
        } else {
            float *normed = room_->normed, *mixed = room_->mixed;
            const float *after = at_.vector(step + 1, first_), *before = at_.vector(step, first_);
            const size_t count = size_t(rows_) * width;
            for (size_t j = 0; j < count; j += LANES) {
                Vector vector = load(after + j);
                store(normed + j, select(magnitude(vector) < all(LARGEST), load(carried + j), Vector{}));
                store(mixed + j, Vector{});
            }
            const Norm norm{weights_.scale, weights_.shift, false};
            norm_backward(norm, normed, at_.mixed(step, first_), at_.mean(step, first_), at_.deviation(step, first_), mixed,
                totals_.scale, totals_.shift, rows_, width, width);
            for (int row = 0; row < rows_; row++) {
                const float *candidate = at_.gates(step, first_ + row), *forget = candidate + width, *admit = forget + width;
                float* open = opened(place) + size_t(row) * shape_.gates();
                const size_t start = size_t(row) * width;
                for (int j = 0; j < width; j += LANES) {
                    Vector slope = load(mixed + start + j), kept = load(forget + j), taken = load(admit + j);
                    store(open + j, slope * taken);
                    store(open + width + j, slope * load(before + start + j) * kept * (all(1.0f) - kept));
                    store(open + 2 * width + j, slope * load(candidate + j) * taken * (all(1.0f) - taken));
                    store(carried + start + j, slope * kept);
                }
            }
            sums(opened(place), shape_.gates(), rows_, packed_.gates, shape_.gates(), hidden, given, hidden, to, hidden);
        }
    }

    // From the gradient of the normalised stream to those of each relu's input; the streams are summed again.
    void stream_stage(int step, int place) const {
        const int hidden = shape_.hidden, last = shape_.layers - 1;
        float *given = room_->given, *stream = room_->stream;
        for (int layer = 0; layer <= last; layer++)
            add_to_stream(stream, at_.output(layer, step, first_), read(layer, place), room_->inverses + layer * rows_, rows_,
                hidden, layer == 0);
        // From here on the gradient of the stream.
        std::memset(stream, 0, sizeof(float) * rows_ * hidden);
        for (int layer = last; layer >= 0; layer--) {
            stream_backward(given, read(layer, place), room_->inverses + layer * rows_, stream, rows_, hidden);
            std::memcpy(own(layer, place), stream, sizeof(float) * rows_ * hidden);
            through_relu(own(layer, place), at_.output(layer, step, first_));
            if (layer)
                sums(own(layer, place), hidden, rows_, packed_.layers[layer - 1], hidden, hidden, room_->zeros, 0, given, hidden);
        }
    }

    // From the gradient of a layer's relu input to that of the layer before it.
    void layer_stage(int step, int layer, int place) const {
        const int hidden = shape_.hidden;
        float* to = own(layer - 1, place);
        sums(own(layer, place), hidden, rows_, packed_.layers[layer - 1], hidden, hidden, room_->zeros, 0, to, hidden);
        through_relu(to, at_.output(layer - 1, step, first_));
    }

    // From the gradient of the first relu's input to those of z and of the vector before the step.
    void reading_stage(int step, int place) const {
        const int width = shape_.vector, hidden = shape_.hidden;
        const float* from = own(0, place);
        std::memcpy(z_gradient_ + (size_t(step) * shape_.batch + first_) * hidden, from, sizeof(float) * rows_ * hidden);
        // The first vector isn't computed.
        if (step) sums(from, hidden, rows_, packed_.reading, hidden, width, room_->carried, width, room_->carried, width);
    }

    // Adds the gradients of the weights over the steps from `start` to before `stop`.
    void weight_gradients(int start, int stop) const {
        const int hidden = shape_.hidden, steps = stop - start, updates = std::min(stop, shape_.updates) - start;
        const int batch = shape_.batch;
        weight_gradient(totals_.reading, nullptr, own(0, 0), hidden, at_.vector(start, first_), batch, shape_.vector, steps);
        for (int layer = 1; layer < shape_.layers; layer++) {
            const float* x = shape_.residual ? read(layer - 1, 0) : at_.output(layer - 1, start, first_);
            weight_gradient(totals_.layers[layer - 1], totals_.biases[layer - 1], own(layer, 0), hidden, x,
                shape_.residual ? rows_ : batch, hidden, steps);
        }
        if (updates > 0)
            weight_gradient(
                totals_.gates, totals_.gate_bias, opened(0), shape_.gates(), at_.top(start, first_), batch, hidden, updates);
    }

    // to[n][k] += sum over rows and steps of gradient[row][n] x[row][k], and the bias's gradient if it isn't null. A step's rows
    // of x are `apart` rows after those of the previous step.
    void weight_gradient(
        float* to, float* bias, const float* gradient, int outputs, const float* x, int apart, int inputs, int steps) const {
        const int count = rows_ * steps, stride = padded(count);
        pack_steps(x, size_t(apart) * inputs, inputs, steps);
        // As many outputs at a time as stay in the cache while all panels are multiplied with them.
        for (int output = 0; output < outputs; output += RECURRENCE_OUTPUTS) {
            const int some = std::min(RECURRENCE_OUTPUTS, outputs - output);
            turn(gradient + output, outputs, some, count, stride);
            if (bias) add_rows(bias + output, some, count, stride);
            float* at = to + size_t(output) * inputs;
            sums(room_->turned, stride, some, room_->panels, count, inputs, at, inputs, at, inputs);
        }
    }

    // to[n] += the sum of turned[n].
    void add_rows(float* to, int outputs, int count, int stride) const {
        for (int output = 0; output < outputs; output++) {
            const float* from = room_->turned + size_t(output) * stride;
            Vector total{};
            int row = 0;
            for (; row + LANES <= count; row += LANES) total += load(from + row);
            float rest = 0.0f;
            for (; row < count; row++) rest += from[row];
            to[output] += sum(total) + rest;
        }
    }

    // Packs x into panels, as pack_rows does for one matrix.
    void pack_steps(const float* x, size_t apart, int inputs, int steps) const {
        const int count = rows_ * steps;
        float* panels = room_->panels;
        // Row by row, in the order of memory.
        for (int place = 0; place < count; place++) {
            const float* from = x + place / rows_ * apart + size_t(place % rows_) * inputs;
            for (int column = 0; column < inputs; column += TILE_COLUMNS) {
                const int wide = std::min(TILE_COLUMNS, inputs - column);
                float* to = panels + size_t(column) * count + size_t(place) * wide;
                for (int j = 0; j < wide; j += LANES) store(to + j, load(from + column + j));
            }
        }
    }

    // turned[n][row] = from[row][n].
    void turn(const float* from, int from_stride, int outputs, int count, int stride) const {
        float* to = room_->turned;
        for (int output = 0; output < outputs; output += LANES) {
            int row = 0;
            for (; row + LANES <= count; row += LANES)
                transpose_block(
                    to + size_t(output) * stride + row, stride, from + size_t(row) * from_stride + output, from_stride, 1.0f);
            for (; row < count; row++)
                for (int j = output; j < output + LANES; j++) to[size_t(j) * stride + row] = from[size_t(row) * from_stride + j];
        }
    }

    const RecurrenceShape& shape_;
    const RecurrenceWeights& weights_;
    const PackedRecurrence& packed_;
    const RecurrencePlaces at_;
    const float* gradient_;
    float* z_gradient_;
    const RecurrenceWeights& totals_;
    const float kept_;
    Room* room_ = nullptr;
    int first_ = 0, rows_ = 0, block_ = 0;
};
