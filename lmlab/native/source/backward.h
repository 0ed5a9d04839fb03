// The backward pass of one thread over a chunk: from the loss to the gradient of every parameter.
#pragma once
#include "forward.h"
#include "gradients.h"

class Worker : public Forward {
public:
    Worker(Engine& engine, Weights& weights) : Forward(engine, weights), share(engine) {}

    GradientShare share;
    double loss = 0.0;

    // Prepares accumulation of a new gradient.
    void begin_gradient() {
        share.clear_rest(shape_);
        loss = 0.0;
        first_chunk_ = true;
    }
    // Ends the accumulation; called after the last chunk.
    void end_gradient() {
        if (first_chunk_) share.clear();  // this thread had no chunk
    }

    // Forward and backward pass; adds to `share` and `loss`. `embedded_gradient` receives the gradient of each token's
    // embedded vector, [sequences of the batch x time][width].
    void learn(const Batch& batch, int first, int sequences, float* embedded_gradient) {
        begin(batch, first, sequences, true, shape_.dropout);
        forward();
        head_backward();
        for (int layer = shape_.layers - 1; layer >= 0; layer--) layer_backward(layer);
        embedding_backward(embedded_gradient + size_t(first) * time_ * shape_.width);
        first_chunk_ = false;
    }

private:
    void head_backward() {
        const Parameters& to = share.at;
        float cap = shape_.softcap;
        for (int row = 0; row < rows_; row += kept_.head_rows) {
            int count = std::min(kept_.head_rows, rows_ - row);
            logits(row, count);
            for (int i = 0; i < count; i++) {
                int64_t target = targets_[row + i];
                float* at = logit(i);
                if (target < 0) {
                    std::memset(at, 0, sizeof(float) * vocabulary_);
                    continue;
                }
                Softmax normal = softmax(i);
                float chosen = at[target];
                loss += normal.logsum - chosen;
                for (int j = 0; j < vocabulary_; j += LANES) {
                    Vector value = load(at + j), gradient = exponential(value - all(normal.logsum)) * all(scale_);
                    if (cap > 0) gradient = gradient * (all(1.0f) - value * value * all(1.0f / (cap * cap)));
                    store(at + j, gradient);
                }
                at[target] -= scale_ * (cap > 0 ? 1.0f - chosen * chosen / (cap * cap) : 1.0f);
                for (int j = shape_.vocabulary; j < vocabulary_; j++) at[j] = 0.0f;
            }
            const float* x = row_of(kept_.final_input, width_, row);
            product(Left<false>{kept_.logits, vocabulary_}, weights_.head.backward, count, shape_.width, shape_.vocabulary,
                Put{row_of(kept_.branch, width_, row), width_});
            weight_gradient(to.head ? to.head : to.embedding, to.head_bias, kept_.logits, vocabulary_, shape_.vocabulary, x, width_,
                shape_.width, count, first_chunk_ && row == 0);
        }
        clock.took(HEAD);
        std::memset(kept_.stream, 0, sizeof(float) * rows_ * width_);
        norm_backward(norm(weights_.norm, weights_.norm_bias), kept_.branch, kept_.layers[shape_.layers - 1].output, kept_.means,
            kept_.deviations, kept_.stream, to.norm, to.norm_bias, rows_, shape_.width, width_);
        std::memset(kept_.embedded_gradient, 0, sizeof(float) * rows_ * width_);
        std::memset(kept_.first_values, 0, sizeof(float) * rows_ * keys_);
        clock.took(NORMS);
    }

    // to[n][k] += sum over rows of gradient[row][n] x[row][k], or = if `first`; the same for the bias if it isn't null.
    void weight_gradient(float* to, float* bias, const float* gradient, int gradient_stride, int outputs, const float* x,
        int stride, int inputs, int rows, bool first) {
        pack_rows(kept_.packed, x, stride, rows, inputs);
        // As many outputs at a time as stay in the cache while all panels are multiplied with them.
        for (int output = 0; output < outputs; output += OUTPUT_BLOCK) {
            const int count = std::min(OUTPUT_BLOCK, outputs - output);
            pack_tiles(kept_.tiles, gradient + output, gradient_stride, count, rows);
            float* at = to + size_t(output) * inputs;
            if (first)
                product_of_tiles(kept_.tiles, kept_.packed, count, inputs, rows, Put{at, inputs});
            else
                product_of_tiles(kept_.tiles, kept_.packed, count, inputs, rows, Add{at, inputs});
        }
        if (!bias) return;
        for (int row = 0; row < rows; row++)
            for (int j = 0; j < outputs; j++) bias[j] += gradient[size_t(row) * gradient_stride + j];
    }

    // The residual stream's gradient with the mask of a branch's dropout; without dropout, the stream's gradient itself.
    float* through_dropout(const Dropout& drop) {
        if (!drop.limit) return kept_.stream;
        for (size_t j = 0; j < size_t(rows_) * width_; j += LANES)
            store(kept_.branch + j, load(kept_.stream + j) * drop.factors(uint32_t(first_row_) * width_ + uint32_t(j)));
        return kept_.branch;
    }

    void layer_backward(int index) {
        LayerActivations& kept = kept_.layers[index];
        LayerWeights& weights = weights_.layers[index];
        const Layer& given = engine_.parameters.layers[index];
        const Layer& to = share.at.layers[index];
        float* gradient = through_dropout(dropout(AFTER_MLP, index));
        // The gradient of the up-projection's output overwrites the slopes.
        float* wide = kept.slopes;
        int hidden = shape_.hidden, up = up_;
        if (shape_.activation == SWIGLU) {
            product(Left<false>{gradient, width_}, weights.down.backward, rows_, hidden, shape_.width,
                [=](int row, int column, Vector value, int lanes) INLINE_LAMBDA {
                    for (size_t place : {size_t(row) * up + column, size_t(row) * up + hidden + column})
                        store_some(wide + place, value * load_some(wide + place, lanes), lanes);
                });
        } else {
            product(Left<false>{gradient, width_}, weights.down.backward, rows_, hidden, shape_.width,
                [=](int row, int column, Vector value, int) INLINE_LAMBDA {
                    size_t place = size_t(row) * up + column;
                    store(wide + place, value * load(wide + place));
                });
        }
        weight_gradient(to.down, to.down_bias, gradient, width_, shape_.width, kept.hidden, hidden_, hidden, rows_, first_chunk_);
        weight_gradient(to.up, to.up_bias, wide, up_, shape_.up, kept.mlp_input, width_, shape_.width, rows_, first_chunk_);
        product(Left<false>{wide, up_}, weights.up.backward, rows_, shape_.width, shape_.up, Put{kept_.branch, width_});
        clock.took(MATRICES);
        norm_backward(norm(weights.mlp_norm, weights.mlp_norm_bias), kept_.branch, kept.middle, kept.mlp_means, kept.mlp_deviations,
            kept_.stream, to.mlp_norm, to.mlp_norm_bias, rows_, shape_.width, width_);
        clock.took(NORMS);
        gradient = through_dropout(dropout(AFTER_ATTENTION, index));
        product(Left<false>{gradient, width_}, weights.projection.backward, rows_, shape_.queries(), shape_.width,
            Put{kept_.attended, queries_});
        weight_gradient(to.projection, to.projection_bias, gradient, width_, shape_.width, kept.attended, queries_,
            shape_.queries(), rows_, first_chunk_);
        clock.took(MATRICES);
        heads_backward(index);
        weight_gradient(
            to.qkv, to.qkv_bias, kept_.qkv, qkv_, shape_.qkv(), kept.attention_input, width_, shape_.width, rows_, first_chunk_);
        product(Left<false>{kept_.qkv, qkv_}, weights.qkv.backward, rows_, shape_.width, shape_.qkv(), Put{kept_.branch, width_});
        clock.took(MATRICES);
        norm_backward(norm(weights.attention_norm, weights.attention_norm_bias), kept_.branch, mixed(index), kept.means,
            kept.deviations, kept_.stream, to.attention_norm, to.attention_norm_bias, rows_, shape_.width, width_);
        if (given.stream_shares) skip_backward(index);
        clock.took(NORMS);
    }

    // A rotation preserves lengths and products, so the norm's gradient may be computed before rotating back.
    void turn_backward(const float* heads, float* gradient, const float* inverses, int place) {
        if (!shape_.qk_norm && !shape_.rotary) return;
        const float *cosines = rotation(engine_.cosines, place), *sines = rotation(engine_.sines, place);
        for (int head = 0; head < shape_.heads + shape_.key_heads;
            head++, heads += shape_.head_width, gradient += shape_.head_width) {
            if (shape_.qk_norm) {
                float along = dot(heads, gradient, shape_.head_width) / shape_.head_width;
                for (int j = 0; j < shape_.head_width; j++) gradient[j] = inverses[head] * (gradient[j] - heads[j] * along);
            }
            if (shape_.rotary)
                for (int pair = 0; pair < shape_.head_width / 2; pair++) {
                    float x = gradient[2 * pair], y = gradient[2 * pair + 1];
                    gradient[2 * pair] = x * cosines[pair] + y * sines[pair];
                    gradient[2 * pair + 1] = y * cosines[pair] - x * sines[pair];
                }
        }
    }

    // From the gradient of the heads' outputs to that of the fused projection's output.
    void heads_backward(int index) {
        LayerActivations& kept = kept_.layers[index];
        const Layer& given = engine_.parameters.layers[index];
        int values_at = shape_.queries() + shape_.keys();
        std::memset(kept_.qkv, 0, sizeof(float) * rows_ * qkv_);
        Rows used{row_of(kept.qkv, 0, 0) + values_at, qkv_};
        if (given.first_share) used = {kept.values, keys_};
        each_head(index, [&](int head, int first, int key_head, const Dropout& drop, uint32_t place) {
            float *qkv = row_of(kept.qkv, qkv_, first), *gradient = row_of(kept_.qkv, qkv_, first);
            int query = head * shape_.head_width, key = shape_.queries() + key_head * shape_.head_width,
                value = values_at + key_head * shape_.head_width;
            attend_backward(kept_.head, {qkv + query, qkv_}, {qkv + key, qkv_},
                {used.row(first) + key_head * shape_.head_width, used.stride},
                {row_of(kept.attended, queries_, first) + query, queries_},
                {row_of(kept_.attended, queries_, first) + query, queries_}, {gradient + query, qkv_}, {gradient + key, qkv_},
                {gradient + value, qkv_}, kept.logsums + size_t(first) * shape_.heads + head, shape_.heads,
                starts_of(first), time_, shape_.head_width, attention_scale(), drop, place);
        });
        clock.took(ATTENTION);
        for (int row = 0; row < rows_; row++) {
            float *gradient = row_of(kept_.qkv, qkv_, row), *values = gradient + values_at,
                  *first = row_of(kept_.first_values, keys_, row);
            if (given.first_share) {
                float mixing = given.first_share[0], along = 0.0f;
                const float *own = row_of(kept.qkv, qkv_, row) + values_at, *original = first_values(row);
                for (int j = 0; j < shape_.keys(); j++) {
                    along += values[j] * (original[j] - own[j]);
                    first[j] += mixing * values[j];
                    values[j] *= 1.0f - mixing;
                }
                share.at.layers[index].first_share[0] += along;
            }
            if (index == 0)
                for (int j = 0; j < shape_.keys(); j++) values[j] += first[j];
            turn_backward(row_of(kept.qkv, qkv_, row), gradient, kept.inverses + size_t(row) * (shape_.heads + shape_.key_heads),
                row % time_);
        }
        clock.took(ROTARY);
    }

    void skip_backward(int index) {
        const float *before = input(index), *embedded = kept_.embedded, *shares = engine_.parameters.layers[index].stream_shares;
        float *stream = kept_.stream, *skipped = kept_.embedded_gradient;
        double own_total = 0.0, skipped_total = 0.0;
        for (int row = 0; row < rows_; row++) {
            Vector own{}, other{};
            for (int j = 0; j < width_; j += LANES) {
                size_t place = size_t(row) * width_ + j;
                Vector gradient = load(stream + place);
                own = multiply_add(gradient, load(before + place), own);
                other = multiply_add(gradient, load(embedded + place), other);
                store(skipped + place, multiply_add(all(shares[1]), gradient, load(skipped + place)));
                store(stream + place, all(shares[0]) * gradient);
            }
            own_total += sum(own), skipped_total += sum(other);
        }
        share.at.layers[index].stream_shares[0] += float(own_total);
        share.at.layers[index].stream_shares[1] += float(skipped_total);
    }

    void embedding_backward(float* embedded_gradient) {
        const Parameters& to = share.at;
        Dropout drop = dropout(AFTER_EMBEDDING, 0);
        for (int row = 0; row < rows_; row++) {
            float* gradient = row_of(kept_.stream, width_, row);
            const float* skipped = row_of(kept_.embedded_gradient, width_, row);
            for (int j = 0; j < width_; j += LANES) {
                Vector total = load(gradient + j) + load(skipped + j);
                if (drop.limit) total = total * drop.factors(uint32_t(first_row_ + row) * width_ + j);
                store(gradient + j, total);
            }
            float* token = to.embedding + size_t(tokens_[row]) * shape_.width;
            for (int j = 0; j < shape_.width; j++) token[j] += gradient[j];
            if (to.positions) {
                float* position = to.positions + size_t(row % time_) * shape_.width;
                for (int j = 0; j < shape_.width; j++) position[j] += gradient[j];
            }
            if (shape_.ngrams) std::memcpy(embedded_gradient + size_t(row) * shape_.width, gradient, sizeof(float) * shape_.width);
        }
        clock.took(EMBEDDING);
    }

    bool first_chunk_ = true;
};
