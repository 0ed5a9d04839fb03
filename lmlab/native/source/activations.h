// Tensors that a forward pass saves for the backward pass, for a chunk of whole sequences, and buffers of the backward pass.
//
// One thread works on one chunk at a time, so that what it has just written is still in its cache.
#pragma once
#include "attention.h"
#include "engine.h"

// Number of a matrix' outputs whose gradients are computed together.
constexpr int OUTPUT_BLOCK = 8 * TILE_ROWS;

struct LayerActivations {
    Buffer mixed;              // the block's input, after embedding_skip
    Buffer attention_input;    // result of the norm
    Buffer qkv;                // queries and keys normalised and rotated, values as projected
    Buffer inverses;           // of each query's and key's root mean square
    Buffer values;             // after value_residual
    Buffer attended, logsums;  // heads side by side; log-sum-exp of each query
    Buffer middle;             // the residual stream after attention
    Buffer mlp_input;
    Buffer hidden, slopes;  // activation, and its derivative (swiglu: of gate and value), later the gradient
    Buffer output;          // the residual stream after the block
    Buffer means, deviations, mlp_means, mlp_deviations;
};

struct Activations {
    std::vector<LayerActivations> layers;
    Buffer embedded, final_input, means, deviations, logits;
    // Buffers of the backward pass: gradients of the residual stream and of intermediate results.
    Buffer stream, branch, qkv, attended, embedded_gradient, first_values, packed, tiles;
    HeadWork head;
    int rows = 0, backward_rows = 0, head_rows = 0;

    void need(const Shape& shape, int sequences, int time, bool backward) {
        int all_rows = sequences * time;
        head.need(time, shape.head_width);
        // Scores may need more rows than training, so each kind of buffer has its own size.
        if (all_rows <= rows && (!backward || all_rows <= backward_rows)) return;
        // Set last: if an allocation fails, the size must not claim that the buffer exists.
        const size_t count = std::max(rows, all_rows);
        size_t width = padded(shape.width), qkv_width = padded(shape.qkv()), queries = padded(shape.queries());
        size_t hidden = padded(shape.hidden), up = padded(shape.up);
        layers.resize(shape.layers);
        for (LayerActivations& layer : layers) {
            layer.mixed.need(count * width);
            layer.attention_input.need(count * width);
            layer.qkv.need(count * qkv_width);
            layer.inverses.need(count * (shape.heads + shape.key_heads));
            layer.values.need(count * padded(shape.keys()));
            layer.attended.need(count * queries);
            layer.logsums.need(count * shape.heads);
            layer.middle.need(count * width);
            layer.mlp_input.need(count * width);
            layer.hidden.need(count * hidden);
            layer.slopes.need(count * up);
            layer.output.need(count * width);
            for (Buffer* buffer : {&layer.means, &layer.deviations, &layer.mlp_means, &layer.mlp_deviations}) buffer->need(count);
        }
        for (Buffer* buffer : {&embedded, &final_input}) buffer->need(count * width);
        means.need(count), deviations.need(count);
        // The logits of many tokens of a large vocabulary would exceed the cache, and then the memory.
        const int some = std::max(2 * TILE_ROWS, int(std::min<size_t>(count, (1 << 21) / padded(shape.vocabulary))));
        logits.need(size_t(some) * padded(shape.vocabulary));
        head_rows = some, rows = int(count);
        if (!backward) return;
        for (Buffer* buffer : {&stream, &branch, &embedded_gradient}) buffer->need(count * width);
        qkv.need(count * qkv_width), attended.need(count * queries);
        first_values.need(count * padded(shape.keys()));
        size_t widest = std::max({shape.width, shape.hidden, shape.queries()});
        packed.need(count * (widest + TILE_COLUMNS));
        tiles.need(size_t(OUTPUT_BLOCK) * count);
        backward_rows = rows;
    }
};
