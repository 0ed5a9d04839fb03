// Matrix products with few rows on the left, from a single one: what decoding is made of.
//
//     result[i][j] = bias[j] + sum over k of left[i][k] right(k, j)
//
// The right factor is packed into panels as in gemm.h, and read once for all rows of a tile. With a single row there is
// one multiplication for each number that is read, so several panels side by side keep the processor from waiting for
// its own sums. Each sum is taken in the order of k whatever the tile, so that a row's result doesn't depend on the
// others.
#pragma once
#include "gemm.h"

template <int ROWS, int PANELS, int VECTORS>
__attribute__((noinline)) void rows_tile(const float* left, size_t stride, const float* panel, int depth, const float* bias,
                                         float* result, size_t result_stride) {
    Vector sums[ROWS][PANELS][VECTORS];
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int p = 0; p < PANELS; p++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) sums[i][p][v] = Vector{};
    const size_t panel_size = size_t(VECTORS) * LANES * depth;
    for (int k = 0; k < depth; k++, panel += VECTORS * LANES) {
        // With many rows a panel is used long enough to bring the next one nearer.
        if constexpr (ROWS >= 4)
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
                for (int v = 0; v < VECTORS; v++) sums[i][p][v] += factor * right[p][v];
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

template <int PANELS, int VECTORS>
RowsTile rows_tile_of(int rows) {
    static_assert(TILE_ROWS <= 12, "a tile for each number of rows");
    switch (rows) {
        case 1: return rows_tile<1, PANELS, VECTORS>;
        case 2: return rows_tile<2, PANELS, VECTORS>;
        case 3: return rows_tile<3, PANELS, VECTORS>;
        case 4: return rows_tile<4, PANELS, VECTORS>;
        case 5: return rows_tile<5, PANELS, VECTORS>;
        case 6: return rows_tile<6, PANELS, VECTORS>;
        case 7: return rows_tile<7, PANELS, VECTORS>;
        case 8: return rows_tile<8, PANELS, VECTORS>;
        case 9: return rows_tile<9, PANELS, VECTORS>;
        case 10: return rows_tile<10, PANELS, VECTORS>;
        case 11: return rows_tile<11, PANELS, VECTORS>;
        default: return rows_tile<12, PANELS, VECTORS>;
    }
}

// Rows of `result` and `bias` have room for whole vectors. `panels`: of `columns` columns.
inline void rows_product(const float* left, size_t stride, int rows, const float* panels, int depth, int columns, const float* bias,
                         float* result, size_t result_stride) {
    // Tiles of nearly equal height: 16 rows are 8 and 8, not 12 and 4.
    const int tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    const int beside = rows == 1 ? 4 : rows <= TILE_ROWS / 4 ? 2 : 1;
    for (int column = 0; column < columns;) {
        // A last panel may be one vector wide (gemm.h).
        int left_panels = (columns - column + LANES - 1) / TILE_COLUMNS;
        int panels_now = left_panels >= beside ? beside : left_panels >= 2 && beside > 1 ? 2 : 1;
        int vectors = left_panels ? TILE_VECTORS : 1;
        int row = 0;
        for (int tile = 0; tile < tiles; tile++) {
            int high = (rows - row + tiles - tile - 1) / (tiles - tile);
            RowsTile run = vectors == TILE_VECTORS ? rows_tile_of<1, TILE_VECTORS>(high) : rows_tile_of<1, 1>(high);
            if (panels_now == 4) run = rows_tile<1, 4, TILE_VECTORS>;
            if (panels_now == 2) run = high == 1 ? rows_tile<1, 2, TILE_VECTORS> : high == 2 ? rows_tile<2, 2, TILE_VECTORS> : rows_tile<3, 2, TILE_VECTORS>;
            run(left + row * stride, stride, panels, depth, bias + column, result + row * result_stride + column, result_stride);
            row += high;
        }
        column += panels_now * vectors * LANES;
        panels += size_t(panels_now) * vectors * LANES * depth;
    }
}
