// Transposes of blocks of LANES by LANES numbers in registers.
#pragma once
#include <utility>

#include "vector.h"

// Interleaves the lanes FIRST, FIRST + 1, ... of both vectors.
template <int FIRST, int... LANE>
INLINE Vector interleave(Vector one, Vector other, std::integer_sequence<int, LANE...>) {
#if defined(__clang__)
    return __builtin_shufflevector(one, other, (FIRST + LANE / 2 + LANE % 2 * LANES)...);
#else
    return __builtin_shuffle(one, other, Integers{(FIRST + LANE / 2 + LANE % 2 * LANES)...});
#endif
}

// to[j][i] = factor from[i][j] for a block of LANES by LANES. Interleaving rows i and i + LANES / 2 rotates the bits of (row, lane)
// by one; after as many rounds as a lane's number has bits, row and lane are exchanged.
INLINE void transpose_block(float* to, int to_stride, const float* from, int from_stride, float factor) {
    constexpr auto LANE = std::make_integer_sequence<int, LANES>{};
    Vector rows[LANES], next[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) rows[i] = load(from + size_t(i) * from_stride) * factor;
#pragma GCC unroll 4
    for (int round = 1; round < LANES; round *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++) {
            next[2 * i] = interleave<0>(rows[i], rows[i + LANES / 2], LANE);
            next[2 * i + 1] = interleave<LANES / 2>(rows[i], rows[i + LANES / 2], LANE);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) rows[i] = next[i];
    }
#pragma GCC unroll 16
    for (int j = 0; j < LANES; j++) store(to + size_t(j) * to_stride, rows[j]);
}
