// Queries and keys of one token in one head: divided by their root mean square, and rotated by their position's angles.
#pragma once
#include "norms.h"

// Divides `width` numbers by their root mean square, in place; returns the factor.
inline float normalise(float* head, int width) {
    float inverse = 1.0f / std::sqrt(dot(head, head, width) / width + EPSILON);
    for (int d = 0; d < width; d++) head[d] *= inverse;
    return inverse;
}

// Rotates each pair of `width` numbers, in place; cosines and sines are those of the position, [width / 2].
inline void turn(float* head, int width, const float* cosines, const float* sines) {
    for (int pair = 0; pair < width / 2; pair++) {
        float x = head[2 * pair], y = head[2 * pair + 1];
        head[2 * pair] = x * cosines[pair] - y * sines[pair];
        head[2 * pair + 1] = x * sines[pair] + y * cosines[pair];
    }
}
