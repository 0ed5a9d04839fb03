// Matrix products with an addend, by one thread: as fast for a few rows as for many.
//
// result[i][j] = addend[i][j] + sum over k of left[i][k] right(k, j)
//
// The addend is a bias (its rows no floats apart), another matrix, or the result itself. The right factor is packed into panels as
// in gemm.h. Two panels at a time and half as many rows as there need four vectors and a few factors for each k, so that less is
// loaded for each multiplication than by a higher and narrower tile: 16 rows run as fast as 192.
#pragma once
#include "gemm.h"

constexpr int SUMS_ROWS = TILE_ROWS / 2;
constexpr int LINE = 16;  // floats of a cache line

// Lines of the next panels that a tile prefetches for each k: half of them, or the only one.
constexpr int lines_ahead(int floats) { return std::max(1, floats / LINE / 2); }

template <int LINES>
struct NextPanels {
    const float* next;
    INLINE void operator()(int k, const float*) const {
#pragma GCC unroll 2
        for (int line = 0; line < LINES; line++) __builtin_prefetch(next + (size_t(k) * LINES + line) * LINE, 0, 2);
    }
};

struct PutSum {
    const float* addend;
    size_t addend_stride;
    float* to;
    size_t stride;
    INLINE void operator()(int row, int column, Vector value) const {
        store(to + row * stride + column, load(addend + row * addend_stride + column) + value);
    }
};

template <int ROWS, int PANELS, int VECTORS>
void sums_tile(Left<false> left, const float* panel, const float* next, int depth, const PutSum& put) {
    // The addend lies outside of the caches where it is a matrix' gradient.
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int vector = 0; vector < PANELS * VECTORS; vector++)
            __builtin_prefetch(put.addend + i * put.addend_stride + vector * LANES);
    tile<ROWS, PANELS, VECTORS>(left, panel, depth, NextPanels<lines_ahead(PANELS * VECTORS * LANES)>{next}, put);
}

using SumsTile = void (*)(Left<false>, const float*, const float*, int, const PutSum&);

template <int PANELS, int VECTORS>
SumsTile sums_tile_of(int rows) {
    static_assert(SUMS_ROWS <= 6, "a tile for each number of rows");
    switch (rows) {
        case 1: return sums_tile<1, PANELS, VECTORS>;
        case 2: return sums_tile<2, PANELS, VECTORS>;
        case 3: return sums_tile<3, PANELS, VECTORS>;
        case 4: return sums_tile<4, PANELS, VECTORS>;
        case 5: return sums_tile<5, PANELS, VECTORS>;
        default: return sums_tile<6, PANELS, VECTORS>;
    }
}

// `columns` is a multiple of LANES; rows are `stride` floats apart.
inline void sums(const float* left, int stride, int rows, const float* panels, int depth, int columns, const float* addend,
    size_t addend_stride, float* result, size_t result_stride) {
    const int tiles = (rows + SUMS_ROWS - 1) / SUMS_ROWS;
    for (int column = 0; column < columns;) {
        const int left_over = columns - column;
        const int wide = std::min(left_over, left_over >= 2 * TILE_COLUMNS ? 2 * TILE_COLUMNS : TILE_COLUMNS);
        // The first tiles of these panels prefetch the next ones; the others find them in the cache.
        const float* next = panels + size_t(wide) * depth;
        const int ahead = lines_ahead(wide) * LINE;
        for (int row = 0, tile = 0; tile < tiles; tile++) {
            const int height = next_height(rows - row, tiles - tile);
            SumsTile run = wide == 2 * TILE_COLUMNS ? sums_tile_of<2, TILE_VECTORS>(height)
                           : wide == TILE_COLUMNS   ? sums_tile_of<1, TILE_VECTORS>(height)
                                                    : sums_tile_of<1, 1>(height);
            run(Left<false>{left, stride}.from(row), panels, next + (tile * ahead < wide ? size_t(tile) * ahead * depth : 0), depth,
                PutSum{addend + row * addend_stride + column, addend_stride, result + row * result_stride + column, result_stride});
            row += height;
        }
        column += wide;
        panels += size_t(wide) * depth;
    }
}
