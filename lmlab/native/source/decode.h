// Decoding: texts that are read and written a token at a time, with keys and values of what was read kept.
//
// The threads share each layer like this: a thread makes the queries, keys and values of its heads, attends with them,
// and multiplies by their columns of the projection; likewise for its part of the MLP. What it gets is a summand of the
// layer's result, so that threads wait for each other twice a layer, and each always reads the same weights.
#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "buffer.h"
#include "draw.h"
#include "engine.h"
#include "weights.h"

constexpr int MOST_ITEMS = 64;  // tokens that pass through the layers side by side

// A token of a text that is to be read.
struct Item {
    int32_t row, place;
};

// Threads that wait for each other, often and shortly.
class Meeting {
public:
    void of(int threads) { threads_ = threads; }
    void wait() {
        if (threads_ == 1) return;
        unsigned round = round_.load(std::memory_order_acquire);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads_ - 1) {
            arrived_.store(0, std::memory_order_relaxed);
            round_.store(round + 1, std::memory_order_release);
            return;
        }
        for (int spins = 0; round_.load(std::memory_order_acquire) == round; spins++)
            if (spins > SPINS) std::this_thread::yield();
    }

private:
    static constexpr int SPINS = 4000;  // then somebody else may need the processor
    int threads_ = 1;
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<unsigned> round_{0};
};

struct Text {
    std::vector<int64_t> window;  // what the next token is predicted from, and room for guesses after it
    int filled = 0;               // tokens in the window
    int held = 0;                 // of them, those whose keys and values are kept
    int guessed = 0;              // tokens after them that were guessed
    std::vector<int32_t> whole;   // all tokens, also those before the window
    std::vector<uint8_t> seen;    // [vocabulary]: stands in `whole`
};

// A thread's share of a layer's weights, packed one behind the other.
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
    // A row for each item that passes through.
    Buffer x, embedded, normal, qkv, first_values, mixed, gate, hidden_rows;
    Buffer scores, norm_room;
    std::unique_ptr<DrawRoom> room;
    std::vector<Item> items;
};

// What a call asks for. Arrays have an entry for each of `count` rows.
struct Request {
    const int32_t* rows;
    int count;
    const Settings* settings;
    const double* uniforms;  // [count][tokens]
    int tokens;
    int32_t* tokens_out;  // [count][tokens]
    int32_t* written;
};

struct Decoder {
    Engine& engine;
    const Shape& shape;
    const int rows, length, most_guesses;
    const int width, head_width, row_length, vocabulary;  // in whole vectors
    std::vector<Text> texts;
    std::vector<Share> shares;
    std::vector<Padded> norms;  // of each layer weight and bias, before attention and before the MLP; then the last ones
    // What was read, [layer][row][key head] and then keys [length / LANES][head_width][LANES], so that vectors of scores
    // are sums of whole vectors, and values [length][head_width].
    Buffer keys, values;
    Buffer partial[2];  // [thread][item][width]: what is added to the stream
    Buffer logits;      // [item][vocabulary]
    Meeting meeting;
    std::vector<uint8_t> ended;  // of a request's rows
    std::atomic<bool> diverged{false};

    Decoder(Engine& engine, int rows, int length, int most_guesses);
    void start(int row, const int64_t* window, int count, const int32_t* whole, int whole_count, int to_come);
    void copy(int from, int to);
    void read(const int32_t* rows, int count);
    void last_logits(const int32_t* rows, int count, float* to);
    bool write(const Request& request);
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
        if (team() == 1) return work(0);
        engine.pool.run([&](int thread) {
            if (thread < team()) work(thread);
        });
    }
    void divide(int thread);
    // Each of these is called by every thread of the team.
    void pack(int thread);
    void embed(Share& share, const Item* items, int count);
    void attend(Share& share, int layer, const Item* items, int count);
    void add_up(Share& share, const Buffer& summands, int count);
    void pass(int thread, const Item* items, int count, float* logits_to);
    void score(int thread, const std::vector<Item>& items);
    void read_ahead(int thread, const int32_t* rows, int count);
    void write(int thread, const Request& request);
    // These by one of them.
    void take(const Request& request, int index, float* row_logits, DrawRoom& room);
    void guess_next(Text& text, int most, int wanted);
};
