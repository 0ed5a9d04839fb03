// Creation of an engine, the gradients of a training step, and the scores of an evaluation.
#include "engine.h"

#include "backward.h"

// Rows of a chunk. What a chunk writes should still be in the core's caches in the backward pass, which favours few rows; but each
// chunk reads all weights and their gradients once, which favours more rows the larger the model is. Measured at widths of 64 to
// 384: 64 to 128 rows are best with 0.8M numbers in the matrices, 256 to 512 with 3M and more (docs/notes/rows-of-a-chunk.md).
static int chunk_rows(const Shape& shape) {
    const int64_t layer = int64_t(shape.width) * (shape.qkv() + shape.queries() + shape.up + shape.hidden);
    return int(std::clamp<int64_t>(layer * shape.layers / 6144, 64, 512));
}

struct Training {
    std::vector<Worker> workers;
    std::vector<float> embedded_gradient;
    std::vector<std::vector<int32_t>> touched;  // by thread
    std::vector<int32_t> stamps[MOST_NGRAMS];   // by row: the last gradient that touched it, counted from 1
    int32_t gradients = 1;
    Clock clock;

    explicit Training(Engine& engine) {
        workers.reserve(engine.pool.threads());
        for (int thread = 0; thread < engine.pool.threads(); thread++) workers.emplace_back(engine, *engine.weights);
        for (int index = 0; index < engine.shape.ngrams; index++) stamps[index].assign(engine.shape.ngram_rows[index], 0);
    }

    // work(worker, first sequence, sequences) for each chunk; the sequences are divided among the threads.
    template <class Work>
    void each_chunk(Engine& engine, int sequences, int time, const Work& work) {
        int threads = engine.pool.threads(), chunk = std::max(1, chunk_rows(engine.shape) / time);
        engine.pool.run([&](int thread) {
            int first = int64_t(sequences) * thread / threads, last = int64_t(sequences) * (thread + 1) / threads;
            for (; first < last; first += chunk) work(workers[thread], first, std::min(chunk, last - first));
        });
    }

    // Adds the embedded vectors' gradients to the tables' rows; each row belongs to one thread, so that the order of sums is fixed.
    void scatter(Engine& engine, float* const* tables, const int64_t* tokens, int sequences, int time, bool accumulate) {
        const Shape& shape = engine.shape;
        int threads = engine.pool.threads();
        if (!accumulate) gradients++;
        for (int index = 0; index < shape.ngrams; index++) {
            if (!accumulate) {
                for (int32_t row : engine.touched[index])
                    std::memset(tables[index] + size_t(row) * shape.width, 0, sizeof(float) * shape.width);
                engine.touched[index].clear();
            }
            std::vector<int32_t> rows(size_t(sequences) * time);
            engine.pool.run([&](int thread) {
                size_t first = rows.size() * thread / threads, last = rows.size() * (thread + 1) / threads;
                for (size_t place = first; place < last; place++)
                    rows[place] = ngram_row(shape, index, tokens + place / time * time, place % time);
            });
            touched.resize(threads);
            engine.pool.run([&](int thread) {
                touched[thread].clear();
                for (size_t place = 0; place < rows.size(); place++) {
                    int32_t row = rows[place];
                    if (row % threads != thread) continue;
                    if (stamps[index][row] != gradients) {
                        stamps[index][row] = gradients;
                        touched[thread].push_back(row);
                    }
                    float* to = tables[index] + size_t(row) * shape.width;
                    const float* from = embedded_gradient.data() + place * shape.width;
                    for (int j = 0; j < shape.width; j++) to[j] += from[j];
                }
            });
            for (auto& part : touched) engine.touched[index].insert(engine.touched[index].end(), part.begin(), part.end());
            std::sort(engine.touched[index].begin(), engine.touched[index].end());
        }
    }
};

static Training& training_of(Engine& engine) {
    if (!engine.weights) engine.weights = std::make_shared<Weights>(engine);
    if (!engine.training) engine.training = std::make_shared<Training>(engine);
    return *engine.training;
}

// The reason of the last failure in this thread; empty if the status is sufficient.
EXPORT const char* lmlab_error() { return failure_text(); }

EXPORT int lmlab_open(
    const Shape* shape, const Parameters* parameters, const float* cosines, const float* sines, int threads, Engine** opened) {
    return guarded([&] {
        auto engine = std::make_unique<Engine>(*shape, *parameters, threads);
        if (shape->rotary) {
            size_t count = size_t(shape->context) * (shape->head_width / 2);
            engine->cosines.assign(cosines, cosines + count);
            engine->sines.assign(sines, sines + count);
        }
        *opened = engine.release();
    });
}

EXPORT int lmlab_close(Engine* engine) {
    return guarded([&] { delete engine; });
}

static double learn(Engine* engine, const Parameters* gradients, const int64_t* tokens, const int64_t* targets, int sequences,
    int time, float scale, uint64_t seed, int accumulate, int changed) {
    Training& training = training_of(*engine);
    training.clock.start();
    engine->weights->pack(engine->pool, true, changed);
    training.clock.took(PACKING);
    if (engine->shape.ngrams) training.embedded_gradient.resize(size_t(sequences) * time * engine->shape.width);
    engine->pool.run([&](int thread) { training.workers[thread].begin_gradient(); });
    Batch batch{tokens, targets, time, seed, scale};
    training.each_chunk(*engine, sequences, time,
        [&](Worker& worker, int first, int count) { worker.learn(batch, first, count, training.embedded_gradient.data()); });
    training.clock.start();
    std::vector<GradientShare*> shares;
    for (Worker& worker : training.workers) {
        worker.end_gradient();
        shares.push_back(&worker.share);
    }
    add_up(*engine, shares, *gradients, accumulate);
    if (engine->shape.ngrams) training.scatter(*engine, gradients->ngrams, tokens, sequences, time, accumulate);
    training.clock.took(ADDING_UP);
    double loss = 0.0;
    for (Worker& worker : training.workers) loss += worker.loss;
    return loss;
}

// The gradient of scale x (sum of nats over the targets that aren't negative), and that sum as `loss`. Each call must pass the same
// `gradients`: of an n-gram table only the rows that the last call has written are cleared. `accumulate`: add to the current
// content (the weights must be those of the last call). `changed`: the weights have changed since the last call of this kind other
// than by an update of this engine.
EXPORT int lmlab_gradients(Engine* engine, const Parameters* gradients, const int64_t* tokens, const int64_t* targets,
    int sequences, int time, float scale, uint64_t seed, int accumulate, int changed, double* loss) {
    return guarded([&] { *loss = learn(engine, gradients, tokens, targets, sequences, time, scale, seed, accumulate, changed); });
}

// Nats of each target (0 where it is negative), and whether it had the largest logit; without dropout.
EXPORT int lmlab_scores(Engine* engine, const int64_t* tokens, const int64_t* targets, int sequences, int time, int changed,
    float* nats, uint8_t* hits) {
    return guarded([&] {
        Training& training = training_of(*engine);
        engine->weights->pack(engine->pool, false, changed);
        Batch batch{tokens, targets, time, 0, 0.0f};
        training.each_chunk(
            *engine, sequences, time, [&](Worker& worker, int first, int count) { worker.score(batch, first, count, nats, hits); });
    });
}

// Seconds of each section since the last call, averaged over the threads.
EXPORT int lmlab_sections(Engine* engine, double* seconds) {
    return guarded([&] {
        Training& training = training_of(*engine);
        for (int section = 0; section < SECTIONS; section++) {
            seconds[section] = training.clock.seconds[section];
            training.clock.seconds[section] = 0.0;
            for (Worker& worker : training.workers) {
                seconds[section] += worker.clock.seconds[section] / training.workers.size();
                worker.clock.seconds[section] = 0.0;
            }
        }
    });
}

EXPORT int lmlab_format() { return 4; }

// Compares a small computation by vector code with plain code; returns 0 if they agree. A library that crashes here is never used.
EXPORT int lmlab_selfcheck() {
    const int rows = TILE_ROWS + 5, columns = TILE_COLUMNS + 3, depth = 7;
    Buffer left(rows * depth), right(depth * columns), panels(panels_size(columns, depth)), result(rows * columns);
    for (int i = 0; i < rows * depth; i++) left[i] = float(i % 11) - 5;
    for (int i = 0; i < depth * columns; i++) right[i] = float(i % 7) - 3;
    pack_rows(panels, right, columns, depth, columns);
    product(Left<false>{left, depth}, panels, rows, columns, depth, Put{result, columns});
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            float expected = 0.0f;
            for (int k = 0; k < depth; k++) expected += left[i * depth + k] * right[k * columns + j];
            if (result[i * columns + j] != expected) return 1;
        }
    for (float x = -8.0f; x < 8.0f; x += 0.37f) {
        if (std::abs(exponential(all(x))[0] - std::exp(x)) > 1e-6f * std::exp(x)) return 2;
        if (std::abs(hyperbolic_tangent(all(x))[0] - std::tanh(x)) > 1e-6f) return 3;
        if (std::abs(bend<GELU>(all(x)).value[0] - 0.5f * x * std::erfc(-x * 0.70710678f)) > 1e-6f * (1.0f + std::abs(x))) return 4;
    }
    int parts[2] = {};
    const int status = guarded([&] {
        Pool pool(2);
        pool.run([&](int thread) { parts[thread] = thread + 1; });
    });
    // If no thread can be started now, that may be temporary.
    return status == NO_THREADS || (status == FINE && parts[0] == 1 && parts[1] == 2) ? 0 : 5;
}
