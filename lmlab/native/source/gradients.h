// One thread's share of the gradient: a number for each parameter except those of n-gram tables.
#pragma once
#include "buffer.h"
#include "engine.h"

// Calls visit(pointer to the field, count of numbers) for every parameter except n-gram tables.
template <class Visit>
void each_parameter(const Shape& shape, Parameters& parameters, const Visit& visit) {
    size_t width = shape.width;
    visit(parameters.embedding, shape.vocabulary * width);
    visit(parameters.positions, shape.context * width);
    visit(parameters.norm, width), visit(parameters.norm_bias, width);
    visit(parameters.head, shape.vocabulary * width), visit(parameters.head_bias, (size_t)shape.vocabulary);
    for (int index = 0; index < shape.layers; index++) {
        Layer& layer = parameters.layers[index];
        visit(layer.attention_norm, width), visit(layer.attention_norm_bias, width);
        visit(layer.qkv, shape.qkv() * width), visit(layer.qkv_bias, (size_t)shape.qkv());
        visit(layer.projection, shape.queries() * width), visit(layer.projection_bias, width);
        visit(layer.mlp_norm, width), visit(layer.mlp_norm_bias, width);
        visit(layer.up, shape.up * width), visit(layer.up_bias, (size_t)shape.up);
        visit(layer.down, shape.hidden * width), visit(layer.down_bias, width);
        visit(layer.first_share, size_t(1)), visit(layer.stream_shares, size_t(2));
    }
}

class GradientShare {
public:
    // Memory only for the parameters that the model has; each starts on a vector and is padded to whole ones.
    explicit GradientShare(const Engine& engine) : at(engine.parameters) {
        size_t size = 0;
        each_parameter(engine.shape, at, [&](float*& field, size_t count) { size += field ? padded(count) : 0; });
        memory_ = Buffer(size);
        float* next = memory_;
        each_parameter(engine.shape, at, [&](float*& field, size_t count) {
            if (!field) return;
            field = next;
            next += padded(count);
        });
    }
    void clear() { std::memset(memory_, 0, memory_.size() * sizeof(float)); }
    // Clears all but the matrices whose gradients are products, the first of which is stored instead of added.
    void clear_rest(const Shape& shape) {
        std::vector<const float*> products{at.head ? at.head : at.embedding};
        for (int index = 0; index < shape.layers; index++) {
            const Layer& layer = at.layers[index];
            products.insert(products.end(), {layer.qkv, layer.projection, layer.up, layer.down});
        }
        each_parameter(shape, at, [&](float*& field, size_t count) {
            if (field && std::find(products.begin(), products.end(), field) == products.end())
                std::memset(field, 0, padded(int(count)) * sizeof(float));
        });
    }

    Parameters at;

private:
    Buffer memory_;
};

// totals = the sum of all shares, in their order (or totals += it); each tensor is divided among the threads.
inline void add_up(Engine& engine, const std::vector<GradientShare*>& shares, Parameters totals, bool accumulate) {
    std::vector<std::pair<float*, size_t>> targets;
    each_parameter(engine.shape, totals, [&](float*& field, size_t count) { targets.push_back({field, count}); });
    std::vector<std::vector<const float*>> sources;
    for (GradientShare* share : shares) {
        sources.emplace_back();
        each_parameter(engine.shape, share->at, [&](float*& field, size_t) { sources.back().push_back(field); });
    }
    int threads = engine.pool.threads();
    engine.pool.run([&](int thread) {
        for (size_t index = 0; index < targets.size(); index++) {
            auto [to, count] = targets[index];
            if (!to) continue;
            size_t vectors = (count + LANES - 1) / LANES;
            size_t first = vectors * thread / threads * LANES, last = std::min(count, vectors * (thread + 1) / threads * LANES);
            for (size_t place = first; place < last; place += LANES) {
                int lanes = std::min<size_t>(LANES, last - place);
                Vector total = accumulate ? load_some(to + place, lanes) : Vector{};
                for (auto& source : sources) total += load(source[index] + place);
                store_some(to + place, total, lanes);
            }
        }
    });
}
