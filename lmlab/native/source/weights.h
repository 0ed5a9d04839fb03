// The weights in the layout of the passes: matrices packed into panels, for both directions, and vectors padded with zeros.
//
// An update packs what it has just changed, while it is still in the cache; everything else that has changed is packed by the next
// pass, by all threads.
#pragma once
#include "buffer.h"
#include "engine.h"
#include "gemm.h"

struct Matrix {
    const float* weight = nullptr;  // [outputs][inputs]
    int outputs = 0, inputs = 0;
    Buffer forward, backward;                              // right(k = input, j = output) and right(k = output, j = input)
    bool forward_packed = false, backward_packed = false;  // whether the panels are up to date

    void set(const float* at, int out, int in) {
        weight = at, outputs = out, inputs = in;
        forward.need(panels_size(out, in));
        backward.need(panels_size(in, out));
    }
    void pack(bool both) {
        if (!forward_packed) pack_columns(forward, weight, inputs, inputs, outputs);
        forward_packed = true;
        if (!both) return;
        if (!backward_packed) pack_rows(backward, weight, inputs, outputs, inputs);
        backward_packed = true;
    }
    // Whether the outputs from `first` to before `last` are whole panels.
    bool whole_panels(int first, int last) const {
        return first % TILE_COLUMNS == 0 && (last % TILE_COLUMNS == 0 || last == outputs);
    }
    // Packs only these outputs, for both directions; they must be whole panels.
    void pack_part(int first, int last) {
        const float* from = weight + size_t(first) * inputs;
        pack_columns(forward + size_t(first) * inputs, from, inputs, inputs, last - first);
        for (int column = 0; column < inputs; column += TILE_COLUMNS) {
            const int wide = std::min(TILE_COLUMNS, inputs - column), stride = wide > LANES ? TILE_COLUMNS : LANES;
            pack_rows(backward + size_t(column) * outputs + size_t(first) * stride, from + column, inputs, last - first, wide);
        }
    }
};

// A vector of parameters, padded; `absent` if the model doesn't have it.
struct Padded {
    const float* from = nullptr;
    int width = 0;
    Buffer numbers;

    void set(const float* at, int count) {
        from = at, width = count;
        numbers.need(padded(count));
    }
    void copy() {
        if (from) std::memcpy(numbers, from, sizeof(float) * width);
    }
};

struct LayerWeights {
    Matrix qkv, projection, up, down;
    Padded attention_norm, attention_norm_bias, mlp_norm, mlp_norm_bias, qkv_bias, projection_bias, up_bias, down_bias;
};

struct Weights {
    std::vector<LayerWeights> layers;
    Matrix head;
    Padded norm, norm_bias, head_bias;

    explicit Weights(const Engine& engine) : layers(engine.shape.layers) {
        const Shape& shape = engine.shape;
        const Parameters& given = engine.parameters;
        for (int index = 0; index < shape.layers; index++) {
            const Layer& from = given.layers[index];
            LayerWeights& to = layers[index];
            to.qkv.set(from.qkv, shape.qkv(), shape.width);
            to.projection.set(from.projection, shape.width, shape.queries());
            to.up.set(from.up, shape.up, shape.width);
            to.down.set(from.down, shape.width, shape.hidden);
            to.attention_norm.set(from.attention_norm, shape.width);
            to.attention_norm_bias.set(from.attention_norm_bias, shape.width);
            to.mlp_norm.set(from.mlp_norm, shape.width);
            to.mlp_norm_bias.set(from.mlp_norm_bias, shape.width);
            to.qkv_bias.set(from.qkv_bias, shape.qkv());
            to.projection_bias.set(from.projection_bias, shape.width);
            to.up_bias.set(from.up_bias, shape.up);
            to.down_bias.set(from.down_bias, shape.width);
        }
        head.set(given.head ? given.head : given.embedding, shape.vocabulary, shape.width);
        norm.set(given.norm, shape.width);
        norm_bias.set(given.norm_bias, shape.width);
        head_bias.set(given.head_bias, shape.vocabulary);
    }

    std::vector<Matrix*> matrices() {
        std::vector<Matrix*> all{&head};
        for (LayerWeights& layer : layers)
            for (Matrix* matrix : {&layer.qkv, &layer.projection, &layer.up, &layer.down}) all.push_back(matrix);
        return all;
    }

    // `both`: for a backward pass too. `changed`: the weights were changed other than by an update of this engine.
    void pack(Pool& pool, bool both, bool changed) {
        std::vector<Matrix*> stale;
        for (Matrix* matrix : matrices()) {
            if (changed) matrix->forward_packed = matrix->backward_packed = false;
            if (!matrix->forward_packed || (both && !matrix->backward_packed)) stale.push_back(matrix);
        }
        if (!stale.empty())
            pool.run([&](int thread) {
                for (size_t index = thread; index < stale.size(); index += pool.threads()) stale[index]->pack(both);
            });
        for (LayerWeights& layer : layers)
            for (Padded* vector : {&layer.attention_norm, &layer.attention_norm_bias, &layer.mlp_norm, &layer.mlp_norm_bias,
                     &layer.qkv_bias, &layer.projection_bias, &layer.up_bias, &layer.down_bias})
                vector->copy();
        for (Padded* vector : {&norm, &norm_bias, &head_bias}) vector->copy();
    }
};
