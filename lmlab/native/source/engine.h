// The state of an engine; the functions of each file take it as their first argument. Calls must be serialised.
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
    // Rotary positions: [context][head_width / 2], with the same rounding as in the PyTorch model.
    std::vector<float> cosines, sines;
    // Of each n-gram table the rows with a non-zero gradient, sorted and unique; all other rows are zero.
    std::vector<int32_t> touched[MOST_NGRAMS];
    // What training and scoring keep between calls; created by the first one.
    std::shared_ptr<Training> training;
    std::shared_ptr<Weights> weights;

    Engine(const Shape& shape, const Parameters& parameters, int threads) : shape(shape), parameters(parameters), pool(threads) {}
};
