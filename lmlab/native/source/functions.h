// tanh, the normal distribution, and the MLP's activation functions with their derivatives.
//
// The polynomials are least-squares fits made for this file (largest error below 4e-9, also of the normal distribution function);
// the remaining error is the rounding of float32.
#pragma once
#include "model.h"
#include "vector.h"

template <int TERMS>
INLINE Vector polynomial(const float (&terms)[TERMS], Vector x) {
    Vector value = all(terms[TERMS - 1]);
#pragma GCC unroll 16
    for (int term = TERMS - 2; term >= 0; term--) value = multiply_add(value, x, all(terms[term]));
    return value;
}

INLINE Vector magnitude(Vector x) { return maximum(x, -x); }

INLINE Vector hyperbolic_tangent(Vector x) {
    static const float NEAR[] = {
        1.0f, -0.3333326280117035f, 0.13331185281276703f, -0.0537252314388752f, 0.02060314640402794f, -0.005672421772032976f};
    Vector size = magnitude(x);
    Vector decayed = exponential(all(-2.0f) * size);
    Vector far = (all(1.0f) - decayed) / (all(1.0f) + decayed);
    far = select(x < all(0.0f), -far, far);
    return select(size < all(0.625f), x * polynomial(NEAR, x * x), far);
}

// The upper tail of the normal distribution at `size`, which isn't negative; `decayed` is e^(-size^2 / 2). With s = size / sqrt 2
// it is erfc(s) / 2, and e^(s^2) erfc(s) is a polynomial in 1 / (1 + s/2): relative error below 4e-8 up to s = 5.5, where the tail
// is 4e-15.
INLINE Vector normal_tail(Vector size, Vector decayed) {
    static const float SCALED[] = {-0.0001320727460552007f, 0.2845200300216675f, 0.2629990577697754f, 0.33054637908935547f,
        -0.04379298910498619f, 0.423575758934021f, -0.25519058108329773f, -0.09179374575614929f, 0.11782015115022659f,
        -0.028552033007144928f};
    return all(0.5f) * decayed * polynomial(SCALED, all(1.0f) / multiply_add(all(0.35355339059327376f), size, all(1.0f)));
}

INLINE Vector sigmoid(Vector x) { return all(1.0f) / (all(1.0f) + exponential(-x)); }

struct Bent {
    Vector value, slope;
};

// The activation of x and its derivative; for swiglu those of the gate's silu.
template <int KIND>
INLINE Bent bend(Vector x) {
    if constexpr (KIND == RELU) return {maximum(Vector{}, x), select(x > Vector{}, all(1.0f), Vector{})};
    if constexpr (KIND == RELU2) {
        Vector positive = maximum(Vector{}, x);
        return {positive * positive, positive + positive};
    }
    if constexpr (KIND == GELU) {
        // x F(x), with F the normal distribution and f its density: slope F + x f.
        Vector decayed = exponential(all(-0.5f) * x * x);
        Vector tail = normal_tail(magnitude(x), decayed);
        Vector share = select(x < Vector{}, tail, all(1.0f) - tail);
        return {x * share, multiply_add(x * all(0.39894228040143268f), decayed, share)};
    }
    if constexpr (KIND == GELU_TANH) {
        const float scale = 0.79788456080286536f, cubic = 0.044715f;
        Vector square = x * x;
        Vector bent = hyperbolic_tangent(all(scale) * x * multiply_add(all(cubic), square, all(1.0f)));
        Vector share = multiply_add(all(0.5f), bent, all(0.5f));
        Vector inner = all(scale) * multiply_add(all(3 * cubic), square, all(1.0f));
        return {x * share, multiply_add(all(0.5f) * x * (all(1.0f) - bent * bent), inner, share)};
    }
    if constexpr (KIND == SWIGLU) {
        Vector share = sigmoid(x);
        return {x * share, share * multiply_add(x, all(1.0f) - share, all(1.0f))};
    }
}

// Calls `work` with the activation as a compile-time constant.
template <class Work>
void with_activation(int kind, const Work& work) {
    switch (kind) {
        case RELU: return work(std::integral_constant<int, RELU>());
        case GELU: return work(std::integral_constant<int, GELU>());
        case GELU_TANH: return work(std::integral_constant<int, GELU_TANH>());
        case RELU2: return work(std::integral_constant<int, RELU2>());
        default: return work(std::integral_constant<int, SWIGLU>());
    }
}

// Dropout as a function of a key and a number's place: 0 with probability p, else 1 / (1 - p).
//
// The place is hashed by two rounds of multiplication and exclusive or, with the constants of "lowbias32"
// (C. Wellons, "Prospecting for hash functions", 2018).
struct Dropout {
    uint32_t limit = 0;  // number of the 2^24 values that drop
    float scale = 1.0f;
    uint32_t key = 0;

    Dropout() = default;
    Dropout(float share, uint64_t seed, uint32_t where) {
        limit = uint32_t(share * 16777216.0f);
        scale = limit ? 16777216.0f / (16777216.0f - limit) : 1.0f;
        uint64_t mixed = (seed + 0x9E3779B97F4A7C15ull * (where + 1)) * 0xBF58476D1CE4E5B9ull;
        key = uint32_t((mixed ^ (mixed >> 31)) >> 16);
    }
    INLINE Vector factors(uint32_t place) const {
        Words lanes;
        for (int lane = 0; lane < LANES; lane++) lanes[lane] = lane;
        Words x = lanes + place;
        x = (x ^ (x >> 16)) * 0x7feb352du + key;
        x = (x ^ (x >> 15)) * 0x846ca68bu;
        x ^= x >> 16;
        Integers kept = reinterpret_cast<Integers>(x >> 8) >= int32_t(limit);
        return select(kept, all(scale), Vector{});
    }
};
