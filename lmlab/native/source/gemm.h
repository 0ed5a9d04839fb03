// Matrix products by one thread: tiles of the result stay in registers, and an epilogue (a bias, an activation, a sum) is applied
// to each number of the result before it is stored.
//
// result[i][j] = sum over k of left(i, k) right(k, j)
//
// The right factor is packed into panels first: TILE_COLUMNS columns side by side, row after row, so that it is read in the order
// of memory; a weight matrix is packed once a step. The left factor is read in place.
#pragma once
#include <algorithm>
#include <type_traits>
#include <vector>

#include "transpose.h"
#include "vector.h"

// As many accumulators as the registers can hold beside the factors.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int TILE_ROWS = 12;
#else
constexpr int TILE_ROWS = 6;
#endif
constexpr int TILE_VECTORS = 2;
static_assert(TILE_ROWS == 6 || TILE_ROWS == 12, "each_tile has these heights");
constexpr int TILE_COLUMNS = TILE_VECTORS * LANES;

// Number of floats of the panels of `columns` columns and `depth` rows. The last panel may be one vector wide.
inline size_t panels_size(int columns, int depth) { return size_t((columns + LANES - 1) / LANES * LANES) * depth; }

// Packs right(k, j) = from[k * stride + j].
inline void pack_rows(float* to, const float* from, int stride, int depth, int columns) {
    for (int column = 0; column < columns; column += TILE_COLUMNS) {
        int wide = std::min(TILE_COLUMNS, columns - column);
        int padded = wide > LANES ? TILE_COLUMNS : LANES;
        for (int k = 0; k < depth; k++, to += padded) {
            const float* row = from + size_t(k) * stride + column;
            if (wide == TILE_COLUMNS) {
                for (int vector = 0; vector < TILE_VECTORS; vector++) store(to + vector * LANES, load(row + vector * LANES));
            } else {
                for (int j = 0; j < padded; j++) to[j] = j < wide ? row[j] : 0.0f;
            }
        }
    }
}

// Packs right(k, j) = from[j * stride + k]: the transpose of the matrix in memory.
inline void pack_columns(float* to, const float* from, int stride, int depth, int columns) {
    for (int column = 0; column < columns; column += TILE_COLUMNS) {
        int wide = std::min(TILE_COLUMNS, columns - column);
        int padded = wide > LANES ? TILE_COLUMNS : LANES;
        for (int first = 0; first < depth; first += LANES)
            for (int block = 0; block < padded; block += LANES) {
                const float* corner = from + size_t(column + block) * stride + first;
                float* target = to + size_t(first) * padded + block;
                if (wide - block >= LANES && depth - first >= LANES) {
                    transpose_block(target, padded, corner, stride, 1.0f);
                    continue;
                }
                for (int k = 0; k < std::min(LANES, depth - first); k++)
                    for (int j = 0; j < LANES; j++)
                        target[size_t(k) * padded + j] = block + j < wide ? corner[size_t(j) * stride + k] : 0.0f;
            }
        to += size_t(depth) * padded;
    }
}

// The layout of the left factor: left(i, k) = at[i * stride + k], or with TURNED at[k * stride + i].
template <bool TURNED>
struct Left {
    const float* at;
    int stride;
    INLINE Left from(int row) const { return {at + (TURNED ? row : size_t(row) * stride), stride}; }
    INLINE float operator()(int row, int k) const { return TURNED ? at[size_t(k) * stride + row] : at[size_t(row) * stride + k]; }
};

// The most common epilogues: to[i][j] = value, and to[i][j] += value.
struct Put {
    float* to;
    int stride;
    INLINE void operator()(int row, int column, Vector value, int lanes) const {
        float* at = to + size_t(row) * stride + column;
        store_some(at, value, lanes);
    }
};
struct Add {
    float* to;
    int stride;
    INLINE void operator()(int row, int column, Vector value, int lanes) const {
        float* at = to + size_t(row) * stride + column;
        store_some(at, load_some(at, lanes) + value, lanes);
    }
};

// One tile. epilogue(row, column, value, lanes) is called with each vector of the result, of which only the first `lanes` count.
template <int ROWS, int VECTORS, bool TURNED, class Epilogue>
__attribute__((noinline)) void tile(
    Left<TURNED> left, const float* panel, int depth, int row, int column, int columns, const Epilogue& epilogue) {
    Vector sums[ROWS][VECTORS];
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) sums[i][v] = Vector{};
    // The gradient of a large matrix isn't in the caches: its lines are prefetched while the sums are computed. Tiles of 12 rows
    // gained nothing from that (docs/notes/what-products-wait-for.md).
    if constexpr (TILE_ROWS == 6 && std::is_same_v<Epilogue, Add>)
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; i++) __builtin_prefetch(epilogue.to + size_t(row + i) * epilogue.stride + column, 1);
    for (int k = 0; k < depth; k++, panel += VECTORS * LANES) {
        Vector right[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) right[v] = load(panel + v * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; i++) {
            Vector factor = all(left(i, k));
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) sums[i][v] = multiply_add(factor, right[v], sums[i][v]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            epilogue(row + i, column + v * LANES, sums[i][v], std::min(LANES, columns - column - v * LANES));
}

// As many tiles of one height as fit from `row` on, by work(first row, height as a compile-time constant); returns the next row.
template <int HEIGHT, class Work>
INLINE int tiles_of(int row, int rows, const Work& work) {
    for (; rows - row >= HEIGHT; row += HEIGHT) work(row, std::integral_constant<int, HEIGHT>());
    return row;
}

// Tiles over `rows` rows. A tile needs at least eight vectors of sums to hide their latency: tiles of at most 6 rows have nearly
// equal heights (32 rows are 6, 6, 5, 5, 5 and 5, not five times 6 and one of 2); with 12 rows the last tiles have 8 or 4.
template <class Work>
INLINE void each_tile(int rows, const Work& work) {
    int row = 0;
    if constexpr (TILE_ROWS > 8) {
        row = tiles_of<4>(tiles_of<8>(tiles_of<TILE_ROWS>(0, rows, work), rows, work), rows, work);
    } else {
        for (int tiles = (rows + TILE_ROWS - 1) / TILE_ROWS; tiles > 0 && rows >= 3; tiles--) {
            const int height = (rows - row + tiles - 1) / tiles;
            switch (height) {
                case 3: work(row, std::integral_constant<int, 3>()); break;
                case 4: work(row, std::integral_constant<int, 4>()); break;
                case 5: work(row, std::integral_constant<int, 5>()); break;
                default: work(row, std::integral_constant<int, 6>());
            }
            row += height;
        }
    }
    tiles_of<1>(row, rows, work);
}

// The tiles of one panel, of TILE_VECTORS vectors or one; the latter, which are rare, have fewer heights to reduce code size.
template <bool TURNED, class Epilogue>
INLINE void panel_tiles(
    Left<TURNED> left, const float* panel, int rows, int column, int columns, int depth, const Epilogue& epilogue) {
    if (columns - column > LANES) {
        each_tile(rows, [&](int row, auto height) INLINE_LAMBDA {
            tile<height(), TILE_VECTORS>(left.from(row), panel, depth, row, column, columns, epilogue);
        });
        return;
    }
    const auto narrow = [&](int row, auto height)
                            INLINE_LAMBDA { tile<height(), 1>(left.from(row), panel, depth, row, column, columns, epilogue); };
    tiles_of<1>(tiles_of<4>(tiles_of<TILE_ROWS>(0, rows, narrow), rows, narrow), rows, narrow);
}

template <bool TURNED, class Epilogue>
void product_of_packed(
    Left<TURNED> left, const float* panels, int packed, int rows, int columns, int depth, const Epilogue& epilogue) {
    for (int column = 0; column < columns; column += TILE_COLUMNS, panels += size_t(TILE_COLUMNS) * packed)
        panel_tiles(left, panels, rows, column, columns, depth, epilogue);
}

template <bool TURNED, class Epilogue>
void product(Left<TURNED> left, const float* panels, int rows, int columns, int depth, const Epilogue& epilogue) {
    product_of_packed(left, panels, depth, rows, columns, depth, epilogue);
}

// Packs left(i, k) = from[k * stride + i] into tiles: the rows of a tile side by side, for each k. Read in place, the numbers of a
// tile are a whole row of the matrix apart, and the rows of a wide matrix all map to the same few cache lines.
inline void pack_tiles(float* to, const float* from, int stride, int rows, int depth) {
    each_tile(rows, [&](int row, auto height) INLINE_LAMBDA {
        for (int k = 0; k < depth; k++, to += height()) std::memcpy(to, from + size_t(k) * stride + row, sizeof(float) * height());
    });
}

// The product with a left factor in tiles.
template <class Epilogue>
void product_of_tiles(const float* tiles, const float* panels, int rows, int columns, int depth, const Epilogue& epilogue) {
    for (int column = 0; column < columns; column += TILE_COLUMNS) {
        const bool full = columns - column > LANES;
        each_tile(rows, [&](int row, auto height) INLINE_LAMBDA {
            const Left<true> left{tiles + size_t(row) * depth, height()};
            if (full)
                tile<height(), TILE_VECTORS>(left, panels, depth, row, column, columns, epilogue);
            else
                tile<height(), 1>(left, panels, depth, row, column, columns, epilogue);
        });
        panels += size_t(full ? TILE_COLUMNS : LANES) * depth;
    }
}
