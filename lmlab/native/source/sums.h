// Matrix products with an addend, by one thread: as fast for a few rows as for many.
//
// result[i][j] = addend[i][j] + sum over k of left[i][k] right(k, j)
//
// The addend is a bias (with a row stride of 0), another matrix, or the result itself. The right factor is packed into panels as in
// gemm.h. A tile has two panels and half as many rows as there: for each k it needs four vectors and a few factors, so that fewer
// loads are needed per multiplication than by a higher and narrower tile, and 16 rows run as fast as 192. Each sum is computed in
// the order of k for any tile, so that a row's result doesn't depend on the others.
#pragma once
#include "gemm.h"

constexpr int SUMS_ROWS = TILE_ROWS / 2;
constexpr int LINE = 16;  // floats of a cache line

// Number of cache lines of the next panels that a tile prefetches for each k: half of them, or the only one.
constexpr int lines_ahead(int floats) { return std::max(1, floats / LINE / 2); }

template <int ROWS, int PANELS, int VECTORS>
__attribute__((noinline)) void sums_tile(const float* left, size_t stride, const float* panel, const float* next, int depth,
    const float* addend, size_t addend_stride, float* result, size_t result_stride) {
    constexpr int AHEAD = lines_ahead(PANELS * VECTORS * LANES);
    Vector sums[ROWS][PANELS][VECTORS];
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
        for (int p = 0; p < PANELS; p++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) {
                sums[i][p][v] = Vector{};
                // It isn't in the caches if it is a matrix' gradient.
                __builtin_prefetch(addend + i * addend_stride + (p * VECTORS + v) * LANES);
            }
    const size_t panel_size = size_t(VECTORS) * LANES * depth;
    for (int k = 0; k < depth; k++, panel += VECTORS * LANES, next += AHEAD * LINE) {
#pragma GCC unroll 2
        for (int line = 0; line < AHEAD; line++) __builtin_prefetch(next + line * LINE, 0, 2);
        Vector right[PANELS][VECTORS];
#pragma GCC unroll 2
        for (int p = 0; p < PANELS; p++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) right[p][v] = load(panel + p * panel_size + v * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; i++) {
            Vector factor = all(left[i * stride + k]);
#pragma GCC unroll 2
            for (int p = 0; p < PANELS; p++)
#pragma GCC unroll 2
                for (int v = 0; v < VECTORS; v++) sums[i][p][v] = multiply_add(factor, right[p][v], sums[i][p][v]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
        for (int p = 0; p < PANELS; p++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) {
                const int column = (p * VECTORS + v) * LANES;
                store(result + i * result_stride + column, load(addend + i * addend_stride + column) + sums[i][p][v]);
            }
}

using SumsTile = void (*)(const float*, size_t, const float*, const float*, int, const float*, size_t, float*, size_t);

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
inline void sums(const float* left, size_t stride, int rows, const float* panels, int depth, int columns, const float* addend,
    size_t addend_stride, float* result, size_t result_stride) {
    // Tiles of nearly equal height: 16 rows are 6, 5 and 5, not 6, 6 and 4.
    const int tiles = (rows + SUMS_ROWS - 1) / SUMS_ROWS;
    for (int column = 0; column < columns;) {
        const int left_over = columns - column;
        const int wide = std::min(left_over, left_over >= 2 * TILE_COLUMNS ? 2 * TILE_COLUMNS : TILE_COLUMNS);
        // The first tiles of these panels prefetch the next ones; for the others the prefetched lines cost nothing.
        const float* next = panels + size_t(wide) * depth;
        const int ahead = lines_ahead(wide) * LINE;
        for (int row = 0, tile = 0; tile < tiles; tile++) {
            const int high = (rows - row + tiles - tile - 1) / (tiles - tile);
            SumsTile run = wide == 2 * TILE_COLUMNS ? sums_tile_of<2, TILE_VECTORS>(high)
                           : wide == TILE_COLUMNS   ? sums_tile_of<1, TILE_VECTORS>(high)
                                                    : sums_tile_of<1, 1>(high);
            run(left + row * stride, stride, panels, next + (tile * ahead < wide ? size_t(tile) * ahead * depth : 0), depth,
                addend + row * addend_stride + column, addend_stride, result + row * result_stride + column, result_stride);
            row += high;
        }
        column += wide;
        panels += size_t(wide) * depth;
    }
}
