// The description of a GPT for the engine: its shape, and pointers to its parameters. Filled by lmlab/native/engine.py.
#pragma once
#include <cstdint>

constexpr int MOST_LAYERS = 128;
constexpr int MOST_NGRAMS = 4;

enum Activation : int32_t { RELU = 0, GELU = 1, GELU_TANH = 2, RELU2 = 3, SWIGLU = 4 };

// The fields and their order are those of `Shape` in engine.py.
struct Shape {
    int32_t layers, heads, key_heads, head_width, width, hidden, up, vocabulary, context;
    int32_t rotary, rms, activation, qk_norm, ngrams;
    int32_t ngram_lengths[MOST_NGRAMS];
    int32_t ngram_rows[MOST_NGRAMS];
    float softcap, dropout;
    int32_t boundary;  // the token that begins a document, across which attention doesn't reach; -1: none

    int queries() const { return heads * head_width; }
    int keys() const { return key_heads * head_width; }
    int qkv() const { return queries() + 2 * keys(); }
};

// Row-major as in PyTorch: a matrix is [outputs][inputs]. Null if the model doesn't have the parameter.
// The order is that of LAYER_PARAMETERS in engine.py.
struct Layer {
    float *attention_norm, *attention_norm_bias;  // [width]
    float *qkv, *qkv_bias;                        // [queries, then keys, then values][width]
    float *projection, *projection_bias;          // [width][queries]
    float *mlp_norm, *mlp_norm_bias;              // [width]
    float *up, *up_bias;                          // [up][width]; swiglu: gate rows, then value rows
    float *down, *down_bias;                      // [width][hidden]
    float* first_share;                           // [1]: values = values + share (first layer's values - values)
    float* stream_shares;                         // [2]: x = shares[0] x + shares[1] embedded
};

// The order is that of PARAMETERS in engine.py.
struct Parameters {
    float* embedding;            // [vocabulary][width]
    float* positions;            // [context][width]
    float* ngrams[MOST_NGRAMS];  // [rows][width]
    float *norm, *norm_bias;     // [width]
    float *head, *head_bias;     // [vocabulary][width]; null head: tied to the embedding
    Layer layers[MOST_LAYERS];
};

// The table's row of the n-gram that ends at tokens[place] of a window; tokens before the window count as absent.
//
// The n-gram is read as digits in base vocabulary + 1 (absent: 0), newest token lowest. The base is made odd: if it were a power of
// two, the weights of old tokens would be 0 modulo 2^64. The number itself is the row if all of them fit the table, else its hash
// (Knuth's multiplicative hash, by 2^64 / the golden ratio).
inline int64_t ngram_row(const Shape& shape, int index, const int64_t* tokens, int place) {
    uint64_t base = ((uint64_t)shape.vocabulary + 1) | 1, number = 0, weight = 1, rows = shape.ngram_rows[index];
    bool fits = true;
    for (int back = 0; back < shape.ngram_lengths[index]; back++) {
        uint64_t digit = place - back >= 0 ? (uint64_t)tokens[place - back] + 1 : 0;
        number += digit * weight;
        fits = fits && weight <= rows / base;
        weight *= base;
    }
    return fits ? number : ((number * 0x9E3779B97F4A7C15ull) >> 32) % rows;
}
