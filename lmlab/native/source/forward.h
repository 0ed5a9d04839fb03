// The forward pass of one thread over a chunk of whole sequences, and scores: the computation of lmlab/model/gpt.py.
#pragma once
#include "activations.h"
#include "clock.h"
#include "heads.h"
#include "weights.h"

// The places of dropout; each has its own mask in each layer.
enum Place { AFTER_EMBEDDING = 0, ON_WEIGHTS = 1, AFTER_ATTENTION = 2, AFTER_MLP = 3 };

struct Batch {
    const int64_t *tokens, *targets;  // [sequences][time]
    int time;
    uint64_t seed;  // of the dropout masks
    float scale;    // factor of the loss whose gradient is computed
};

class Forward {
public:
    Forward(Engine& engine, Weights& weights) : shape_(engine.shape), engine_(engine), weights_(weights) {
        width_ = padded(shape_.width), qkv_ = padded(shape_.qkv()), queries_ = padded(shape_.queries());
        keys_ = padded(shape_.keys()), hidden_ = padded(shape_.hidden), up_ = padded(shape_.up);
        vocabulary_ = padded(shape_.vocabulary);
    }

    Clock clock;

    // Nats of each target (0 where it is negative), and whether it had the largest logit.
    void score(const Batch& batch, int first, int sequences, float* nats, uint8_t* hits) {
        begin(batch, first, sequences, false, 0.0f);
        forward();
        for (int row = 0; row < rows_; row += kept_.head_rows) {
            int count = std::min(kept_.head_rows, rows_ - row);
            logits(row, count);
            for (int i = 0; i < count; i++) {
                int64_t target = targets_[row + i];
                size_t place = size_t(first) * time_ + row + i;
                Softmax normal = softmax(i);
                nats[place] = target < 0 ? 0.0f : normal.logsum - logit(i)[target];
                int best = 0;
                while (best < shape_.vocabulary - 1 && logit(i)[best] != normal.highest) best++;
                hits[place] = best == target;
            }
        }
        clock.took(HEAD);
    }

protected:
    struct Softmax {
        float logsum, highest;
    };

    void begin(const Batch& batch, int first, int sequences, bool backward, float dropout) {
        clock.start();
        time_ = batch.time, sequences_ = sequences, rows_ = sequences * batch.time, first_row_ = first * batch.time;
        tokens_ = batch.tokens + size_t(first) * time_, targets_ = batch.targets + size_t(first) * time_;
        seed_ = batch.seed, scale_ = batch.scale, dropout_ = dropout;
        kept_.need(shape_, sequences, time_, backward);
        if (shape_.boundary < 0) return;
        starts_.resize(rows_);
        for (int row = 0, start = 0; row < rows_; row++) {
            if (row % time_ == 0) start = 0;
            if (tokens_[row] == shape_.boundary) start = row % time_;
            starts_[row] = start;
        }
    }

    // The places at which the documents of a sequence's tokens begin; null if attention reaches across documents.
    const int* starts_of(int first) const { return shape_.boundary < 0 ? nullptr : starts_.data() + first; }

    Dropout dropout(Place place, int layer) const { return dropout_ > 0 ? Dropout(dropout_, seed_, layer * 4 + place) : Dropout(); }
    Norm norm(const Padded& weight, const Padded& bias) const { return {weight.numbers, bias.numbers, shape_.rms != 0}; }
    const float* input(int layer) { return layer ? kept_.layers[layer - 1].output : kept_.embedded; }
    // The block's input after embedding_skip; without it, the input itself.
    float* mixed(int layer) {
        const bool skips = engine_.parameters.layers[layer].stream_shares;
        return skips ? (float*)kept_.layers[layer].mixed : const_cast<float*>(input(layer));
    }
    float* row_of(float* matrix, int stride, int row) const { return matrix + size_t(row) * stride; }

    void forward() {
        embed();
        for (int layer = 0; layer < shape_.layers; layer++) layer_forward(layer);
        norm_forward(norm(weights_.norm, weights_.norm_bias), kept_.layers[shape_.layers - 1].output, kept_.final_input,
            kept_.means, kept_.deviations, rows_, shape_.width, width_);
        clock.took(NORMS);
    }

    void embed() {
        const Parameters& given = engine_.parameters;
        Dropout drop = dropout(AFTER_EMBEDDING, 0);
        for (int row = 0; row < rows_; row++) {
            int place = row % time_;
            const int64_t* sequence = tokens_ + (row - place);
            const float* sources[2 + MOST_NGRAMS] = {given.embedding + size_t(tokens_[row]) * shape_.width};
            int count = 1;
            if (given.positions) sources[count++] = given.positions + size_t(place) * shape_.width;
            for (int index = 0; index < shape_.ngrams; index++)
                sources[count++] = given.ngrams[index] + ngram_row(shape_, index, sequence, place) * shape_.width;
            float* to = row_of(kept_.embedded, width_, row);
            for (int j = 0; j < shape_.width; j++) to[j] = sources[0][j];
            for (int source = 1; source < count; source++)
                for (int j = 0; j < shape_.width; j++) to[j] += sources[source][j];
            if (drop.limit)
                for (int j = 0; j < width_; j += LANES)
                    store(to + j, load(to + j) * drop.factors(uint32_t(first_row_ + row) * width_ + j));
        }
        clock.took(EMBEDDING);
    }

    void layer_forward(int index) {
        LayerActivations& kept = kept_.layers[index];
        LayerWeights& weights = weights_.layers[index];
        const Layer& given = engine_.parameters.layers[index];
        const float* before = input(index);
        float* stream = mixed(index);
        if (given.stream_shares) {
            Vector own = all(given.stream_shares[0]), skipped = all(given.stream_shares[1]);
            for (size_t j = 0; j < size_t(rows_) * width_; j += LANES)
                store(stream + j, multiply_add(own, load(before + j), skipped * load(kept_.embedded + j)));
        }
        norm_forward(norm(weights.attention_norm, weights.attention_norm_bias), stream, kept.attention_input, kept.means,
            kept.deviations, rows_, shape_.width, width_);
        clock.took(NORMS);
        linear(weights.qkv, weights.qkv_bias, kept.attention_input, width_, Put{kept.qkv, qkv_});
        clock.took(MATRICES);
        for (int row = 0; row < rows_; row++)
            turn_forward(row_of(kept.qkv, qkv_, row), kept.inverses + size_t(row) * (shape_.heads + shape_.key_heads), row % time_);
        const float* values = row_of(kept.qkv, 0, 0) + shape_.queries() + shape_.keys();
        Rows used{const_cast<float*>(values), qkv_};
        if (given.first_share) {
            used = {kept.values, keys_};
            float mixing = given.first_share[0];
            for (int row = 0; row < rows_; row++) {
                const float *own = values + size_t(row) * qkv_, *first = first_values(row);
                for (int j = 0; j < shape_.keys(); j++) used.row(row)[j] = own[j] + mixing * (first[j] - own[j]);
            }
        }
        clock.took(ROTARY);
        each_head(index, [&](int head, int first, int key_head, const Dropout& drop, uint32_t place) {
            float* qkv = row_of(kept.qkv, qkv_, first);
            attend_forward(kept_.head, {qkv + head * shape_.head_width, qkv_},
                {qkv + shape_.queries() + key_head * shape_.head_width, qkv_},
                {used.row(first) + key_head * shape_.head_width, used.stride},
                {row_of(kept.attended, queries_, first) + head * shape_.head_width, queries_},
                kept.logsums + size_t(first) * shape_.heads + head, shape_.heads, starts_of(first), time_, shape_.head_width,
                attention_scale(), drop, place);
        });
        clock.took(ATTENTION);
        linear(weights.projection, weights.projection_bias, kept.attended, queries_,
            residual(kept.middle, stream, dropout(AFTER_ATTENTION, index)));
        clock.took(MATRICES);
        norm_forward(norm(weights.mlp_norm, weights.mlp_norm_bias), kept.middle, kept.mlp_input, kept.mlp_means,
            kept.mlp_deviations, rows_, shape_.width, width_);
        clock.took(NORMS);
        with_activation(shape_.activation, [&](auto kind) { up_forward<kind()>(weights, kept); });
        linear(
            weights.down, weights.down_bias, kept.hidden, hidden_, residual(kept.output, kept.middle, dropout(AFTER_MLP, index)));
        clock.took(MATRICES);
    }

    // epilogue(row, column, x W^T + b, lanes)
    template <class Epilogue>
    void linear(const Matrix& matrix, const Padded& bias, const float* x, int stride, const Epilogue& epilogue) {
        Left<false> left{x, stride};
        if (!bias.from) return product(left, matrix.forward, rows_, matrix.outputs, matrix.inputs, epilogue);
        const float* numbers = bias.numbers;
        product(left, matrix.forward, rows_, matrix.outputs, matrix.inputs,
            [&](int row, int column, Vector value, int lanes)
                INLINE_LAMBDA { epilogue(row, column, value + load(numbers + column), lanes); });
    }

    struct Residual {
        float* to;
        const float* stream;
        int stride;
        Dropout drop;
        uint32_t first;
        INLINE void operator()(int row, int column, Vector value, int) const {
            size_t place = size_t(row) * stride + column;
            if (drop.limit) value = value * drop.factors(first + uint32_t(place));
            store(to + place, load(stream + place) + value);
        }
    };
    // to = stream + dropout(value)
    Residual residual(float* to, const float* stream, const Dropout& drop) const {
        return {to, stream, width_, drop, uint32_t(first_row_) * width_};
    }

    template <int KIND>
    void up_forward(LayerWeights& weights, LayerActivations& kept) {
        if constexpr (KIND != SWIGLU) {
            float *hidden = kept.hidden, *slopes = kept.slopes;
            int stride = hidden_;
            linear(weights.up, weights.up_bias, kept.mlp_input, width_, [=](int row, int column, Vector value, int) INLINE_LAMBDA {
                Bent bent = bend<KIND>(value);
                size_t place = size_t(row) * stride + column;
                store(hidden + place, bent.value);
                store(slopes + place, bent.slope);
            });
            return;
        }
        linear(weights.up, weights.up_bias, kept.mlp_input, width_, Put{kept.slopes, up_});
        for (int row = 0; row < rows_; row++) {
            float *gate = row_of(kept.slopes, up_, row), *value = gate + shape_.hidden, *hidden = row_of(kept.hidden, hidden_, row);
            for (int j = 0; j < shape_.hidden; j += LANES) {
                int lanes = std::min(LANES, shape_.hidden - j);
                Vector given = load_some(value + j, lanes);
                Bent bent = bend<SWIGLU>(load_some(gate + j, lanes));
                store_some(hidden + j, bent.value * given, lanes);
                store_some(gate + j, bent.slope * given, lanes);
                store_some(value + j, bent.value, lanes);
            }
        }
    }

    void turn_forward(float* heads, float* inverses, int place) {
        if (!shape_.qk_norm && !shape_.rotary) return;
        const float *cosines = rotation(engine_.cosines, place), *sines = rotation(engine_.sines, place);
        for (int head = 0; head < shape_.heads + shape_.key_heads; head++, heads += shape_.head_width) {
            if (shape_.qk_norm) inverses[head] = normalise(heads, shape_.head_width);
            if (shape_.rotary) turn(heads, shape_.head_width, cosines, sines);
        }
    }

    const float* rotation(const std::vector<float>& table, int place) const {
        return shape_.rotary ? table.data() + size_t(place) * (shape_.head_width / 2) : nullptr;
    }
    float attention_scale() const { return 1.0f / std::sqrt(float(shape_.head_width)); }
    const float* first_values(int row) { return row_of(kept_.layers[0].qkv, qkv_, row) + shape_.queries() + shape_.keys(); }

    template <class Work>
    void each_head(int index, const Work& work) {
        Dropout drop = dropout(ON_WEIGHTS, index);
        for (int sequence = 0; sequence < sequences_; sequence++)
            for (int head = 0; head < shape_.heads; head++) {
                uint32_t place = (uint32_t(first_row_ / time_ + sequence) * shape_.heads + head) * time_ * time_;
                work(head, sequence * time_, head / (shape_.heads / shape_.key_heads), drop, place);
            }
    }

    float* logit(int row) { return row_of(kept_.logits, vocabulary_, row); }

    // The logits of `count` rows from `row` on, capped, in the first rows of their buffer.
    void logits(int row, int count) {
        const float* bias = weights_.head_bias.numbers;
        float cap = shape_.softcap, *to = kept_.logits;
        int stride = vocabulary_;
        product(Left<false>{row_of(kept_.final_input, width_, row), width_}, weights_.head.forward, count, shape_.vocabulary,
            shape_.width, [=](int i, int column, Vector value, int) INLINE_LAMBDA {
                value += load(bias + column);
                if (cap > 0) value = all(cap) * hyperbolic_tangent(value * all(1.0f / cap));
                store(to + size_t(i) * stride + column, value);
            });
    }

    Softmax softmax(int row) {
        float* at = logit(row);
        for (int j = shape_.vocabulary; j < vocabulary_; j++) at[j] = -1e30f;
        Vector top = load(at);
        for (int j = LANES; j < vocabulary_; j += LANES) top = maximum(top, load(at + j));
        float highest = largest(top);
        Vector total{};
        for (int j = 0; j < vocabulary_; j += LANES) total += exponential(load(at + j) - all(highest));
        return {highest + std::log(sum(total)), highest};
    }

    const Shape& shape_;
    Engine& engine_;
    Weights& weights_;
    Activations kept_;
    int width_, qkv_, queries_, keys_, hidden_, up_, vocabulary_;
    int time_ = 0, sequences_ = 0, rows_ = 0, first_row_ = 0;
    const int64_t *tokens_ = nullptr, *targets_ = nullptr;
    std::vector<int> starts_;
    uint64_t seed_ = 0;
    float scale_ = 0.0f, dropout_ = 0.0f;
};
