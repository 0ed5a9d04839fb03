// What one open engine holds; the functions of each file take it as their first argument. One call at a time.
#pragma once
#include <memory>
#include <vector>

#include "model.h"
#include "pool.h"

struct Training;  // engine.cpp
struct Weights;   // weights.h

struct Engine {
    Shape shape;
    Parameters parameters;
    Pool pool;
    // Rotary positions: [context][head_width / 2], as the model in PyTorch rounds them.
    std::vector<float> cosines, sines;
    // Of each n-gram table the rows that the gradient has numbers in, each once and in order: all others are zero.
    std::vector<int32_t> touched[MOST_NGRAMS];
    // What training and scoring keep between calls; made by the first one.
    std::shared_ptr<Training> training;
    std::shared_ptr<Weights> weights;

    Engine(const Shape& shape, const Parameters& parameters, int threads)
        : shape(shape), parameters(parameters), pool(threads) {}
};
