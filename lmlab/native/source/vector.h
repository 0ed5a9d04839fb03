// Vectors of float32 as wide as the processor's registers, and the functions of them that a GPT needs.
//
// With GCC's and Clang's vector extensions, so that one source serves AVX-512, AVX2, SSE and NEON. Fused multiply-adds are written
// explicitly: if the compiler chooses, it fuses in one tile of a product and not in another (GCC avoids chains of them on some
// processors), and a row's bits would depend on the rows beside it. So the engine is compiled with -ffp-contract=off.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__SSE__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

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
// The same without alignment beyond that of a float.
typedef float LooseVector __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

#define INLINE inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))

INLINE Vector load(const float* from) { return *reinterpret_cast<const LooseVector*>(from); }
INLINE void store(float* to, Vector value) { *reinterpret_cast<LooseVector*>(to) = value; }
// Subtracting zero changes nothing, not even -0, so that the compiler reduces it to a broadcast (adding zero turns -0 into 0, so
// that the addition stays, and on Intel's processors occupies a unit that multiply-adds use).
INLINE Vector all(float value) { return value - Vector{}; }

// one x other + term: rounded once if the processor supports it, else twice.
INLINE Vector multiply_add(Vector one, Vector other, Vector term) {
#if defined(__AVX512F__)
    return (Vector)_mm512_fmadd_ps((__m512)one, (__m512)other, (__m512)term);
#elif defined(__AVX__) && defined(__FMA__)
    return (Vector)_mm256_fmadd_ps((__m256)one, (__m256)other, (__m256)term);
#elif defined(__aarch64__)
    return (Vector)vfmaq_f32((float32x4_t)term, (float32x4_t)one, (float32x4_t)other);
#else
    return one * other + term;
#endif
}

// While an object of this class exists, its thread flushes subnormal numbers (below 1e-38) to zero: arithmetic with them takes a
// hundred times as long, and a running mean whose gradient stays zero would decay into them and never leave.
class WithoutSubnormals {
public:
#if defined(__SSE__)
    WithoutSubnormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040u); }
    ~WithoutSubnormals() { _mm_setcsr(before_); }

private:
    unsigned before_;
#elif defined(__aarch64__)
    WithoutSubnormals() {
        asm volatile("mrs %0, fpcr" : "=r"(before_));
        asm volatile("msr fpcr, %0" ::"r"(before_ | (uint64_t(1) << 24)));
    }
    ~WithoutSubnormals() { asm volatile("msr fpcr, %0" ::"r"(before_)); }

private:
    uint64_t before_;
#else
    WithoutSubnormals() {}
    ~WithoutSubnormals() {}
#endif
    WithoutSubnormals(const WithoutSubnormals&) = delete;
    WithoutSubnormals& operator=(const WithoutSubnormals&) = delete;
};

// The first `count` lanes, and zeros after them.
INLINE Vector load_some(const float* from, int count) {
    if (count == LANES) return load(from);
    float lanes[LANES] = {};
    std::memcpy(lanes, from, sizeof(float) * count);
    return load(lanes);
}
INLINE void store_some(float* to, Vector value, int count) {
    if (count == LANES) return store(to, value);
    float lanes[LANES];
    store(lanes, value);
    std::memcpy(to, lanes, sizeof(float) * count);
}

INLINE Vector select(Integers mask, Vector where_true, Vector where_false) {
    Integers bits = (mask & reinterpret_cast<Integers>(where_true)) | (~mask & reinterpret_cast<Integers>(where_false));
    return reinterpret_cast<Vector>(bits);
}
// If `other` is NaN, so is the result: divergence must not be hidden.
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

// e^x: x = n ln 2 + r, |r| <= ln 2 / 2, and e^r by its Taylor series to the 7th power (with a remainder below 6e-9).
// Below -87 the result is about 1e-38, above 88 about 1.6e38.
INLINE Vector exponential(Vector x) {
    x = minimum(all(88.0f), maximum(all(-87.0f), x));
    // Adding 1.5 x 2^23 rounds to the nearest integer, which is then in the low bits.
    const Vector magic = all(12582912.0f);
    Vector shifted = multiply_add(x, all(1.44269504088896341f), magic);
    Vector n = shifted - magic;
    // ln 2 in two parts, so that the subtraction is exact.
    Vector r = multiply_add(n, all(2.12194440054690583e-4f), multiply_add(n, all(-0.693359375f), x));
    Vector p = all(1.0f / 5040);
    p = multiply_add(p, r, all(1.0f / 720));
    p = multiply_add(p, r, all(1.0f / 120));
    p = multiply_add(p, r, all(1.0f / 24));
    p = multiply_add(p, r, all(1.0f / 6));
    p = multiply_add(p, r, all(0.5f));
    p = multiply_add(p, r, all(1.0f));
    p = multiply_add(p, r, all(1.0f));
    Integers power = (reinterpret_cast<Integers>(shifted) << 23) + 0x3f800000;
    // The bits of the magic number are shifted out at the top: 1.5 x 2^23 has zeros below.
    return p * reinterpret_cast<Vector>(power);
}

// The sum of x[j] y[j]: whole vectors, then the remaining numbers one by one.
INLINE float dot(const float* x, const float* y, int count) {
    Vector total{};
    int j = 0;
    for (; j + LANES <= count; j += LANES) total = multiply_add(load(x + j), load(y + j), total);
    float rest = 0.0f;
    for (; j < count; j++) rest += x[j] * y[j];
    return sum(total) + rest;
}
