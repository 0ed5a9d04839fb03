// Where the time of a step goes, by section; each thread counts its own.
#pragma once
#include <chrono>

enum Section { PACKING, EMBEDDING, NORMS, ROTARY, MATRICES, ATTENTION, HEAD, ADDING_UP, SECTIONS };

struct Clock {
    double seconds[SECTIONS] = {};
    std::chrono::steady_clock::time_point last;

    void start() { last = std::chrono::steady_clock::now(); }
    // Counts what went by since the last call for `section`.
    void took(Section section) {
        auto now = std::chrono::steady_clock::now();
        seconds[section] += std::chrono::duration<double>(now - last).count();
        last = now;
    }
};
