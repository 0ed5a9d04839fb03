// Matrix products whose left factor has few rows, at least one, as in decoding.
//
// result[i][j] = bias[j] + sum over k of left[i][k] right(k, j)
//
// The right factor is packed into panels as in gemm.h, and read once for all rows of a tile. With a single row there is one
// multiplication for each number that is read, so several panels are computed together to hide the latency of their sums. Each sum
// is computed in the order of k for any tile, so that a row's result doesn't depend on the others.
#pragma once
#include "gemm.h"

template <int ROWS, int PANELS, int VECTORS>
__attribute__((noinline)) void rows_tile(
    const float* left, size_t stride, const float* panel, int depth, const float* bias, float* result, size_t result_stride) {
    Vector sums[ROWS][PANELS][VECTORS];
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int p = 0; p < PANELS; p++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) sums[i][p][v] = Vector{};
    const size_t panel_size = size_t(VECTORS) * LANES * depth;
    for (int k = 0; k < depth; k++, panel += VECTORS * LANES) {
        // A single panel is used long enough to prefetch the next one; several are streams that the processor prefetches itself.
        if constexpr (PANELS == 1)
            for (int line = 0; line < VECTORS * LANES; line += 16) __builtin_prefetch(panel + panel_size + line);
        Vector right[PANELS][VECTORS];
#pragma GCC unroll 4
        for (int p = 0; p < PANELS; p++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) right[p][v] = load(panel + p * panel_size + v * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; i++) {
            Vector factor = all(left[i * stride + k]);
#pragma GCC unroll 4
            for (int p = 0; p < PANELS; p++)
#pragma GCC unroll 2
                for (int v = 0; v < VECTORS; v++) sums[i][p][v] = multiply_add(factor, right[p][v], sums[i][p][v]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int p = 0; p < PANELS; p++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) {
                int column = (p * VECTORS + v) * LANES;
                store(result + i * result_stride + column, sums[i][p][v] + load(bias + column));
            }
}

using RowsTile = void (*)(const float*, size_t, const float*, int, const float*, float*, size_t);

template <int VECTORS>
RowsTile rows_tile_of(int rows) {
    static_assert(TILE_ROWS <= 12, "a tile for each number of rows");
    switch (rows) {
        case 1: return rows_tile<1, 1, VECTORS>;
        case 2: return rows_tile<2, 1, VECTORS>;
        case 3: return rows_tile<3, 1, VECTORS>;
        case 4: return rows_tile<4, 1, VECTORS>;
        case 5: return rows_tile<5, 1, VECTORS>;
        case 6: return rows_tile<6, 1, VECTORS>;
        case 7: return rows_tile<7, 1, VECTORS>;
        case 8: return rows_tile<8, 1, VECTORS>;
        case 9: return rows_tile<9, 1, VECTORS>;
        case 10: return rows_tile<10, 1, VECTORS>;
        case 11: return rows_tile<11, 1, VECTORS>;
        default: return rows_tile<12, 1, VECTORS>;
    }
}

// Rows of `result` and `bias` are padded to whole vectors. `panels`: of `columns` columns.
inline void rows_product(const float* left, size_t stride, int rows, const float* panels, int depth, int columns, const float* bias,
    float* result, size_t result_stride) {
    constexpr int BESIDE_FOR_TWO = TILE_ROWS >= 8 ? 4 : 2;
    // Tiles of nearly equal height: 16 rows are 8 and 8, not 12 and 4.
    const int tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    for (int column = 0; column < columns;) {
        // A last panel may be one vector wide (gemm.h).
        const int full = (columns - column + LANES - 1) / TILE_COLUMNS;
        int beside = rows == 1 ? 4 : rows == 2 ? BESIDE_FOR_TWO : 1;
        while (beside > std::max(full, 1)) beside /= 2;
        int row = 0;
        for (int tile = 0; tile < tiles; tile++) {
            const int high = (rows - row + tiles - tile - 1) / (tiles - tile);
            RowsTile run = full ? rows_tile_of<TILE_VECTORS>(high) : rows_tile_of<1>(high);
            if (beside == 4) run = rows == 1 ? rows_tile<1, 4, TILE_VECTORS> : rows_tile<2, BESIDE_FOR_TWO, TILE_VECTORS>;
            if (beside == 2) run = rows == 1 ? rows_tile<1, 2, TILE_VECTORS> : rows_tile<2, 2, TILE_VECTORS>;
            run(left + row * stride, stride, panels, depth, bias + column, result + row * result_stride + column, result_stride);
            row += high;
        }
        const int passed = beside * (full ? TILE_VECTORS : 1) * LANES;
        column += passed;
        panels += size_t(passed) * depth;
    }
}
