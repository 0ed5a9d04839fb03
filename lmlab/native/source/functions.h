// tanh, the error function, and the MLP's nonlinearities with their derivatives.
//
// The polynomials are least-squares fits made for this file (largest error below 4e-9); what is left is the rounding of
// float32.
#pragma once
#include "model.h"
#include "vector.h"

template <int TERMS>
INLINE Vector polynomial(const float (&terms)[TERMS], Vector x) {
    Vector value = all(terms[TERMS - 1]);
#pragma GCC unroll 16
    for (int term = TERMS - 2; term >= 0; term--) value = value * x + all(terms[term]);
    return value;
}

INLINE Vector magnitude(Vector x) { return maximum(x, -x); }

INLINE Vector hyperbolic_tangent(Vector x) {
    static const float NEAR[] = {1.0f, -0.3333326280117035f, 0.13331185281276703f, -0.0537252314388752f, 0.02060314640402794f, -0.005672421772032976f};
    Vector size = magnitude(x);
    Vector decayed = exponential(all(-2.0f) * size);
    Vector far = (all(1.0f) - decayed) / (all(1.0f) + decayed);
    far = select(x < all(0.0f), -far, far);
    return select(size < all(0.625f), x * polynomial(NEAR, x * x), far);
}

// `decayed`: e^(-x^2).
INLINE Vector error_function(Vector x, Vector decayed) {
    // erf(x) / x in powers of x^2 up to 1; beyond, 1 - e^(-x^2) times a polynomial in 1 / (1 + x/2); 1 beyond 4.
    static const float NEAR[] = {1.128379225730896f, -0.37612637877464294f, 0.11283782869577408f, -0.02686544507741928f,
                                 0.005221074912697077f, -0.00084847112884745f, 0.00011270544928265736f,
                                         -9.680136827228125e-06f};
    static const float FAR[] = {0.0020736430305987597f, 0.25707924365997314f, 0.4081660807132721f, -0.09065589308738708f,
                                0.6705459952354431f, -0.2540864050388336f, 0.006652349606156349f};
    Vector size = minimum(all(4.0f), magnitude(x));
    Vector far = all(1.0f) - decayed * polynomial(FAR, all(1.0f) / (all(1.0f) + all(0.5f) * size));
    far = select(x < all(0.0f), -far, far);
    return select(size < all(1.0f), x * polynomial(NEAR, x * x), far);
}
INLINE Vector error_function(Vector x) { return error_function(x, exponential(-x * x)); }

INLINE Vector sigmoid(Vector x) { return all(1.0f) / (all(1.0f) + exponential(-x)); }

struct Bent {
    Vector value, slope;
};

// The activation of x and its derivative there; swiglu's is its gate's silu.
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
        Vector share = all(0.5f) + all(0.5f) * error_function(x * all(0.70710678118654752f), decayed);
        return {x * share, share + x * all(0.39894228040143268f) * decayed};
    }
    if constexpr (KIND == GELU_TANH) {
        const float scale = 0.79788456080286536f, cubic = 0.044715f;
        Vector square = x * x;
        Vector bent = hyperbolic_tangent(all(scale) * x * (all(1.0f) + all(cubic) * square));
        Vector share = all(0.5f) + all(0.5f) * bent;
        Vector inner = all(scale) * (all(1.0f) + all(3 * cubic) * square);
        return {x * share, share + all(0.5f) * x * (all(1.0f) - bent * bent) * inner};
    }
    if constexpr (KIND == SWIGLU) {
        Vector share = sigmoid(x);
        return {x * share, share * (all(1.0f) + x * (all(1.0f) - share))};
    }
}

// Calls work with the activation as a compile-time constant.
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

// Dropout as a function of a key and a number's place: zero with the probability asked for, else 1 / (1 - it).
//
// The place is scrambled by two rounds of multiplication and exclusive or, with the constants of "lowbias32"
// (C. Wellons, "Prospecting for hash functions", 2018).
struct Dropout {
    uint32_t limit = 0;  // of 2^24 values, how many drop
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
