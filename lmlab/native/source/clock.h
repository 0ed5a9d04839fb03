// Measures the time of each section of a step; each thread has its own clock.
#pragma once
#include <chrono>

enum Section { PACKING, EMBEDDING, NORMS, ROTARY, MATRICES, ATTENTION, HEAD, ADDING_UP, SECTIONS };

struct Clock {
    double seconds[SECTIONS] = {};
    std::chrono::steady_clock::time_point last;

    void start() { last = std::chrono::steady_clock::now(); }
    // Adds the time since the last call to `section`.
    void took(Section section) {
        auto now = std::chrono::steady_clock::now();
        seconds[section] += std::chrono::duration<double>(now - last).count();
        last = now;
    }
};
