// A GPT from its formulas, in float64, one number after the other: what the engine's results are held against.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "models.h"
#include "tape.h"

// Dropout as functions.h documents it: what a number at `place` of mask `where` is multiplied with.
struct Masks {
    float share = 0.0f;
    uint64_t seed = 0;

    double factor(uint32_t where, uint32_t place) const {
        if (share == 0.0f) return 1.0;
        const uint32_t limit = uint32_t(share * 16777216.0f);
        const uint64_t mixed = (seed + 0x9E3779B97F4A7C15ull * (where + 1)) * 0xBF58476D1CE4E5B9ull;
        uint32_t x = place;
        x = (x ^ (x >> 16)) * 0x7feb352du + uint32_t((mixed ^ (mixed >> 31)) >> 16);
        x = (x ^ (x >> 15)) * 0x846ca68bu;
        x ^= x >> 16;
        return (x >> 8) >= limit ? 16777216.0 / (16777216.0 - limit) : 0.0;
    }
};

template <class Number>
class PlainGpt {
public:
    using Row = std::vector<Number>;
    using Matrix = std::vector<Row>;

    // With `Traced` the numbers are leaves of the tape, which is cleared.
    explicit PlainGpt(const Model& model) : model_(model), o_(model.options) {
        tape.clear();
        for (const auto& [name, numbers] : model.tensors) {
            Row& row = weights_[name];
            for (size_t i = 0; i < numbers.size(); i++) {
                if constexpr (std::is_same_v<Number, Traced>)
                    row.push_back(Traced::leaf(numbers[i]));
                else
                    row.push_back(numbers[i]);
            }
        }
    }

    const std::map<std::string, Row>& weights() const { return weights_; }

    // Logits after each of `time` tokens, which are those of the batch's sequence number `sequence`.
    Matrix logits(const int64_t* tokens, int time, const Masks& masks = {}, int sequence = 0) const {
        const int width = o_.width(), padded_width = padded(width);
        auto drop = [&](Matrix& x, int where) {
            for (int row = 0; masks.share > 0 && row < time; row++)
                for (int j = 0; j < width; j++)
                    x[row][j] = x[row][j] * Number(masks.factor(where, uint32_t((sequence * time + row) * padded_width + j)));
        };
        Matrix stream(time), embedded, first_values;
        for (int place = 0; place < time; place++) stream[place] = embed(tokens, place);
        drop(stream, 0);
        embedded = stream;
        for (int layer = 0; layer < o_.layers; layer++) {
            const std::string at = std::to_string(layer) + ".";
            if (const Row* shares = find(at + "stream_shares"))
                for (int row = 0; row < time; row++)
                    for (int j = 0; j < width; j++)
                        stream[row][j] = (*shares)[0] * stream[row][j] + (*shares)[1] * embedded[row][j];
            Matrix branch = attention(at, tokens, stream, masks, layer, sequence, first_values);
            drop(branch, layer * 4 + 2);
            add(stream, branch);
            branch.clear();
            for (const Row& row : stream) branch.push_back(linear(at + "down", bent(linear(at + "up", norm(at + "mlp_norm", row)))));
            drop(branch, layer * 4 + 3);
            add(stream, branch);
        }
        Matrix found;
        for (const Row& row : stream) found.push_back(head(norm("norm", row)));
        return found;
    }

    static Number nats(const Row& logits, int64_t target) {
        Number total(0.0);
        // No logit of these models is so large that its exponential has no room in float64.
        for (const Number& logit : logits) total = total + exponential(logit);
        return logarithm(total) - logits[target];
    }

private:
    static Number exponential(const Number& x) { using std::exp; return exp(x); }
    static Number logarithm(const Number& x) { using std::log; return log(x); }

    const Row* find(const std::string& name) const {
        const auto found = weights_.find(name);
        return found == weights_.end() ? nullptr : &found->second;
    }
    static void add(Matrix& to, const Matrix& from) {
        for (size_t row = 0; row < to.size(); row++)
            for (size_t j = 0; j < to[row].size(); j++) to[row][j] = to[row][j] + from[row][j];
    }

    Row embed(const int64_t* tokens, int place) const {
        const size_t width = o_.width();
        Row x(width);
        auto add_row = [&](const std::string& name, size_t row) {
            const Row& table = *find(name);
            for (size_t j = 0; j < width; j++) x[j] = x[j] + table[row * width + j];
        };
        add_row("embedding", tokens[place]);
        if (find("positions")) add_row("positions", place);
        for (size_t index = 0; index < o_.ngrams.size(); index++)
            add_row("ngrams." + std::to_string(index), table_row(o_.ngrams[index], tokens, place));
        return x;
    }

    // The number of an n-gram in an odd base, newest token first, absent ones 0; its hash where not all have room.
    size_t table_row(int length, const int64_t* tokens, int place) const {
        const uint64_t base = (o_.vocabulary + 1) | 1;
        uint64_t number = 0;
        double all = 1;
        for (int back = length - 1; back >= 0; back--) {
            number = number * base + (place >= back ? tokens[place - back] + 1 : 0);
            all *= double(base);
        }
        return all <= o_.ngram_rows ? number : ((number * 0x9E3779B97F4A7C15ull) >> 32) % o_.ngram_rows;
    }

    Row norm(const std::string& name, const Row& x) const {
        using std::sqrt;
        const Number count(double(x.size()));
        Number mean(0.0), squares(0.0);
        if (!o_.rms) {
            for (const Number& number : x) mean = mean + number;
            mean = mean / count;
        }
        Row y;
        for (const Number& number : x) y.push_back(number - mean), squares = squares + y.back() * y.back();
        const Number deviation = sqrt(squares / count + Number(1e-5));
        const Row &weight = *find(name), *bias = find(name + "_bias");
        for (size_t j = 0; j < y.size(); j++) {
            y[j] = y[j] / deviation * weight[j];
            if (bias) y[j] = y[j] + (*bias)[j];
        }
        return y;
    }

    Row linear(const std::string& name, const Row& x, const char* bias_name = "_bias") const {
        const Row &weight = *find(name), *bias = find(name + bias_name);
        Row y;
        for (size_t at = 0; at < weight.size(); at += x.size()) {
            y.push_back(product_sum(x.data(), &weight[at], x.size()));
            if (bias) y.back() = y.back() + (*bias)[y.size() - 1];
        }
        return y;
    }

    Row head(const Row& x) const {
        using std::tanh;
        Row y = o_.tied ? linear("embedding", x, " has none") : linear("head", x, " has none");
        const Row* bias = find("head_bias");
        for (size_t j = 0; j < y.size(); j++) {
            if (bias) y[j] = y[j] + (*bias)[j];
            if (o_.softcap > 0) y[j] = Number(o_.softcap) * tanh(y[j] / Number(o_.softcap));
        }
        return y;
    }

    Row bent(const Row& x) const {
        using std::erf, std::exp, std::tanh;
        Row y;
        const Number one(1.0), half(0.5);
        for (int j = 0; j < o_.hidden; j++) {
            const Number& at = x[j];
            switch (o_.activation) {
                case RELU: y.push_back(positive(at)); break;
                case RELU2: y.push_back(positive(at) * positive(at)); break;
                case GELU: y.push_back(half * at * (one + erf(at * Number(0.7071067811865476)))); break;
                case GELU_TANH:
                    y.push_back(half * at * (one + tanh(Number(0.7978845608028654) * (at + Number(0.044715) * at * at * at))));
                    break;
                case SWIGLU: y.push_back(at / (one + exp(Number(0.0) - at)) * x[o_.hidden + j]); break;
            }
        }
        return y;
    }

    // Of one token's query or key: divided by its root mean square, then turned by its place.
    void turn(Number* x, int place) const {
        using std::sqrt;
        const int wide = o_.head_width;
        if (o_.qk_norm) {
            const Number size = sqrt(product_sum(x, x, wide) / Number(double(wide)) + Number(1e-5));
            for (int j = 0; j < wide; j++) x[j] = x[j] / size;
        }
        for (int pair = 0; o_.rotary && pair < wide / 2; pair++) {
            const Number cosine(model_.cosines[place * (wide / 2) + pair]), sine(model_.sines[place * (wide / 2) + pair]);
            const Number first = x[2 * pair], second = x[2 * pair + 1];
            x[2 * pair] = first * cosine - second * sine;
            x[2 * pair + 1] = first * sine + second * cosine;
        }
    }

    Matrix attention(const std::string& at, const int64_t* tokens, const Matrix& stream, const Masks& masks, int layer,
                     int sequence, Matrix& first_values) const {
        const int time = int(stream.size()), wide = o_.head_width, width = o_.width(), keys = o_.key_heads * wide;
        Matrix qkv, values, mixed(time, Row(width));
        for (int place = 0; place < time; place++) {
            qkv.push_back(linear(at + "qkv", norm(at + "attention_norm", stream[place])));
            for (int head = 0; head < o_.heads + o_.key_heads; head++) turn(&qkv[place][head * wide], place);
            values.emplace_back(qkv[place].begin() + width + keys, qkv[place].end());
        }
        if (layer == 0) first_values = values;
        if (const Row* share = find(at + "first_share"))
            for (int place = 0; place < time; place++)
                for (int j = 0; j < keys; j++)
                    values[place][j] = values[place][j] + (*share)[0] * (first_values[place][j] - values[place][j]);
        for (int head = 0; head < o_.heads; head++) {
            const int key_head = head / (o_.heads / o_.key_heads);
            for (int i = 0; i < time; i++) {
                Row weights;
                Number total(0.0);
                int start = 0;
                for (int j = 0; j <= i; j++)
                    if (tokens[j] == o_.boundary) start = j;
                for (int j = start; j <= i; j++) {
                    const Number score = product_sum(&qkv[i][head * wide], &qkv[j][width + key_head * wide], wide);
                    weights.push_back(exponential(score / Number(std::sqrt(double(wide)))));
                    total = total + weights.back();
                }
                for (int j = start; j <= i; j++) {
                    const uint32_t place = uint32_t(((sequence * o_.heads + head) * time + i) * time + j);
                    const Number weight = weights[j - start] / total * Number(masks.factor(layer * 4 + 1, place));
                    for (int d = 0; d < wide; d++)
                        mixed[i][head * wide + d] = mixed[i][head * wide + d] + weight * values[j][key_head * wide + d];
                }
            }
        }
        Matrix projected;
        for (const Row& row : mixed) projected.push_back(linear(at + "projection", row));
        return projected;
    }

    const Model& model_;
    const Options& o_;
    std::map<std::string, Row> weights_;
};
