// Models of every shape and option, with random numbers.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "api.h"
#include "checks.h"

struct Options {
    std::string name;
    int layers = 2, heads = 2, key_heads = 2, head_width = 8, hidden = 48, vocabulary = 11, context = 12;
    bool rotary = false, rms = false;
    Activation activation = GELU_TANH;
    bool qk_norm = false, value_residual = false, embedding_skip = false;
    std::vector<int> ngrams = {};
    int ngram_rows = 300;
    float softcap = 0.0f, dropout = 0.0f;
    bool tied = true, head_bias = false, biases = true;
    float spread = 0.3f;
    int boundary = -1;

    int width() const { return heads * head_width; }
    // A dropout mask's places count the padding of rows, and so does the mask.
    bool masks_depend_on_vectors() const { return dropout > 0 && width() % 16; }
    int up() const { return activation == SWIGLU ? 2 * hidden : hidden; }
};

using Tensors = std::map<std::string, Floats>;

struct Model {
    Options options;
    Shape shape{};
    Tensors tensors;
    Floats cosines, sines;

    explicit Model(const Options& options, uint64_t seed = 1) : options(options) {
        const Options& o = options;
        shape.layers = o.layers, shape.heads = o.heads, shape.key_heads = o.key_heads, shape.head_width = o.head_width;
        shape.width = o.width(), shape.hidden = o.hidden, shape.up = o.up();
        shape.vocabulary = o.vocabulary, shape.context = o.context;
        shape.rotary = o.rotary, shape.rms = o.rms, shape.activation = o.activation, shape.qk_norm = o.qk_norm;
        shape.ngrams = int(o.ngrams.size());
        for (int index = 0; index < shape.ngrams; index++)
            shape.ngram_lengths[index] = o.ngrams[index], shape.ngram_rows[index] = o.ngram_rows;
        shape.softcap = o.softcap, shape.dropout = o.dropout, shape.boundary = o.boundary;
        add_tensors(seed);
        if (!o.rotary) return;
        const int pairs = o.head_width / 2;
        cosines = Floats(size_t(o.context) * pairs), sines = cosines;
        for (int place = 0; place < o.context; place++)
            for (int pair = 0; pair < pairs; pair++) {
                const double angle = place / std::pow(10000.0, 2.0 * pair / o.head_width);
                cosines[place * pairs + pair] = float(std::cos(angle)), sines[place * pairs + pair] = float(std::sin(angle));
            }
    }

    api::Engine open(int threads) { return {shape, pointers(tensors), cosines.data(), sines.data(), threads}; }

    // Zeros for each tensor.
    Tensors gradients() const {
        Tensors zeros;
        for (const auto& [name, numbers] : tensors) zeros[name] = Floats(numbers.size());
        return zeros;
    }

    // Where these tensors lie, null where the model has none of the name.
    Parameters pointers(Tensors& of) const {
        static const char* NAMES[] = {"embedding", "positions", "ngrams.0", "ngrams.1", "ngrams.2", "ngrams.3", "norm", "norm_bias",
                                      "head", "head_bias"};
        static const char* LAYER_NAMES[] = {"attention_norm", "attention_norm_bias", "qkv", "qkv_bias", "projection",
                                            "projection_bias", "mlp_norm", "mlp_norm_bias", "up", "up_bias", "down", "down_bias",
                                            "first_share", "stream_shares"};
        static_assert(sizeof(LAYER_NAMES) / sizeof(char*) == sizeof(Layer) / sizeof(float*));
        static_assert(sizeof(NAMES) / sizeof(char*) == (sizeof(Parameters) - sizeof(Parameters::layers)) / sizeof(float*));
        Parameters found{};
        float** next = reinterpret_cast<float**>(&found);
        auto set = [&](const std::string& name) { *next++ = of.count(name) ? of.at(name).data() : nullptr; };
        for (const char* name : NAMES) set(name);
        for (int layer = 0; layer < options.layers; layer++)
            for (const char* name : LAYER_NAMES) set(std::to_string(layer) + "." + name);
        return found;
    }

private:
    void add_tensors(uint64_t seed) {
        const Options& o = options;
        const size_t width = o.width(), keys = size_t(o.key_heads) * o.head_width;
        Random random(seed);
        auto add = [&](const std::string& name, size_t count, float centre = 0.0f) {
            Floats numbers(count);
            for (size_t i = 0; i < count; i++) numbers[i] = centre + o.spread * random.normal();
            tensors[name] = numbers;
        };
        auto linear = [&](const std::string& name, size_t outputs, size_t inputs) {
            add(name, outputs * inputs);
            if (o.biases) add(name + "_bias", outputs);
        };
        auto norm = [&](const std::string& name) {
            add(name, width, 1.0f);
            if (o.biases && !o.rms) add(name + "_bias", width);
        };
        add("embedding", o.vocabulary * width);
        if (!o.rotary) add("positions", o.context * width);
        for (size_t index = 0; index < o.ngrams.size(); index++) add("ngrams." + std::to_string(index), o.ngram_rows * width);
        for (int layer = 0; layer < o.layers; layer++) {
            const std::string at = std::to_string(layer) + ".";
            norm(at + "attention_norm");
            linear(at + "qkv", width + 2 * keys, width);
            linear(at + "projection", width, width);
            norm(at + "mlp_norm");
            linear(at + "up", o.up(), width);
            linear(at + "down", width, o.hidden);
            if (o.value_residual && layer) add(at + "first_share", 1, 0.5f);
            if (o.embedding_skip && layer) add(at + "stream_shares", 2, 0.7f);
        }
        norm("norm");
        if (!o.tied) add("head", o.vocabulary * width);
        if (o.head_bias) add("head_bias", o.vocabulary);
    }
};

// Each option, alone and beside others; widths that no vector fits; small enough for a slow reference.
inline std::vector<Options> all_options() {
    Options all{"all options", 3, 4, 2, 12, 50, 37, 40, true, true, SWIGLU, true, true, true, {2, 3}, 500};
    all.softcap = 15.0f, all.tied = false, all.head_bias = true;
    std::vector<Options> found{all};
    found.push_back({"plain", 2, 2, 2, 8, 64, 11, 12});
    found.push_back({"odd gelu", 2, 5, 5, 4, 33, 37, 37, false, false, GELU});
    found.back().tied = false, found.back().head_bias = true, found.back().softcap = 5.0f;
    found.push_back({"odd relu2", 2, 3, 1, 6, 47, 11, 35, true, true, RELU2, true, true, true});
    found.back().biases = false, found.back().tied = false;
    found.push_back({"odd swiglu", 1, 2, 2, 18, 23, 13, 33, true, false, SWIGLU});
    found.push_back({"odd n-grams", 2, 3, 3, 11, 20, 11, 5, false, true, RELU, false, false, true, {2, 3}});
    found.push_back({"four tables", 1, 1, 1, 16, 17, 6, 9, true, false, GELU_TANH, false, false, false, {1, 2, 4, 8}, 50});
    found.push_back({"one wide head", 1, 1, 1, 72, 40, 19, 50, true, true, RELU, true});
    found.push_back({"tiny", 1, 1, 1, 2, 1, 2, 3, true, true, GELU});
    found.push_back({"dropout", 2, 2, 1, 16, 48, 11, 12, false, false, GELU, false, true, true, {2}});
    found.back().dropout = 0.3f;
    found.push_back({"odd dropout", 2, 2, 2, 9, 21, 11, 13, false, true, SWIGLU, true});
    found.back().dropout = 0.1f, found.back().softcap = 7.0f;
    found.push_back({"documents", 2, 3, 3, 10, 30, 7, 70, true, true, RELU2, true, true, true});
    found.back().boundary = 2;
    found.push_back({"documents, dropout", 2, 2, 1, 8, 20, 5, 37});
    found.back().boundary = 0, found.back().dropout = 0.2f;
    return found;
}

// Large enough that decoding is divided among threads, unevenly.
inline std::vector<Options> large_options() {
    Options heads{"three heads", 2, 3, 3, 44, 528, 37, 24, false, false, GELU};
    Options all{"all options, large", 3, 4, 2, 34, 300, 37, 40, true, true, SWIGLU, true, true, true, {2, 3}, 500};
    all.softcap = 15.0f, all.tied = false, all.head_bias = true;
    Options documents = heads;
    documents.name = "three heads, documents", documents.boundary = 5;
    heads.spread = all.spread = documents.spread = 0.2f;
    return {heads, all, documents};
}
