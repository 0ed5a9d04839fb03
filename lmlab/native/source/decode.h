// Decoding: reads and generates texts token by token, with a key-value cache.
//
// The weights are divided into as many shares as there are threads. A share computes the queries, keys and values of its heads,
// attends with them, and multiplies by its columns of the projection; likewise for its part of the MLP. Its result is a summand of
// the layer's result. Few texts are computed together: each thread computes its share, always with the same weights, and waits for
// the others at two barriers a layer. Many texts may be divided among the threads (division.h): each thread computes all shares for
// its own texts, without barriers. The sums are the same, in the same order, and so have the same bits.
#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "buffer.h"
#include "division.h"
#include "draw.h"
#include "engine.h"
#include "weights.h"

constexpr int MOST_ITEMS = 64;  // maximum number of tokens in one pass through the layers

// A token of a text that is to be read.
struct Item {
    int32_t row, place;
};

// A barrier of threads that wait for each other often and briefly.
class Meeting {
public:
    // Thrown in the other threads if one of them has failed, since they would wait for it forever.
    struct Abandoned {};

    void of(int threads) { threads_ = threads; }
    void begin() {
        arrived_.store(0, std::memory_order_relaxed);
        abandoned_.store(false, std::memory_order_relaxed);
    }
    void abandon() { abandoned_.store(true, std::memory_order_release); }
    void wait() {
        if (threads_ == 1) return;
        unsigned round = round_.load(std::memory_order_acquire);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads_ - 1) {
            arrived_.store(0, std::memory_order_relaxed);
            round_.store(round + 1, std::memory_order_release);
            return;
        }
        const auto done = [&] {
            return round_.load(std::memory_order_acquire) != round || abandoned_.load(std::memory_order_relaxed);
        };
        // After spinning for a while, yield the processor to other threads.
        if (!spin_until(SPIN_MICROSECONDS, done))
            while (!done()) std::this_thread::yield();
        if (abandoned_.load(std::memory_order_acquire)) throw Abandoned();
    }

private:
    static constexpr int SPIN_MICROSECONDS = 20;
    int threads_ = 1;
    std::atomic<bool> abandoned_{false};
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<unsigned> round_{0};
};

struct Text {
    std::vector<int64_t> window;  // what the next token is predicted from, with space for draft tokens after it
    int filled = 0;               // tokens in the window
    int held = 0;                 // number of them whose keys and values are cached
    int guessed = 0;              // number of draft tokens after them
    std::vector<int32_t> whole;   // all tokens, also those before the window
    std::vector<uint8_t> seen;    // [vocabulary]: whether the token occurs in `whole`
};

// A thread's share of a layer's weights, packed contiguously.
struct LayerShare {
    float *qkv, *qkv_bias, *projection, *projection_bias;
    float *gate, *gate_bias, *up, *up_bias, *down, *down_bias;  // gate: swiglu only
};

struct Share {
    int first_key_head, key_heads, heads;  // heads: query heads
    int first_hidden, hidden;
    int first_token, tokens;  // of the vocabulary
    Buffer packed;
    std::vector<LayerShare> layers;
    std::vector<float> qkv_rows;  // while packing
    float *head, *head_bias;

    int qkv_width, hidden_width;  // rounded up to whole vectors
};

// A thread's state in a call, and its working memory: one row per item.
struct Desk {
    int thread;
    bool alone = false;  // has texts of its own, and computes all shares
    Buffer x, embedded, normal, qkv, mixed, gate, hidden_rows;
    std::vector<Buffer> first_values;  // by share
    Buffer scores, norm_room;
    std::unique_ptr<DrawRoom> room;
    std::vector<Item> items;
};

// The arguments of a call. Arrays have an entry for each of `count` rows.
struct Request {
    const int32_t* rows;
    int count;
    const Settings* settings;
    const double* uniforms;  // [count][tokens]
    int tokens;
    int32_t* tokens_out;  // [count][tokens]
    int32_t* written;
    uint8_t* ended;
    float* logits;  // [count][1 + maximum number of draft tokens][vocabulary]
};

struct Decoder {
    Engine& engine;
    const Shape& shape;
    const int rows, length, most_guesses;
    const int width, head_width, row_length, vocabulary;  // rounded up to whole vectors
    std::vector<Text> texts;
    std::vector<Share> shares;
    std::vector<Desk> desks;
    std::vector<Padded> norms;  // weight and bias of each layer's norms, before attention and before the MLP; then the final norm's
    // The cache, [layer][row][key head]: keys as [length / LANES][head_width][LANES], so that vectors of scores are sums of whole
    // vectors, and values as [length][head_width].
    Buffer keys, values;
    Buffer partial[2];  // [thread][item][width]: summands of the residual stream
    Buffer logits;      // [item][vocabulary]
    Meeting meeting;
    std::vector<uint8_t> ended;  // of a request's rows
    std::atomic<bool> diverged{false};
    std::vector<Division> divisions;  // by the number of texts that are generated

    Decoder(Engine& engine, int rows, int length, int most_guesses);
    void start(int row, const int64_t* window, int count, const int32_t* whole, int whole_count, int to_come);
    void copy(int from, int to);
    void read(const int32_t* rows, int count);
    void last_logits(const int32_t* rows, int count, float* to);
    void append(Text& text, int token);
    bool write(Request request);
    void refresh();

private:
    int team() const { return (int)shares.size(); }
    size_t keys_of(int layer, int row, int head) const {
        return (((size_t)layer * rows + row) * shape.key_heads + head) * shape.head_width * row_length;
    }
    size_t values_of(int layer, int row, int head) const {
        return (((size_t)layer * rows + row) * shape.key_heads + head) * row_length * head_width;
    }
    template <class Work>
    void together(const Work& work) {
        if (team() == 1) return work(desks[0]);
        meeting.begin();
        engine.pool.run([&](int thread) {
            if (thread >= team()) return;
            try {
                work(desks[thread]);
            } catch (const Meeting::Abandoned&) {
                // The thread that failed reports the error.
            } catch (...) {
                meeting.abandon();
                throw;
            }
        });
    }
    // The same with each thread's part of `count` rows, from `first` on, if they are `divided`, else with all of them.
    template <class Work>
    void together_or_divided(int count, bool divided, const Work& work) {
        together([&](Desk& desk) {
            desk.alone = divided;
            const int first = divided ? count * desk.thread / team() : 0,
                      last = divided ? count * (desk.thread + 1) / team() : count;
            work(desk, first, last - first);
        });
    }
    bool may_divide(int count) const;
    void wait(const Desk& desk) {
        if (!desk.alone) meeting.wait();
    }
    void divide(int thread);
    // These are called by every thread of the team.
    void pack(int thread);
    void embed(Desk& desk, const Item* items, int count);
    int document_start(int row, int place) const;
    void attend(Desk& desk, const Share& share, int layer, const Item* items, int count);
    // Calls multiply(share, address of its summand of the stream) for the shares that this desk computes, and adds them up.
    template <class Multiply>
    void add_shares(Desk& desk, Buffer& summands, int count, const Multiply& multiply);
    void pass(Desk& desk, const Item* items, int count, float* logits_to);
    void score(Desk& desk, float* to);
    void read_ahead(Desk& desk, const int32_t* rows, int count);
    void write(Desk& desk, const Request& request);
    // These are called by one thread.
    void take(const Request& request, int index, float* row_logits, DrawRoom& room);
    void guess_next(Text& text, int most, int wanted);
};
