// Vectors of float32 as wide as the processor's registers, and the functions of them that a GPT needs.
//
// GCC's and Clang's vector extensions, so that one text serves AVX-512, AVX2, SSE and NEON. Without fused
// multiply-add in the processor the compiler makes two instructions of one.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t Integers __attribute__((vector_size(LANES * sizeof(int32_t))));
typedef uint32_t Words __attribute__((vector_size(LANES * sizeof(uint32_t))));
// The same, at any address of floats.
typedef float LooseVector __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

#define INLINE inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))

INLINE Vector load(const float* from) { return *reinterpret_cast<const LooseVector*>(from); }
INLINE void store(float* to, Vector value) { *reinterpret_cast<LooseVector*>(to) = value; }
// Taking zero away changes nothing, not even -0, so that only a broadcast is left of it (adding zero makes 0 of -0: an
// addition that stays, and on Intel's processors takes the place of a multiply-add).
INLINE Vector all(float value) { return value - Vector{}; }

// The first `count` lanes, zeros after them.
INLINE Vector load_some(const float* from, int count) {
    float lanes[LANES] = {};
    std::memcpy(lanes, from, sizeof(float) * count);
    return load(lanes);
}
INLINE void store_some(float* to, Vector value, int count) {
    float lanes[LANES];
    store(lanes, value);
    std::memcpy(to, lanes, sizeof(float) * count);
}

INLINE Vector select(Integers mask, Vector where_true, Vector where_false) {
    Integers bits = (mask & reinterpret_cast<Integers>(where_true)) | (~mask & reinterpret_cast<Integers>(where_false));
    return reinterpret_cast<Vector>(bits);
}
// Where `other` is no number the result is none either: what has diverged must not look well.
INLINE Vector maximum(Vector one, Vector other) { return select(one > other, one, other); }
INLINE Vector minimum(Vector one, Vector other) { return select(one < other, one, other); }

INLINE float sum(Vector value) {
    float lanes[LANES];
    store(lanes, value);
    for (int half = LANES / 2; half; half /= 2)
        for (int lane = 0; lane < half; lane++) lanes[lane] += lanes[lane + half];
    return lanes[0];
}
INLINE float largest(Vector value) {
    float lanes[LANES];
    store(lanes, value);
    for (int half = LANES / 2; half; half /= 2)
        for (int lane = 0; lane < half; lane++) lanes[lane] = lanes[lane] > lanes[lane + half] ? lanes[lane] : lanes[lane + half];
    return lanes[0];
}

// e^x: x = n ln 2 + r, |r| <= ln 2 / 2, and e^r by its Taylor series to the 7th power (its rest is below 6e-9).
// Below -87 it gives about 1e-38, above 88 about 1.6e38.
INLINE Vector exponential(Vector x) {
    x = minimum(all(88.0f), maximum(all(-87.0f), x));
    // Adding 1.5 x 2^23 rounds to the nearest integer, which then stands in the low bits.
    const Vector magic = all(12582912.0f);
    Vector shifted = x * all(1.44269504088896341f) + magic;
    Vector n = shifted - magic;
    // ln 2 in two parts, so that the subtraction is exact.
    Vector r = (x - n * all(0.693359375f)) - n * all(-2.12194440054690583e-4f);
    Vector p = all(1.0f / 5040);
    p = p * r + all(1.0f / 720);
    p = p * r + all(1.0f / 120);
    p = p * r + all(1.0f / 24);
    p = p * r + all(1.0f / 6);
    p = p * r + all(0.5f);
    p = p * r + all(1.0f);
    p = p * r + all(1.0f);
    Integers power = (reinterpret_cast<Integers>(shifted) << 23) + 0x3f800000;
    // The magic number's own bits, shifted out at the top, leave nothing: 1.5 x 2^23 has zeros below.
    return p * reinterpret_cast<Vector>(power);
}

// The sum of x[j] y[j]; vectors at a time, and what is left of less than one by itself.
INLINE float dot(const float* x, const float* y, int count) {
    Vector total{};
    int j = 0;
    for (; j + LANES <= count; j += LANES) total += load(x + j) * load(y + j);
    float rest = 0.0f;
    for (; j < count; j++) rest += x[j] * y[j];
    return sum(total) + rest;
}
