// Muon for one matrix by one thread: momentum, a Newton-Schulz iteration that orthogonalises it, and the update.
//
// The computation of lmlab/optim/muon.py, with half the arithmetic where a result is symmetric: only tiles at and below the
// diagonal are computed, and the rest is mirrored. All matrices are stored in the panels that `tile` reads, both as factors and as
// results, so that nothing is packed between two products: each is left' right, and every left factor but X' is its own transpose.
#pragma once
#include <cmath>
#include <cstdint>
#include <utility>

#include "buffer.h"
#include "gemm.h"
#include "transpose.h"

// The fields and their order are those of `MuonEntry` in lmlab/native/update.py.
struct MuonEntry {
    float* numbers;         // [rows][columns]
    const float* gradient;  // the same
    float* momentum;        // the same
    int32_t rows, columns, iterations;
    double lr, decay, share;  // share: decay of the momentum

    int shorter() const { return std::min(rows, columns); }
    int longer() const { return std::max(rows, columns); }
    // Number of parts into which the iterations are divided. Those of one part work on products over the short side only, which
    // saves arithmetic if the long side is at least twice as long. Rounding errors then grow about twelvefold per iteration (the
    // square of the polynomial's slope at zero), so that a part has at most three iterations: the next part starts from X again.
    int parts(int iterations) const { return longer() >= 2 * shorter() ? (iterations + 2) / 3 : iterations; }
    // Multiplications and additions of one update, for balancing the work.
    double cost() const {
        double square = double(shorter()) * shorter();
        return parts(iterations) * 3 * square * longer() + (4 * iterations - 3 * parts(iterations)) * square * shorter();
    }
};

// A matrix in panels of TILE_COLUMNS columns, the last one a single vector wide if that is sufficient; whole vectors, with zeros
// at the end.
struct Panels {
    float* at;
    int rows, columns;

    INLINE int panel_width(int column) const { return std::min(TILE_COLUMNS, columns - column / TILE_COLUMNS * TILE_COLUMNS); }
    INLINE float* panel(int column) const { return at + size_t(column / TILE_COLUMNS * TILE_COLUMNS) * rows; }
    INLINE float* place(int row, int column) const {
        return panel(column) + size_t(row) * panel_width(column) + column % TILE_COLUMNS;
    }
};

// to = factor from'
inline void transpose(Panels to, Panels from, float factor = 1.0f) {
    for (int row = 0; row < from.rows; row += LANES)
        for (int column = 0; column < from.columns; column += LANES)
            transpose_block(to.place(column, row), to.panel_width(row), from.place(row, column), from.panel_width(column), factor);
}

// Copies the numbers below the diagonal to those above it.
inline void mirror(Panels square) {
    for (int row = 0; row < square.rows; row += LANES) {
        for (int column = 0; column < row; column += LANES)
            transpose_block(
                square.place(column, row), square.panel_width(row), square.place(row, column), square.panel_width(column), 1.0f);
        float* block = square.place(row, row);
        for (int i = 0, stride = square.panel_width(row); i < LANES; i++)
            for (int j = 0; j < i; j++) block[j * stride + i] = block[i * stride + j];
    }
}

// left' right; with LOWER only the panels at and below the diagonal. epilogue_at(row, column) returns the epilogue of the block
// that begins there.
template <bool LOWER, class EpilogueAt>
void multiply(Panels left, Panels right, const EpilogueAt& epilogue_at) {
    for (int column = 0; column < right.columns; column += TILE_COLUMNS)
        for (int row = LOWER ? column : 0; row < left.columns; row += TILE_COLUMNS) {
            int high = left.panel_width(row), wide = right.panel_width(column);
            product(Left<true>{left.panel(row), high}, right.panel(column), high, wide, right.rows, epilogue_at(row, column));
        }
}

// to = left' right
inline void multiply(Panels to, Panels left, Panels right) {
    multiply<false>(left, right, [&](int row, int column) { return Put{to.place(row, column), to.panel_width(column)}; });
}

// to = left' right, where the result is known to be symmetric.
inline void multiply_symmetric(Panels to, Panels left, Panels right) {
    multiply<true>(left, right, [&](int row, int column) { return Put{to.place(row, column), to.panel_width(column)}; });
    mirror(to);
}

// The coefficients of an iteration, chosen there for the steepest slope at zero, not for convergence.
constexpr float LINEAR = 3.4445f, CUBIC = -4.7750f, QUINTIC = 2.0315f;

// to = b S + c S^2, of which a product gives S^2.
struct PutPolynomial {
    Put to;
    const float* square;  // the block's place in S, which is the same as in `to`
    INLINE void operator()(int row, int column, Vector value, int lanes) const {
        Vector cubic = load(square + size_t(row) * to.stride + column) * CUBIC;
        to(row, column, multiply_add(value, all(QUINTIC), cubic), lanes);
    }
};

// to = a + b S + c S^2 for a symmetric S.
inline void polynomial(Panels to, Panels square) {
    multiply<true>(square, square, [&](int row, int column) {
        return PutPolynomial{{to.place(row, column), to.panel_width(column)}, square.place(row, column)};
    });
    for (int i = 0; i < to.rows; i++) *to.place(i, i) += LINEAR;
    mirror(to);
}

// Memory for one matrix at a time, allocated once.
class MuonWorkspace {
public:
    void reserve(const MuonEntry& entry) {
        size_t side = padded(entry.shorter());
        whole_ = std::max(whole_, side * padded(entry.longer()));
        square_ = std::max(square_, side * side);
        memory_.need(3 * whole_ + 4 * square_);
    }

    // `rate` is this step's learning rate; the gradient is multiplied with `clip` as it is read.
    void update(const MuonEntry& entry, double rate, float clip) {
        bool tall = entry.rows > entry.columns;
        int side = padded(entry.shorter()), length = padded(entry.longer());
        float* free = memory_;
        auto take = [&](size_t count) { return std::exchange(free, free + count); };
        // X, transposed if its long side comes first, and the transpose of that.
        Panels x{take(whole_), side, length}, next{take(whole_), side, length}, turned{take(whole_), length, side};
        Panels square{take(square_), side, side}, factor{take(square_), side, side};
        Panels product{take(square_), side, side}, spare{take(square_), side, side};

        Panels &taken = tall ? turned : x, &other = tall ? x : turned;
        float scale = 1.0f / (look_ahead(taken, entry, clip) + 1e-7f);
        transpose(other, taken, scale);
        for (size_t i = 0; i < size_t(side) * length; i += LANES) store(taken.at + i, load(taken.at + i) * scale);

        for (int done = 0, now; done < entry.iterations; done += now) {
            if (done) {
                std::swap(x, next);
                transpose(turned, x);
            }
            // `now` iterations, whose polynomials P are combined and applied to X once. With A = XX' an iteration is P = a + b A +
            // c A^2, X <- P X, and so A <- P A P. All are polynomials of one matrix, so that the product of two of them is
            // symmetric.
            int parts = entry.parts(entry.iterations - done);
            now = (entry.iterations - done + parts - 1) / parts;
            multiply_symmetric(square, turned, turned);
            polynomial(product, square);
            Panels latest = product;
            for (int iteration = 1; iteration < now; iteration++) {
                multiply_symmetric(spare, latest, square);
                multiply_symmetric(square, spare, latest);
                polynomial(factor, square);
                latest = factor;
                multiply_symmetric(spare, factor, product);
                std::swap(spare, product);
            }
            multiply(next, product, x);
        }
        if (tall) transpose(turned, next);
        apply(entry, tall ? turned : next, rate);
    }

private:
    // M <- mu M + (1 - mu) G; to = mu M + (1 - mu) G. Returns the norm of `to`.
    static float look_ahead(Panels to, const MuonEntry& entry, float clip) {
        float moved = float(1.0 - entry.share), share = float(entry.share);
        Vector squares{};
        for (int row = 0; row < entry.rows; row++) {
            const float* gradient = entry.gradient + size_t(row) * entry.columns;
            float* momentum = entry.momentum + size_t(row) * entry.columns;
            Vector row_squares{};
            for (int column = 0; column < entry.columns; column += LANES) {
                int lanes = std::min(LANES, entry.columns - column);
                Vector fresh = load_some(gradient + column, lanes) * clip;
                Vector mean = load_some(momentum + column, lanes);
                mean = multiply_add(all(moved), fresh - mean, mean);
                store_some(momentum + column, mean, lanes);
                Vector ahead = multiply_add(all(share), mean - fresh, fresh);
                store(to.place(row, column), ahead);
                row_squares = multiply_add(ahead, ahead, row_squares);
            }
            squares += row_squares;
        }
        for (int row = entry.rows; row < to.rows; row++)
            for (int column = 0; column < to.columns; column += LANES) store(to.place(row, column), Vector{});
        return std::sqrt(sum(squares));
    }

    // W <- (1 - rate x decay) W - rate max(1, rows / columns)^.5 U
    static void apply(const MuonEntry& entry, Panels update, double rate) {
        float kept = float(1.0 - rate * entry.decay);
        float step = float(rate * std::sqrt(std::max(1.0, double(entry.rows) / entry.columns)));
        for (int row = 0; row < entry.rows; row++) {
            float* numbers = entry.numbers + size_t(row) * entry.columns;
            for (int column = 0; column < entry.columns; column += LANES) {
                int lanes = std::min(LANES, entry.columns - column);
                Vector change = step * load(update.place(row, column));
                store_some(numbers + column, load_some(numbers + column, lanes) * kept - change, lanes);
            }
        }
    }

    size_t whole_ = 0, square_ = 0;
    Buffer memory_;
};
