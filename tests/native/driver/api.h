// Every call of the engine's exported functions: where a signature changes, only this file does.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "adamw.h"
#include "draw.h"
#include "model.h"
#include "muon.h"
#include "recurrence.h"
#include "status.h"

extern "C" {
const char* lmlab_error();
int lmlab_open(const Shape*, const Parameters*, const float* cosines, const float* sines, int threads, void** opened);
int lmlab_close(void*);
int lmlab_gradients(void*, const Parameters*, const int64_t* tokens, const int64_t* targets, int sequences, int time,
                    float scale, uint64_t seed, int accumulate, int changed, double* loss);
int lmlab_scores(void*, const int64_t* tokens, const int64_t* targets, int sequences, int time, int changed, float* nats,
                 uint8_t* hits);
int lmlab_sections(void*, double* seconds);
int lmlab_format();
int lmlab_selfcheck();
int lmlab_multiply_add_flops(int threads, double* flops);
int lmlab_product_flops(int threads, double* flops);

int lmlab_open_update(void*, const AdamEntry*, int32_t adams, const MuonEntry*, int32_t muons, void** opened);
int lmlab_gradient_norm(void*, double* norm);
int lmlab_take_update(void*, double limit, double share);
int lmlab_close_update(void*);

int lmlab_decoder_open(void*, int rows, int length, int guesses, void** opened);
int lmlab_decoder_refresh(void*);
int lmlab_decoder_close(void*);
int lmlab_decoder_start(void*, int row, const int64_t* window, int count, const int32_t* whole, int whole_count, int to_come);
int lmlab_decoder_copy(void*, int from, int to);
int lmlab_decoder_read(void*, const int32_t* rows, int count);
int lmlab_decoder_logits(void*, const int32_t* rows, int count, float* to);
int lmlab_decoder_append(void*, const int32_t* rows, int count, const int32_t* tokens);
int lmlab_decoder_write(void*, const int32_t* rows, int count, const Settings*, const double* uniforms, int tokens,
                        int32_t* tokens_out, int32_t* written, int* finite);
int lmlab_draw(float* logits, const uint8_t* seen, const Settings*, double uniform, int* token);

int lmlab_recurrence_open(int threads, void** opened);
int lmlab_recurrence_close(void*);
int lmlab_recurrence_forward(void*, const RecurrenceShape*, const RecurrenceWeights*, const float* z, const RecurrencePassed*);
int lmlab_recurrence_backward(void*, const RecurrenceShape*, const RecurrenceWeights*, const RecurrencePassed*,
                              const float* gradient, float* z_gradient, const RecurrenceWeights* totals);
}

namespace api {

using Tokens = std::vector<int64_t>;

// What these declarations are written for: lmlab_format of the source. No compiler sees that they have become others.
constexpr int FORMAT = 4;

// No call fails in these tests; one that does ends them.
inline void fine(int status) {
    if (status == FINE) return;
    std::printf("FAILED a call of the engine: status %d %s\n", status, lmlab_error());
    std::exit(1);
}

// Owns what a function of the engine opened.
template <int (*CLOSE)(void*)>
class Handle {
public:
    // open(where the handle goes): a status
    template <class Open>
    explicit Handle(const Open& open) {
        fine(open(&at_));
    }
    ~Handle() { fine(CLOSE(at_)); }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    void* get() const { return at_; }

private:
    void* at_ = nullptr;
};

class Engine {
public:
    Engine(const Shape& shape, const Parameters& parameters, const float* cosines, const float* sines, int threads)
        : handle_([&](void** to) { return lmlab_open(&shape, &parameters, cosines, sines, threads, to); }) {}

    // The sum of nats; both texts are [sequences][time].
    double learn(const Parameters& gradients, const Tokens& tokens, const Tokens& targets, int time, float scale,
                 uint64_t seed = 0, bool accumulate = false, bool changed = true) {
        double loss = 0;
        fine(lmlab_gradients(get(), &gradients, tokens.data(), targets.data(), int(tokens.size()) / time, time, scale, seed,
                             accumulate, changed, &loss));
        return loss;
    }
    void scores(const Tokens& tokens, const Tokens& targets, int time, float* nats, uint8_t* hits, bool changed = true) {
        fine(lmlab_scores(get(), tokens.data(), targets.data(), int(tokens.size()) / time, time, changed, nats, hits));
    }
    void sections(double* seconds) { fine(lmlab_sections(get(), seconds)); }
    void* get() const { return handle_.get(); }

private:
    Handle<lmlab_close> handle_;
};

class Update {
public:
    Update(Engine& engine, const std::vector<AdamEntry>& adam, const std::vector<MuonEntry>& muon)
        : handle_([&](void** to) {
              return lmlab_open_update(engine.get(), adam.data(), int(adam.size()), muon.data(), int(muon.size()), to);
          }) {}
    double norm() {
        double found = 0;
        fine(lmlab_gradient_norm(handle_.get(), &found));
        return found;
    }
    void take(double limit, double share) { fine(lmlab_take_update(handle_.get(), limit, share)); }

private:
    Handle<lmlab_close_update> handle_;
};

class Decoder {
public:
    Decoder(Engine& engine, int rows, int length, int guesses = 0)
        : handle_([&](void** to) { return lmlab_decoder_open(engine.get(), rows, length, guesses, to); }) {}

    void start(int row, const Tokens& window, int to_come) {
        const std::vector<int32_t> whole(window.begin(), window.end());
        fine(lmlab_decoder_start(handle_.get(), row, window.data(), int(window.size()), whole.data(), int(whole.size()), to_come));
    }
    void refresh() { fine(lmlab_decoder_refresh(handle_.get())); }
    void copy(int from, int to) { fine(lmlab_decoder_copy(handle_.get(), from, to)); }
    void read(const std::vector<int32_t>& rows) { fine(lmlab_decoder_read(handle_.get(), rows.data(), int(rows.size()))); }
    // [rows][vocabulary]
    std::vector<float> logits(const std::vector<int32_t>& rows, int vocabulary) {
        std::vector<float> found(rows.size() * vocabulary);
        fine(lmlab_decoder_logits(handle_.get(), rows.data(), int(rows.size()), found.data()));
        return found;
    }
    void append(const std::vector<int32_t>& rows, const std::vector<int32_t>& tokens) {
        fine(lmlab_decoder_append(handle_.get(), rows.data(), int(rows.size()), tokens.data()));
    }
    // The tokens of each row, one for each of its uniform numbers; no rows where the logits are no numbers.
    std::vector<Tokens> write(const std::vector<int32_t>& rows, const Settings& settings, const std::vector<double>& uniforms) {
        const int tokens = int(uniforms.size() / rows.size());
        int finite = 0;
        std::vector<int32_t> drawn(uniforms.size()), written(rows.size());
        fine(lmlab_decoder_write(handle_.get(), rows.data(), int(rows.size()), &settings, uniforms.data(), tokens, drawn.data(),
                                 written.data(), &finite));
        if (!finite) return {};
        std::vector<Tokens> texts;
        for (size_t row = 0; row < rows.size(); row++)
            texts.emplace_back(drawn.begin() + row * tokens, drawn.begin() + row * tokens + written[row]);
        return texts;
    }

private:
    Handle<lmlab_decoder_close> handle_;
};

class Recurrence {
public:
    explicit Recurrence(int threads)
        : handle_([&](void** to) { return lmlab_recurrence_open(threads, to); }) {}
    void forward(const RecurrenceShape& shape, const RecurrenceWeights& weights, const float* z, const RecurrencePassed& passed) {
        fine(lmlab_recurrence_forward(handle_.get(), &shape, &weights, z, &passed));
    }
    void backward(const RecurrenceShape& shape, const RecurrenceWeights& weights, const RecurrencePassed& passed,
                  const float* gradient, float* z_gradient, const RecurrenceWeights& totals) {
        fine(lmlab_recurrence_backward(handle_.get(), &shape, &weights, &passed, gradient, z_gradient, &totals));
    }

private:
    Handle<lmlab_recurrence_close> handle_;
};

// The token drawn from these logits; negative where they are no numbers.
inline int draw(std::vector<float> logits, const std::vector<uint8_t>& seen, const Settings& settings, double uniform) {
    int token = 0;
    fine(lmlab_draw(logits.data(), seen.data(), &settings, uniform, &token));
    return token;
}

inline bool of_this_format() { return lmlab_format() == FORMAT; }
inline int selfcheck() { return lmlab_selfcheck(); }

// FLOP/s of multiply-adds in registers, and of products in the cache.
inline std::pair<double, double> flops(int threads) {
    double multiply_adds = 0, products = 0;
    fine(lmlab_multiply_add_flops(threads, &multiply_adds));
    fine(lmlab_product_flops(threads, &products));
    return {multiply_adds, products};
}

}  // namespace api
