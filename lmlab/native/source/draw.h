// Sampling of one token from a row of logits: the arithmetic of lmlab/generation/filters.py and draw.py, in the same order and, as
// far as it can change the sampled token, in the same precision.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

// The fields and their order are those of `Settings` in decoder.py.
struct Settings {
    double temperature, top_p, min_p, penalty;
    int32_t top_k;
    int32_t vocabulary;   // tokens to sample from: the first ones of the logits
    int32_t end_of_text;  // ends a row; -1: there is none
    int32_t draft;        // maximum number of draft tokens
};

constexpr int DIVERGED = -1;
constexpr float NEVER = -std::numeric_limits<float>::infinity();

// Buffers for sampling, allocated once.
struct DrawRoom {
    std::vector<float> sorted;
    std::vector<double> weights;
    std::vector<int32_t> order;
    explicit DrawRoom(int vocabulary) : sorted(vocabulary), weights(vocabulary), order(vocabulary) {}
};

// The highest logit, or NaN if one is NaN.
inline float highest(const float* logits, int count) {
    float most = NEVER;
    bool numbers = true;
    for (int token = 0; token < count; token++) {
        numbers &= logits[token] == logits[token];
        most = logits[token] > most ? logits[token] : most;
    }
    return numbers ? most : std::numeric_limits<float>::quiet_NaN();
}

inline void keep_top_k(float* logits, int count, int k, DrawRoom& room) {
    if (k == 0 || k >= count) return;
    std::copy(logits, logits + count, room.sorted.begin());
    std::nth_element(room.sorted.begin(), room.sorted.begin() + (k - 1), room.sorted.begin() + count, std::greater<float>());
    float lowest = room.sorted[k - 1];
    for (int token = 0; token < count; token++) logits[token] = logits[token] < lowest ? NEVER : logits[token];
}

// The highest logit is 0 here. A heap yields the likeliest tokens first, without sorting those that are dropped.
inline void keep_top_p(float* logits, int count, float p, DrawRoom& room) {
    if (p == 1.0f) return;
    double total = 0;
    int left = 0;
    for (int token = 0; token < count; token++) {
        if (logits[token] == NEVER) continue;
        total += std::exp(logits[token]);
        room.order[left++] = token;
    }
    auto first = room.order.begin();
    auto less_likely = [logits](int32_t one, int32_t other) {
        return logits[one] < logits[other] || (logits[one] == logits[other] && one > other);
    };
    std::make_heap(first, first + left, less_likely);
    double before = 0;
    bool likeliest = true;
    while (left && (likeliest || (float)before < p)) {
        likeliest = false;
        before += std::exp(logits[room.order[0]]) / total;
        std::pop_heap(first, first + left--, less_likely);
    }
    for (int place = 0; place < left; place++) logits[room.order[place]] = NEVER;
}

inline void keep_min_p(float* logits, int count, double share) {
    if (share == 0) return;
    float lowest = (float)std::log(share);
    for (int token = 0; token < count; token++) logits[token] = logits[token] < lowest ? NEVER : logits[token];
}

// The token at which the cumulative probability exceeds the uniform number, or at temperature 0 the likeliest, the lowest id of
// ties. Changes the logits. `seen[token]`: whether it occurred before. DIVERGED if the logits aren't finite.
inline int draw(float* logits, const uint8_t* seen, const Settings& settings, double uniform, DrawRoom& room) {
    const int count = settings.vocabulary;
    const float penalty = (float)settings.penalty, temperature = (float)settings.temperature;
    if (penalty != 1.0f)
        for (int token = 0; token < count; token++)
            if (seen[token]) logits[token] = logits[token] > 0 ? logits[token] / penalty : logits[token] * penalty;
    const float most = highest(logits, count);
    if (!std::isfinite(most)) return DIVERGED;
    if (settings.temperature == 0) return int(std::find(logits, logits + count, most) - logits);
    for (int token = 0; token < count; token++) logits[token] = (logits[token] - most) / temperature;
    keep_top_k(logits, count, settings.top_k, room);
    keep_top_p(logits, count, (float)settings.top_p, room);
    keep_min_p(logits, count, settings.min_p);
    double total = 0;
    for (int token = 0; token < count; token++) total += room.weights[token] = std::exp((double)logits[token]);
    // A number below 1 times the total is below it, unless rounding makes them equal: then the last possible token is taken.
    const double target = uniform * total;
    double passed = 0;
    int last = 0;
    for (int token = 0; token < count; token++) {
        if (room.weights[token] == 0) continue;
        last = token;
        passed += room.weights[token];
        if (passed > target) break;
    }
    return last;
}
