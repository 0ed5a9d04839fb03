// The recurrence of a context-propagation model: forward pass, and gradients of a pass.
//
// Rows of the batch are independent: they are divided among the threads once, and each thread computes all steps for its rows, in
// chunks of rows, without waiting for the others.
#include "engine.h"
#include "recurrence_backward.h"
#include "recurrence_forward.h"

// Maximum rows of a chunk: few enough that a step's numbers stay in the core's own cache.
constexpr int MOST_ROWS = 64;
// Approximate number of rows (steps x rows) in one product for a weight's gradient.
constexpr int ROWS_AT_ONCE = 512;

// A thread's share of the gradients.
struct RecurrenceShare {
    Buffer memory;
    std::vector<float*> layers, biases;
    RecurrenceWeights at{};

    // Sets all gradients to zero, in separate memory.
    void clear(const RecurrenceShape& shape) {
        const size_t hidden = shape.hidden, width = shape.vector, gates = shape.gates(), later = shape.layers - 1;
        const size_t count = hidden * width + gates * hidden + gates + 2 * width + later * (hidden * hidden + hidden);
        memory.need(count);
        std::memset(memory, 0, sizeof(float) * count);
        float* next = memory;
        auto take = [&](size_t size) { return std::exchange(next, next + size); };
        at.reading = take(hidden * width), at.gates = take(gates * hidden), at.gate_bias = take(gates);
        at.scale = take(width), at.shift = take(width), at.reading_stride = width;
        layers.clear(), biases.clear();
        for (size_t layer = 0; layer < later; layer++) layers.push_back(take(hidden * hidden)), biases.push_back(take(hidden));
        at.layers = layers.data(), at.biases = biases.data();
    }
};

struct Recurrence {
    Pool pool;
    PackedRecurrence packed;
    std::vector<RecurrenceForward::Room> forward_rooms;
    std::vector<RecurrenceBackward::Room> rooms;
    std::vector<RecurrenceShare> shares;

    explicit Recurrence(int threads) : pool(threads), forward_rooms(threads), rooms(threads), shares(threads) {}

    // work(thread, first row, rows) for each chunk: a thread's rows in as few chunks of nearly equal size as possible.
    template <class Work>
    void each_chunk(int batch, const Work& work) {
        const int threads = pool.threads();
        pool.run([&](int thread) {
            int first = int64_t(batch) * thread / threads;
            const int last = int64_t(batch) * (thread + 1) / threads;
            for (int left = (last - first + MOST_ROWS - 1) / MOST_ROWS; left > 0; left--) {
                const int rows = (last - first + left - 1) / left;
                work(thread, first, rows);
                first += rows;
            }
        });
    }

    // totals = the sum of all shares, in their order; each tensor is divided among the threads.
    void add_up(const RecurrenceShape& shape, const RecurrenceWeights& totals) {
        const size_t hidden = shape.hidden, width = shape.vector, gates = shape.gates();
        pool.run([&](int thread) {
            auto add = [&](float* to, size_t count, auto of) {
                const size_t vectors = count / LANES, threads = pool.threads();
                for (size_t j = vectors * thread / threads * LANES; j < vectors * (thread + 1) / threads * LANES; j += LANES) {
                    Vector total = load(of(shares[0].at) + j);
                    for (size_t index = 1; index < threads; index++) total += load(of(shares[index].at) + j);
                    store(to + j, total);
                }
            };
            add(totals.reading, hidden * width, [](const RecurrenceWeights& at) { return at.reading; });
            add(totals.gates, gates * hidden, [](const RecurrenceWeights& at) { return at.gates; });
            add(totals.gate_bias, gates, [](const RecurrenceWeights& at) { return at.gate_bias; });
            add(totals.scale, width, [](const RecurrenceWeights& at) { return at.scale; });
            add(totals.shift, width, [](const RecurrenceWeights& at) { return at.shift; });
            for (int layer = 0; layer < shape.layers - 1; layer++) {
                add(totals.layers[layer], hidden * hidden, [=](const RecurrenceWeights& at) { return at.layers[layer]; });
                add(totals.biases[layer], hidden, [=](const RecurrenceWeights& at) { return at.biases[layer]; });
            }
        });
    }
};

EXPORT int lmlab_recurrence_open(int threads, Recurrence** opened) {
    return guarded([&] { *opened = new Recurrence(threads); });
}

EXPORT int lmlab_recurrence_close(Recurrence* recurrence) {
    return guarded([&] { delete recurrence; });
}

// Fills `passed`, whose first vector is already set.
EXPORT int lmlab_recurrence_forward(Recurrence* recurrence, const RecurrenceShape* shape, const RecurrenceWeights* weights,
    const float* z, const RecurrencePassed* passed) {
    return guarded([&] {
        recurrence->packed.pack(recurrence->pool, *shape, *weights, true);
        const RecurrenceForward forward(*shape, *weights, recurrence->packed, *passed, z);
        recurrence->each_chunk(
            shape->batch, [&](int thread, int first, int rows) { forward.run(recurrence->forward_rooms[thread], first, rows); });
    });
}

// From the gradient of the input of gates and head to those of z and of the weights. `shape` and `weights` are those of the pass.
EXPORT int lmlab_recurrence_backward(Recurrence* recurrence, const RecurrenceShape* shape, const RecurrenceWeights* weights,
    const RecurrencePassed* passed, const float* gradient, float* z_gradient, const RecurrenceWeights* totals) {
    return guarded([&] {
        recurrence->packed.pack(recurrence->pool, *shape, *weights, false);
        recurrence->pool.run([&](int thread) { recurrence->shares[thread].clear(*shape); });
        recurrence->each_chunk(shape->batch, [&](int thread, int first, int rows) {
            RecurrenceBackward backward(
                *shape, *weights, recurrence->packed, *passed, gradient, z_gradient, recurrence->shares[thread].at);
            const int block = std::min<int>(shape->steps, std::max(1, ROWS_AT_ONCE / rows));
            backward.run(recurrence->rooms[thread], first, rows, block);
        });
        recurrence->add_up(*shape, *totals);
    });
}
