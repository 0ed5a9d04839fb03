// Matrix products with few rows on the left, from a single one: decoding.
//
// result[i][j] = bias[j] + sum over k of left[i][k] right(k, j)
//
// The right factor is packed into panels as in gemm.h, and read once for all rows of a tile. With a single row there is one
// multiplication for each number that is read, so several panels side by side keep the processor from waiting for its own sums.
#pragma once
#include "gemm.h"

// A panel alone is used long enough to prefetch the next one; several are streams that the processor sees.
template <int PANELS, int VECTORS>
struct NextPanel {
    size_t panel_size;
    INLINE void operator()(int, const float* panel) const {
        if constexpr (PANELS == 1)
            for (int line = 0; line < VECTORS * LANES; line += 16) __builtin_prefetch(panel + panel_size + line);
    }
};

struct PutWithBias {
    const float* bias;
    float* to;
    size_t stride;
    INLINE void operator()(int row, int column, Vector value) const {
        store(to + row * stride + column, value + load(bias + column));
    }
};

template <int ROWS, int PANELS, int VECTORS>
void rows_tile(Left<false> left, const float* panel, int depth, const PutWithBias& put) {
    tile<ROWS, PANELS, VECTORS>(left, panel, depth, NextPanel<PANELS, VECTORS>{size_t(VECTORS) * LANES * depth}, put);
}

using RowsTile = void (*)(Left<false>, const float*, int, const PutWithBias&);

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
inline void rows_product(const float* left, int stride, int rows, const float* panels, int depth, int columns, const float* bias,
    float* result, size_t result_stride) {
    constexpr int BESIDE_FOR_TWO = TILE_ROWS >= 8 ? 4 : 2;
    for (int column = 0; column < columns;) {
        // A last panel may be one vector wide (gemm.h).
        const int full = (columns - column + LANES - 1) / TILE_COLUMNS;
        int beside = rows == 1 ? 4 : rows == 2 ? BESIDE_FOR_TWO : 1;
        while (beside > std::max(full, 1)) beside /= 2;
        for (int row = 0, tiles = (rows + TILE_ROWS - 1) / TILE_ROWS; tiles > 0; tiles--) {
            const int height = next_height(rows - row, tiles);
            RowsTile run = full ? rows_tile_of<TILE_VECTORS>(height) : rows_tile_of<1>(height);
            if (beside == 4) run = rows == 1 ? rows_tile<1, 4, TILE_VECTORS> : rows_tile<2, BESIDE_FOR_TWO, TILE_VECTORS>;
            if (beside == 2) run = rows == 1 ? rows_tile<1, 2, TILE_VECTORS> : rows_tile<2, 2, TILE_VECTORS>;
            run(Left<false>{left, stride}.from(row), panels, depth,
                PutWithBias{bias + column, result + row * result_stride + column, result_stride});
            row += height;
        }
        const int passed = beside * (full ? TILE_VECTORS : 1) * LANES;
        column += passed;
        panels += size_t(passed) * depth;
    }
}
