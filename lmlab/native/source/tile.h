// The kernel of every matrix product: a tile of the result that stays in registers over the whole depth.
//
//     sums[i][p][v] = sum over k of left(i, k) right(k, column v of panel p)
//
// The right factor lies in panels of VECTORS vectors (gemm.h packs them), `depth` rows each, one panel after the other. Each sum is
// taken in the order of k whatever the tile, so that a number of the result doesn't depend on the tile that it is computed in.
#pragma once
#include <algorithm>

#include "vector.h"

// As many accumulators as the registers can hold beside the factors.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int TILE_ROWS = 12;
#else
constexpr int TILE_ROWS = 6;
#endif
constexpr int TILE_VECTORS = 2;
static_assert(TILE_ROWS == 6 || TILE_ROWS == 12, "tiles have these heights");
constexpr int TILE_COLUMNS = TILE_VECTORS * LANES;

// The layout of the left factor: left(i, k) = at[i * stride + k], or with TURNED at[k * stride + i].
template <bool TURNED>
struct Left {
    const float* at;
    int stride;
    INLINE Left from(int row) const { return {at + (TURNED ? row : size_t(row) * stride), stride}; }
    INLINE float operator()(int row, int k) const { return TURNED ? at[size_t(k) * stride + row] : at[size_t(row) * stride + k]; }
};

// What a tile prefetches at each k of the panel that it reads: nothing.
struct NothingAhead {
    INLINE void operator()(int, const float*) const {}
};

// ahead(k, panel) comes before the products of each k; epilogue(row, column, value) gets each vector of the tile's result.
template <int ROWS, int PANELS, int VECTORS, bool TURNED, class Ahead, class Epilogue>
__attribute__((noinline)) void tile(Left<TURNED> left, const float* panel, int depth, Ahead ahead, const Epilogue& epilogue) {
    Vector sums[ROWS][PANELS][VECTORS];
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int p = 0; p < PANELS; p++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) sums[i][p][v] = Vector{};
    const size_t panel_size = size_t(VECTORS) * LANES * depth;
    for (int k = 0; k < depth; k++, panel += VECTORS * LANES) {
        ahead(k, panel);
        Vector right[PANELS][VECTORS];
#pragma GCC unroll 4
        for (int p = 0; p < PANELS; p++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) right[p][v] = load(panel + p * panel_size + v * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; i++) {
            Vector factor = all(left(i, k));
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
            for (int v = 0; v < VECTORS; v++) epilogue(i, (p * VECTORS + v) * LANES, sums[i][p][v]);
}

// How many rows the next of `tiles` tiles over `rows` rows has, so that they are of nearly equal height: 16 rows are 8 and 8, not
// 12 and 4.
INLINE int next_height(int rows, int tiles) { return (rows + tiles - 1) / tiles; }
