// Measurement of this machine's peak rate of multiply-adds: in registers, and in matrix products that fit the cache.
#include <chrono>
#include <vector>

#include "buffer.h"
#include "engine.h"
#include "gemm.h"

static double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Results are stored here, so that the compiler can't remove the computation.
static thread_local volatile float kept;

// Independent chains of multiply-adds, enough to hide their latency. Their initial values differ, so that the compiler can't merge
// them.
__attribute__((noinline)) static float chains(int64_t rounds) {
    constexpr int CHAINS = TILE_ROWS * TILE_VECTORS;
    Vector sums[CHAINS];
    for (int chain = 0; chain < CHAINS; chain++) sums[chain] = all(1.0f + chain);
    Vector factor = all(0.999f), term = all(0.001f);
    for (int64_t round = 0; round < rounds; round++) {
#pragma GCC unroll 32
        for (int chain = 0; chain < CHAINS; chain++) sums[chain] = multiply_add(sums[chain], factor, term);
    }
    Vector total{};
    for (Vector each : sums) total += each;
    return sum(total);
}

// The best of several repetitions, in FLOP/s of all threads together.
template <class Work>
static double best_flops(int threads, double flops, const Work& work) {
    Pool pool(threads);
    double best = 0.0;
    for (int repetition = 0; repetition < 20; repetition++) {
        auto start = std::chrono::steady_clock::now();
        pool.run(work);
        best = std::max(best, flops * threads / seconds_since(start));
    }
    return best;
}

EXPORT int lmlab_multiply_add_flops(int threads, double* flops) {
    return guarded([&] {
        static constexpr int64_t ROUNDS = 1 << 18;
        *flops = best_flops(threads, 2.0 * ROUNDS * TILE_ROWS * TILE_VECTORS * LANES, [](int) { kept = chains(ROUNDS); });
    });
}

static double product_flops(int threads) {
    constexpr int ROWS = 40 * TILE_ROWS, SIDE = 256, REPETITIONS = 8;
    struct Work {
        Buffer left{size_t(ROWS) * SIDE}, panels{panels_size(SIDE, SIDE)}, result{size_t(ROWS) * SIDE};
    };
    std::vector<Work> works(threads);
    return best_flops(threads, 2.0 * ROWS * SIDE * SIDE * REPETITIONS, [&](int thread) {
        Work& work = works[thread];
        for (int repetition = 0; repetition < REPETITIONS; repetition++)
            product(Left<false>{work.left, SIDE}, work.panels, ROWS, SIDE, SIDE, Put{work.result, SIDE});
    });
}

EXPORT int lmlab_product_flops(int threads, double* flops) {
    return guarded([&] { *flops = product_flops(threads); });
}
