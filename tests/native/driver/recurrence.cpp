// The recurrence of a context-propagation model against its equations in float64, and its bits.
#include "checks.h"
#include "api.h"
#include "suites.h"
#include "tape.h"
#include "plain_gpt.h"

namespace {

struct Case {
    std::string name;
    int layers, hidden, vector;
    bool residual;
    float dropout;
    int batch, steps, updates;
};

const Case CASES[] = {
    {"three layers", 3, 48, 32, false, 0.0f, 5, 7, 7},     {"one layer", 1, 16, 16, false, 0.3f, 3, 6, 5},
    {"residual", 4, 48, 32, true, 0.0f, 5, 6, 5},          {"residual with dropout", 3, 32, 48, true, 0.2f, 7, 5, 4},
    {"one layer normed", 1, 32, 16, true, 0.0f, 2, 1, 1},  {"wide vector", 2, 32, 160, false, 0.1f, 4, 3, 2},
    {"many rows", 2, 16, 16, false, 0.1f, 150, 3, 2},      {"many steps", 2, 16, 16, true, 0.0f, 40, 17, 16},
};

// Weights, or their gradients, by name and as the kernel takes them.
struct Weights {
    Tensors tensors;
    std::vector<float*> layers, biases;
    RecurrenceWeights at{};

    // V's rows are `stride` floats apart, as in the matrix of which they are a part.
    Weights(const Case& c, int stride, float spread) {
        Random random(4);
        auto add = [&](const std::string& name, size_t count, float own_spread, float centre = 0.0f) {
            Floats numbers(count);
            for (size_t i = 0; spread > 0 && i < count; i++) numbers[i] = centre + own_spread * random.normal();
            return (tensors[name] = numbers).data();
        };
        const size_t hidden = c.hidden, vector = c.vector;
        at.reading_stride = stride;
        add("reading", (hidden - 1) * stride + vector, spread);
        add("gates", 3 * vector * hidden, spread), add("gate_bias", 3 * vector, spread);
        add("scale", vector, 1.0f, 3.0f), add("shift", vector, spread);
        // Some of the vector's numbers reach their limit.
        for (size_t j = 0; spread > 0 && j < vector; j += 5) tensors.at("scale")[j] = 9.0f;
        for (int layer = 1; layer < c.layers; layer++)
            add("layer " + std::to_string(layer), hidden * hidden, spread), add("bias " + std::to_string(layer), hidden, spread);
        point(c);
    }
    void point(const Case& c) {
        at.reading = tensors.at("reading").data(), at.gates = tensors.at("gates").data();
        at.gate_bias = tensors.at("gate_bias").data(), at.scale = tensors.at("scale").data(), at.shift = tensors.at("shift").data();
        layers.clear(), biases.clear();
        for (int layer = 1; layer < c.layers; layer++) {
            layers.push_back(tensors.at("layer " + std::to_string(layer)).data());
            biases.push_back(tensors.at("bias " + std::to_string(layer)).data());
        }
        at.layers = layers.data(), at.biases = biases.data();
    }
};

struct Passed {
    Floats top, lower, vectors, gates, mixed, means, deviations;
    RecurrencePassed at{};

    Passed(const Case& c, bool keep) {
        const size_t steps = keep ? c.steps : 1, updates = keep ? c.updates : 1, batch = c.batch;
        top = Floats(c.steps * batch * c.hidden), lower = Floats((c.layers - 1 + c.residual) * steps * batch * c.hidden);
        vectors = Floats((c.updates + 1) * batch * c.vector), gates = Floats(updates * batch * 3 * c.vector);
        mixed = Floats(updates * batch * c.vector), means = Floats(updates * batch), deviations = means;
        Random random(6);
        for (size_t i = 0; i < batch * c.vector; i++) vectors[i] = random.normal();
        at = {top.data(), lower.data(), vectors.data(), gates.data(), mixed.data(), means.data(), deviations.data()};
    }
};

RecurrenceShape shape_of(const Case& c, bool keep) {
    return {c.layers, c.hidden, c.vector, c.steps, c.batch, c.updates, c.residual, keep, c.dropout, 9};
}

using Row = std::vector<Traced>;

struct Expected {
    std::vector<double> top, z_gradient;
    std::map<std::string, std::vector<double>> totals;
    bool clamped = false;
};

// The equations of recurrence.h for each row of the batch, and the gradient of the sum of `slopes` x top.
Expected expected_of(const Case& c, const Weights& weights, const Floats& z, const Floats& first, const Floats& slopes) {
    Expected found;
    found.top.resize(slopes.size()), found.z_gradient.resize(z.size());
    for (const auto& [name, numbers] : weights.tensors) found.totals[name].resize(numbers.size());
    const size_t hidden = c.hidden, width = c.vector;
    const Masks masks{c.dropout, 9};
    for (int row = 0; row < c.batch; row++) {
        tape.clear();
        std::map<std::string, Row> leaves;
        for (const auto& [name, numbers] : weights.tensors)
            for (size_t i = 0; i < numbers.size(); i++) leaves[name].push_back(Traced::leaf(numbers[i]));
        auto product = [&](const std::string& name, const Row& x, size_t outputs, size_t stride) {
            Row y;
            for (size_t output = 0; output < outputs; output++) y.push_back(product_sum(&leaves.at(name)[output * stride], x.data(), x.size()));
            return y;
        };
        auto root_mean_square = [](const Row& x) {
            return sqrt(product_sum(x.data(), x.data(), x.size()) / Traced(double(x.size())) + Traced(1e-5));
        };
        Row vector, z_leaves;
        for (size_t j = 0; j < width; j++) vector.push_back(Traced(first[row * width + j]));
        Traced loss(0.0);
        for (int step = 0; step < c.steps; step++) {
            const size_t start = (size_t(step) * c.batch + row) * hidden;
            Row x, stream(hidden);
            for (int layer = 0; layer < c.layers; layer++) {
                Row y = layer ? product("layer " + std::to_string(layer), x, hidden, hidden)
                              : product("reading", vector, hidden, weights.at.reading_stride);
                for (size_t j = 0; j < hidden; j++) {
                    if (!layer) z_leaves.push_back(Traced::leaf(z[start + j]));
                    const Traced& addend = layer ? leaves.at("bias " + std::to_string(layer))[j] : z_leaves.back();
                    const double factor = masks.factor(uint32_t(step * c.layers + layer), uint32_t(row * hidden + j));
                    y[j] = positive(y[j] + addend) * Traced(factor);
                    stream[j] = stream[j] + y[j];
                }
                x = y;
                if (!c.residual) continue;
                const Traced size = root_mean_square(stream);
                for (size_t j = 0; j < hidden; j++) x[j] = stream[j] / size;
            }
            for (size_t j = 0; j < hidden; j++) {
                found.top[start + j] = x[j].value;
                loss = loss + Traced(slopes[start + j]) * x[j];
            }
            if (step == c.updates) break;
            const Row opened = product("gates", x, 3 * width, hidden);
            Row next;
            Traced mean(0.0);
            auto gate = [&](size_t j) { return Traced(1.0) / (Traced(1.0) + exp(Traced(0.0) - opened[j] - leaves.at("gate_bias")[j])); };
            for (size_t j = 0; j < width; j++) {
                next.push_back(gate(width + j) * vector[j] + gate(2 * width + j) * (opened[j] + leaves.at("gate_bias")[j]));
                mean = mean + next[j] / Traced(double(width));
            }
            for (Traced& number : next) number = number - mean;
            const Traced size = root_mean_square(next);
            for (size_t j = 0; j < width; j++) {
                const Traced normed = next[j] / size * leaves.at("scale")[j] + leaves.at("shift")[j];
                found.clamped = found.clamped || std::abs(normed.value) > 10;
                vector[j] = clamped(normed, 10.0);
            }
        }
        const std::vector<double> gradient = tape.gradient(loss.place);
        for (const auto& [name, numbers] : leaves)
            for (size_t i = 0; i < numbers.size(); i++) found.totals[name][i] += gradient[numbers[i].place];
        for (int step = 0; step < c.steps; step++)
            for (size_t j = 0; j < hidden; j++)
                found.z_gradient[(size_t(step) * c.batch + row) * hidden + j] = gradient[z_leaves[step * hidden + j].place];
    }
    return found;
}

bool near(const Floats& found, const std::vector<double>& exact, double whole) {
    return apart(found, exact) <= 5e-5 * norm_of(exact) + 5e-6 * whole;
}

}  // namespace

void check_recurrence() {
    for (const Case& c : CASES) {
        tally.subject = "recurrence, " + c.name;
        const int stride = c.vector + 5;
        Weights weights(c, stride, 0.7f / std::sqrt(float(c.hidden)));
        Random random(7);
        Floats z(size_t(c.steps) * c.batch * c.hidden), slopes(z);
        for (size_t i = 0; i < z.size(); i++) z[i] = random.normal(), slopes[i] = random.normal();
        const Floats begins = Passed(c, true).vectors;
        const Expected expected = expected_of(c, weights, z, begins, slopes);
        Floats first_top;
        for (int threads : thread_counts()) {
            const std::string with = " with " + std::to_string(threads) + " threads";
            api::Recurrence kernel(threads);
            Passed passed(c, true), little(c, false);
            kernel.forward(shape_of(c, true), weights.at, z.data(), passed.at);
            check(near(passed.top, expected.top, 0), "what is read of the vector" + with);
            if (!first_top.size()) first_top = passed.top;
            check(passed.top == first_top, "a pass's bits don't depend on the threads" + with);
            kernel.forward(shape_of(c, false), weights.at, z.data(), little.at);
            check(little.top == passed.top && little.vectors == passed.vectors, "a pass that keeps little has equal bits" + with);
            Tensors first;
            Floats first_gradient;
            for (int call = 0; call < 2; call++) {
                Floats z_gradient(z.size());
                Weights totals(c, c.vector, 0.0f);
                kernel.backward(shape_of(c, true), weights.at, passed.at, slopes.data(), z_gradient.data(), totals.at);
                double whole = norm_of(expected.z_gradient);
                for (const auto& [name, exact] : expected.totals) whole = std::max(whole, norm_of(exact));
                check(near(z_gradient, expected.z_gradient, whole), "gradient of z" + with);
                for (const auto& [name, numbers] : totals.tensors) {
                    std::vector<double> exact = expected.totals.at(name);
                    for (size_t i = 0; name == "reading" && i < numbers.size(); i++)
                        exact[i] = expected.totals.at(name)[i / c.vector * stride + i % c.vector];
                    exact.resize(numbers.size());
                    check(near(numbers, exact, whole), "gradient of " + name + with);
                    if (threads == 1 && !call) digest("gradient of " + name, norm_of(numbers));
                }
                if (call) check(totals.tensors == first && z_gradient == first_gradient, "equal calls give equal bits" + with);
                first = totals.tensors, first_gradient = z_gradient;
            }
        }
        digest("top", norm_of(first_top));
        if (c.steps > 2) check(expected.clamped, "vectors reach their limit in this test");
    }
}
