// The weights as the passes read them: matrices packed into panels, both ways, and vectors padded with zeros.
//
// Packed anew after each update; the work is shared by the threads.
#pragma once
#include "buffer.h"
#include "engine.h"
#include "gemm.h"

struct Matrix {
    const float* weight = nullptr;  // [outputs][inputs]
    int outputs = 0, inputs = 0;
    Buffer forward, backward;  // right(k = input, j = output) and right(k = output, j = input)

    void set(const float* at, int out, int in) {
        weight = at, outputs = out, inputs = in;
        forward.need(panels_size(out, in));
        backward.need(panels_size(in, out));
    }
    void pack(bool both) {
        pack_columns(forward, weight, inputs, inputs, outputs);
        if (both) pack_rows(backward, weight, inputs, outputs, inputs);
    }
};

// A vector of parameters, padded; `absent` where the model has none.
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

    // `both`: for a backward pass too.
    void pack(Pool& pool, bool both) {
        std::vector<Matrix*> matrices{&head};
        for (LayerWeights& layer : layers)
            for (Matrix* matrix : {&layer.qkv, &layer.projection, &layer.up, &layer.down}) matrices.push_back(matrix);
        pool.run([&](int thread) {
            for (size_t index = thread; index < matrices.size(); index += pool.threads()) matrices[index]->pack(both);
        });
        for (LayerWeights& layer : layers)
            for (Padded* vector : {&layer.attention_norm, &layer.attention_norm_bias, &layer.mlp_norm, &layer.mlp_norm_bias,
                                   &layer.qkv_bias, &layer.projection_bias, &layer.up_bias, &layer.down_bias})
                vector->copy();
        for (Padded* vector : {&norm, &norm_bias, &head_bias}) vector->copy();
    }
};
