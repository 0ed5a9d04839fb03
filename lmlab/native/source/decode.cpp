// Division of a decoder's weights among the threads, and the pass of tokens through the layers.
#include "decode.h"

#include "functions.h"
#include "heads.h"
#include "lookup.h"
#include "rows.h"

namespace {

constexpr size_t WEIGHTS_OF_A_THREAD = 150000;  // with fewer, a thread would wait longer than it computes
constexpr int TEXTS_OF_A_THREAD = 4;            // with fewer, dividing them was never faster

int shared(int all, int thread, int threads) { return int((int64_t)all * thread / threads); }

// The beginning of `thread`'s share of `count` numbers: a multiple of whole vectors, so that threads write to different vectors.
int shared_vectors(int count, int thread, int threads) {
    return std::min(count, shared((count + LANES - 1) / LANES, thread, threads) * LANES);
}

size_t weights_of(const Shape& shape) {
    size_t width = shape.width;
    return shape.layers * width * (shape.qkv() + shape.queries() + shape.up + shape.hidden) + width * shape.vocabulary;
}

int team_of(const Shape& shape, int threads) {
    return (int)std::max<size_t>(1, std::min<size_t>(threads, weights_of(shape) / WEIGHTS_OF_A_THREAD));
}

}  // namespace

Decoder::Decoder(Engine& engine, int rows, int length, int most_guesses)
    : engine(engine),
      shape(engine.shape),
      rows(rows),
      length(length),
      most_guesses(most_guesses),
      width(padded(shape.width)),
      head_width(padded(shape.head_width)),
      row_length(padded(length)),
      vocabulary(padded(shape.vocabulary)),
      texts(rows),
      shares(team_of(shape, engine.pool.threads())),
      desks(shares.size()),
      norms(shape.layers * 4 + 2),
      keys((size_t)shape.layers * rows * shape.key_heads * shape.head_width * row_length),
      values((size_t)shape.layers * rows * shape.key_heads * row_length * head_width),
      ended(rows),
      divisions(rows + 1) {
    for (Text& text : texts) {
        text.window.resize(length + 1 + most_guesses);
        text.seen.resize(shape.vocabulary);
    }
    for (int index = 0; index < shape.layers; index++) {
        const Layer& layer = engine.parameters.layers[index];
        const float* given[] = {layer.attention_norm, layer.attention_norm_bias, layer.mlp_norm, layer.mlp_norm_bias};
        for (int which = 0; which < 4; which++) norms[4 * index + which].set(given[which], shape.width);
    }
    norms[4 * shape.layers].set(engine.parameters.norm, shape.width);
    norms[4 * shape.layers + 1].set(engine.parameters.norm_bias, shape.width);
    for (Buffer& buffer : partial) buffer.need((size_t)team() * MOST_ITEMS * width);
    logits.need((size_t)rows * (1 + most_guesses) * vocabulary);
    for (int thread = 0; thread < team(); thread++) divide(thread);
    meeting.of(team());
    refresh();
}

// Reloads the weights.
void Decoder::refresh() {
    for (Padded& norm : norms) norm.copy();
    together([this](Desk& desk) { pack(desk.thread); });
}

// Whether texts may be divided among the threads.
bool Decoder::may_divide(int count) const { return team() > 1 && count >= TEXTS_OF_A_THREAD * team(); }

// Sets a thread's part of each layer, and allocates its buffers.
void Decoder::divide(int thread) {
    Share& share = shares[thread];
    share.first_key_head = shared(shape.key_heads, thread, team());
    share.key_heads = shared(shape.key_heads, thread + 1, team()) - share.first_key_head;
    share.heads = share.key_heads * (shape.heads / shape.key_heads);
    share.first_hidden = shared_vectors(shape.hidden, thread, team());
    share.hidden = shared_vectors(shape.hidden, thread + 1, team()) - share.first_hidden;
    share.first_token = shared_vectors(shape.vocabulary, thread, team());
    share.tokens = shared_vectors(shape.vocabulary, thread + 1, team()) - share.first_token;

    const int queries = share.heads * shape.head_width, own_keys = share.key_heads * shape.head_width, qkv = queries + 2 * own_keys;
    const int ups = shape.activation == SWIGLU ? 2 : 1;
    const size_t matrices = panels_size(qkv, shape.width) + panels_size(shape.width, queries) +
                            panels_size(shape.width, share.hidden) + ups * panels_size(share.hidden, shape.width);
    const size_t biases = padded(qkv) + 2 * width + ups * padded(share.hidden);
    share.packed.need(shape.layers * (matrices + biases) + panels_size(share.tokens, shape.width) + padded(share.tokens));
    share.qkv_width = padded(qkv), share.hidden_width = padded(share.hidden);

    Desk& desk = desks[thread];
    desk.thread = thread;
    // Space for the largest share: a thread computes its own share, or all of them.
    const int key_heads = (shape.key_heads + team() - 1) / team(), heads = key_heads * (shape.heads / shape.key_heads);
    const int vectors = (padded(shape.hidden) / LANES + team() - 1) / team() * LANES;
    for (Buffer* buffer : {&desk.x, &desk.embedded, &desk.normal}) buffer->need((size_t)MOST_ITEMS * width);
    desk.qkv.need((size_t)MOST_ITEMS * padded((heads + 2 * key_heads) * shape.head_width));
    desk.first_values.resize(team());
    for (Buffer& values : desk.first_values) values.need((size_t)MOST_ITEMS * key_heads * shape.head_width);
    // An item's heads are adjacent; the last one is written in whole vectors.
    desk.mixed.need((size_t)MOST_ITEMS * heads * shape.head_width + LANES);
    for (Buffer* buffer : {&desk.gate, &desk.hidden_rows}) buffer->need((size_t)MOST_ITEMS * vectors);
    desk.scores.need(row_length);
    desk.norm_room.need(2 * MOST_ITEMS);
    desk.items.reserve(std::max(MOST_ITEMS, rows * (1 + most_guesses)));
    desk.room = std::make_unique<DrawRoom>(shape.vocabulary);
}

// Packs a thread's share of the weights, in the order in which they are read.
void Decoder::pack(int thread) {
    Share& share = shares[thread];
    const int group = shape.heads / shape.key_heads, head = shape.head_width;
    const int queries = share.heads * head, keys = share.key_heads * head, qkv = queries + 2 * keys;
    const bool gated = shape.activation == SWIGLU;
    float* end = share.packed;
    auto matrix = [&](const float* from, int stride, int depth, int columns) {
        float* at = end;
        pack_columns(at, from, stride, depth, columns);
        end += panels_size(columns, depth);
        return at;
    };
    auto bias = [&](const float* from, int first, int count) {
        float* at = end;
        if (from) std::memcpy(at, from + first, sizeof(float) * count);
        end += padded(count);
        return at;
    };
    std::vector<float>& own = share.qkv_rows;
    share.layers.clear();
    for (int index = 0; index < shape.layers; index++) {
        const Layer& from = engine.parameters.layers[index];
        LayerShare to{};
        const int first_query = share.first_key_head * group * head, first_key = shape.queries() + share.first_key_head * head;
        const int firsts[] = {first_query, first_key, first_key + shape.keys()}, counts[] = {queries, keys, keys};
        // Three parts of the matrix, side by side.
        own.clear();
        for (int part = 0; part < 3; part++) {
            const float* rows = from.qkv + (size_t)firsts[part] * shape.width;
            own.insert(own.end(), rows, rows + (size_t)counts[part] * shape.width);
        }
        to.qkv = matrix(own.data(), shape.width, shape.width, qkv);
        own.assign(qkv, 0.0f);
        for (int part = 0, at = 0; part < 3; at += counts[part++])
            if (from.qkv_bias && counts[part])
                std::memcpy(own.data() + at, from.qkv_bias + firsts[part], sizeof(float) * counts[part]);
        to.qkv_bias = bias(own.data(), 0, qkv);
        to.projection = matrix(from.projection + first_query, shape.queries(), queries, shape.width);
        // Only one of the summands includes the bias.
        to.projection_bias = bias(thread == 0 ? from.projection_bias : nullptr, 0, shape.width);
        if (gated) {
            to.gate = matrix(from.up + (size_t)share.first_hidden * shape.width, shape.width, shape.width, share.hidden);
            to.gate_bias = bias(from.up_bias, share.first_hidden, share.hidden);
        }
        const int first_up = share.first_hidden + (gated ? shape.hidden : 0);
        to.up = matrix(from.up + (size_t)first_up * shape.width, shape.width, shape.width, share.hidden);
        to.up_bias = bias(from.up_bias, first_up, share.hidden);
        to.down = matrix(from.down + share.first_hidden, shape.hidden, share.hidden, shape.width);
        to.down_bias = bias(thread == 0 ? from.down_bias : nullptr, 0, shape.width);
        share.layers.push_back(to);
    }
    const float* head_rows = engine.parameters.head ? engine.parameters.head : engine.parameters.embedding;
    share.head = matrix(head_rows + (size_t)share.first_token * shape.width, shape.width, shape.width, share.tokens);
    share.head_bias = bias(engine.parameters.head_bias, share.first_token, share.tokens);
}

void Decoder::embed(Desk& desk, const Item* items, int count) {
    const Parameters& given = engine.parameters;
    for (int item = 0; item < count; item++) {
        const int64_t* window = texts[items[item].row].window.data();
        const int place = items[item].place;
        float* x = desk.x + (size_t)item * width;
        std::memcpy(x, given.embedding + window[place] * shape.width, sizeof(float) * shape.width);
        // Clear the padding: a model with NaN weights may have left NaN there.
        std::fill(x + shape.width, x + width, 0.0f);
        auto add = [&](const float* from) {
            for (int j = 0; j < shape.width; j++) x[j] += from[j];
        };
        for (int index = 0; index < shape.ngrams; index++)
            add(given.ngrams[index] + ngram_row(shape, index, window, place) * shape.width);
        if (given.positions) add(given.positions + (size_t)place * shape.width);
    }
    if (engine.parameters.layers[shape.layers - 1].stream_shares) std::memcpy(desk.embedded, desk.x, sizeof(float) * count * width);
}

// The place at which the document of a row's token begins; 0 if attention reaches across documents.
int Decoder::document_start(int row, int place) const {
    if (shape.boundary < 0) return 0;
    const int64_t* window = texts[row].window.data();
    while (place > 0 && window[place] != shape.boundary) place--;
    return place;
}

// From the normalised stream to the output of a share's heads, in `mixed`.
void Decoder::attend(Desk& desk, const Share& share, int layer, const Item* items, int count) {
    const int wide = shape.head_width, group = shape.heads / shape.key_heads;
    const int queries = share.heads * wide, own_keys = share.key_heads * wide, stride = share.qkv_width;
    const float scale = 1.0f / std::sqrt((float)wide);
    const float* first_share = engine.parameters.layers[layer].first_share;
    const LayerShare& weights = share.layers[layer];
    float* first_values = desk.first_values[&share - shares.data()];
    rows_product(desk.normal, width, count, weights.qkv, shape.width, queries + 2 * own_keys, weights.qkv_bias, desk.qkv, stride);
    for (int item = 0; item < count; item++) {
        const auto [row, place] = items[item];
        const int begin = document_start(row, place);
        float *heads = desk.qkv + (size_t)item * stride, *item_keys = heads + queries, *item_values = item_keys + own_keys;
        for (int head = 0; head < share.heads + share.key_heads; head++) {
            if (shape.qk_norm) normalise(heads + head * wide, wide);
            if (shape.rotary)
                turn(heads + head * wide, wide, &engine.cosines[(size_t)place * (wide / 2)],
                    &engine.sines[(size_t)place * (wide / 2)]);
        }
        for (int j = 0; j < queries; j++) heads[j] *= scale;
        if (first_share) {
            const float* first = first_values + (size_t)item * own_keys;
            for (int j = 0; j < own_keys; j++) item_values[j] += first_share[0] * (first[j] - item_values[j]);
        } else if (layer == 0) {
            if (own_keys) std::memcpy(first_values + (size_t)item * own_keys, item_values, sizeof(float) * own_keys);
        }
        for (int head = 0; head < share.key_heads; head++) {
            const int key_head = share.first_key_head + head;
            float* key = keys + keys_of(layer, row, key_head) + (size_t)(place / LANES) * wide * LANES + place % LANES;
            for (int d = 0; d < wide; d++) key[d * LANES] = item_keys[head * wide + d];
            float* value = values + values_of(layer, row, key_head) + (size_t)place * head_width;
            std::memcpy(value, item_values + head * wide, sizeof(float) * wide);
        }
        for (int head = 0; head < share.heads; head++) {
            const int key_head = share.first_key_head + head / group;
            attend_to_past(heads + head * wide, keys + keys_of(layer, row, key_head), values + values_of(layer, row, key_head),
                head_width, begin, place + 1, wide, desk.scores, desk.mixed + (size_t)item * queries + head * wide);
        }
    }
}

template <class Multiply>
void Decoder::add_shares(Desk& desk, Buffer& summands, int count, const Multiply& multiply) {
    const size_t size = (size_t)count * width, apart = (size_t)MOST_ITEMS * width;
    const auto add = [&](const float* from) {
        for (size_t j = 0; j < size; j += LANES) store(desk.x + j, load(desk.x + j) + load(from + j));
    };
    float* own = summands + desk.thread * apart;
    if (desk.alone) {
        for (const Share& share : shares) {
            multiply(share, own);
            add(own);
        }
        return;
    }
    multiply(shares[desk.thread], own);
    meeting.wait();
    for (int thread = 0; thread < team(); thread++) add(summands + thread * apart);
}

// Reads `count` items and caches their keys and values. If `logits_to` isn't null, each item's logits are written there.
void Decoder::pass(Desk& desk, const Item* items, int count, float* logits_to) {
    float *means = desk.norm_room, *inverses = desk.norm_room + MOST_ITEMS;
    auto norm = [&](int which) {
        const Norm norm{norms[which].numbers, norms[which + 1].numbers, shape.rms != 0};
        norm_forward(norm, desk.x, desk.normal, means, inverses, count, shape.width, width);
    };
    embed(desk, items, count);
    for (int layer = 0; layer < shape.layers; layer++) {
        if (const float* mixing = engine.parameters.layers[layer].stream_shares)
            for (size_t j = 0; j < (size_t)count * width; j += LANES)
                store(desk.x + j, multiply_add(all(mixing[0]), load(desk.x + j), all(mixing[1]) * load(desk.embedded + j)));
        norm(4 * layer);
        add_shares(desk, partial[0], count, [&](const Share& share, float* to) {
            attend(desk, share, layer, items, count);
            const int queries = share.heads * shape.head_width;
            rows_product(desk.mixed, queries, count, share.layers[layer].projection, queries, shape.width,
                share.layers[layer].projection_bias, to, width);
        });
        norm(4 * layer + 2);
        add_shares(desk, partial[1], count, [&](const Share& share, float* to) {
            const LayerShare& weights = share.layers[layer];
            const int hidden = share.hidden_width;
            rows_product(
                desk.normal, width, count, weights.up, shape.width, share.hidden, weights.up_bias, desk.hidden_rows, hidden);
            if (weights.gate)
                rows_product(
                    desk.normal, width, count, weights.gate, shape.width, share.hidden, weights.gate_bias, desk.gate, hidden);
            with_activation(shape.activation, [&](auto kind) {
                for (size_t j = 0; j < (size_t)count * hidden; j += LANES) {
                    Vector up = load(desk.hidden_rows + j);
                    store(
                        desk.hidden_rows + j, kind == SWIGLU ? bend<SWIGLU>(load(desk.gate + j)).value * up : bend<kind>(up).value);
                }
            });
            rows_product(desk.hidden_rows, hidden, count, weights.down, share.hidden, shape.width, weights.down_bias, to, width);
        });
    }
    if (!logits_to) return;
    norm(4 * shape.layers);
    for (const Share& share : shares) {
        if (!desk.alone && &share != &shares[desk.thread]) continue;
        float* to = logits_to + share.first_token;
        rows_product(desk.normal, width, count, share.head, shape.width, share.tokens, share.head_bias, to, vocabulary);
        if (!shape.softcap) continue;
        for (int item = 0; item < count; item++)
            for (int j = 0; j < share.tokens; j += LANES) {
                float* at = to + (size_t)item * vocabulary + j;
                Vector logit = load(at), capped = all(shape.softcap) * hyperbolic_tangent(logit / all(shape.softcap));
                // NaN must stay NaN, so that it is detected.
                store(at, select(logit == logit, capped, logit));
            }
    }
}
