// The update of a training step against the optimizers' formulas in float64, and its bits by any number of threads.
#include "models.h"
#include "suites.h"

namespace {

using Exact = std::vector<double>;

Exact exact_of(const Floats& numbers) { return {numbers.data(), numbers.data() + numbers.size()}; }

// A model's tensors with gradients and the optimizer's state; matrices of layers go to Muon if it's chosen.
struct Training {
    Model model;
    bool muon;
    api::Engine engine;
    Tensors gradients, mean, square;
    Floats steps;
    std::vector<AdamEntry> adams;
    std::vector<MuonEntry> muons;
    std::vector<std::string> adam_names, muon_names;

    Training(const Options& options, bool muon, int threads)
        : model(options), muon(muon), engine(model.open(threads)), gradients(model.gradients()), mean(gradients),
          square(gradients), steps(model.tensors.size()) {
        size_t next = 0;
        for (auto& [name, numbers] : model.tensors) {
            const bool table = name.rfind("ngrams.", 0) == 0;
            const size_t dot = name.find('.');
            const std::string kind = name.substr(dot == std::string::npos ? 0 : dot + 1);
            const int width = model.options.width();
            if (muon && dot != std::string::npos && (kind == "qkv" || kind == "projection" || kind == "up" || kind == "down")) {
                const int columns = kind == "down" ? model.options.hidden : width;
                muons.push_back({numbers.data(), gradients.at(name).data(), mean.at(name).data(), int(numbers.size()) / columns,
                                 columns, 5, 0.02, 0.1, 0.95});
                muon_names.push_back(name);
            } else {
                adams.push_back({numbers.data(), gradients.at(name).data(), &steps[next++], mean.at(name).data(),
                                 square.at(name).data(), int64_t(numbers.size()), table ? width : 0, 0.01, table ? 0.0 : 0.2,
                                 0.9, 0.99, 1e-8});
                adam_names.push_back(name);
            }
        }
    }

    // Gradients of so many micro-batches of this step.
    void learn(int step, int micro_batches) {
        Random random(100 + step);
        const int time = model.options.context;
        for (int part = 0; part < micro_batches; part++) {
            const api::Tokens tokens = random.tokens(size_t(3) * time, model.options.vocabulary);
            const api::Tokens targets = random.tokens(tokens.size(), model.options.vocabulary);
            engine.learn(model.pointers(gradients), tokens, targets, time, 0.01f, step, part > 0);
        }
    }
    double whole_norm() const {
        double squares = 0;
        for (const auto& [name, numbers] : gradients) squares += norm_of(numbers) * norm_of(numbers);
        return std::sqrt(squares);
    }
};

// Of a table only rows that have a gradient change: eps before the square's bias is corrected, as in torch.optim.SparseAdam.
void adam_exactly(const AdamEntry& entry, Exact& numbers, Exact& mean, Exact& square, double clip, double rate, double step) {
    const double mean_bias = 1 - std::pow(entry.beta1, step), square_bias = 1 - std::pow(entry.beta2, step);
    const int64_t row = entry.table_width ? entry.table_width : entry.count;
    for (int64_t i = 0; i < entry.count; i++) {
        const float* begins = entry.gradient + i / row * row;
        if (entry.table_width && std::all_of(begins, begins + row, [](float number) { return number == 0; })) continue;
        const double fresh = entry.gradient[i] * clip;
        mean[i] = entry.beta1 * mean[i] + (1 - entry.beta1) * fresh;
        square[i] = entry.beta2 * square[i] + (1 - entry.beta2) * fresh * fresh;
        const double root = std::sqrt(square[i]), corrected = std::sqrt(square_bias);
        const double step_size = entry.table_width ? corrected / (root + entry.eps) : 1 / (root / corrected + entry.eps);
        numbers[i] = numbers[i] * (1 - rate * entry.decay) - rate / mean_bias * mean[i] * step_size;
    }
}

// [rows][columns] times its transpose, and of two squares.
Exact gram(const Exact& x, int rows, int columns) {
    Exact found(size_t(rows) * rows);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < rows; j++)
            for (int k = 0; k < columns; k++) found[i * rows + j] += x[i * columns + k] * x[j * columns + k];
    return found;
}
Exact times(const Exact& left, const Exact& right, int rows, int inner, int columns) {
    Exact found(size_t(rows) * columns);
    for (int i = 0; i < rows; i++)
        for (int k = 0; k < inner; k++)
            for (int j = 0; j < columns; j++) found[i * columns + j] += left[i * inner + k] * right[k * columns + j];
    return found;
}

// Newton-Schulz iterations with Muon's coefficients (K. Jordan, 2024).
Exact orthogonalised(Exact x, int rows, int columns, int iterations) {
    const double size = norm_of(x) + 1e-7;
    for (double& number : x) number /= size;
    const bool tall = rows > columns;
    auto turned = [](const Exact& from, int rows, int columns) {
        Exact to(from.size());
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++) to[j * rows + i] = from[i * columns + j];
        return to;
    };
    if (tall) x = turned(x, rows, columns), std::swap(rows, columns);
    for (int iteration = 0; iteration < iterations; iteration++) {
        Exact a = gram(x, rows, columns), b = times(a, a, rows, rows, rows);
        for (size_t i = 0; i < b.size(); i++) b[i] = -4.7750 * a[i] + 2.0315 * b[i];
        Exact change = times(b, x, rows, rows, columns);
        for (size_t i = 0; i < x.size(); i++) x[i] = 3.4445 * x[i] + change[i];
    }
    return tall ? turned(x, rows, columns) : x;
}

void muon_exactly(const MuonEntry& entry, Exact& numbers, Exact& momentum, double clip, double rate) {
    Exact ahead(numbers.size());
    for (size_t i = 0; i < numbers.size(); i++) {
        const double fresh = entry.gradient[i] * clip;
        momentum[i] = entry.share * momentum[i] + (1 - entry.share) * fresh;
        ahead[i] = entry.share * momentum[i] + (1 - entry.share) * fresh;
    }
    const Exact change = orthogonalised(ahead, entry.rows, entry.columns, entry.iterations);
    const double shape = std::sqrt(std::max(1.0, double(entry.rows) / entry.columns));
    for (size_t i = 0; i < numbers.size(); i++) numbers[i] = numbers[i] * (1 - rate * entry.decay) - rate * shape * change[i];
}

// What an update has packed are the weights that it left: gradients with them are those of weights that are packed anew. They go to
// the tensors of all other calls, since an engine clears no rows of a table but those that it wrote last.
void check_packed(Training& training, const std::string& at) {
    const Model& model = training.model;
    api::Tokens tokens(size_t(model.shape.context) * 2);
    for (size_t i = 0; i < tokens.size(); i++) tokens[i] = int64_t(i * 7 % model.shape.vocabulary);
    const Parameters to = model.pointers(training.gradients);
    const double loss = training.engine.learn(to, tokens, tokens, model.shape.context, 1.0f, 3, false, false);
    const Tensors packed = training.gradients;
    check(training.engine.learn(to, tokens, tokens, model.shape.context, 1.0f, 3) == loss, at + ": the loss after it");
    check(training.gradients == packed, at + ": gradients after it");
}

// Three steps, clipped and not; the last ones of several micro-batches.
void check_steps(const Options& options, bool muon) {
    Training training(options, muon, 2);
    api::Update update(training.engine, training.adams, training.muons);
    const double limits[] = {0.0, 0.05, 1e6};
    for (int step = 0; step < 3; step++) {
        const std::string at = (muon ? "muon, step " : "adam, step ") + std::to_string(step);
        training.learn(step, 1 + step);
        const double whole = training.whole_norm(), norm = update.norm(), share = 1.0 - 0.2 * step;
        check(std::abs(norm - whole) <= 1e-5 * whole, at + ": the norm is that of all gradients");
        const double clip = limits[step] > 0 ? std::min(1.0, limits[step] / (whole + 1e-6)) : 1.0;
        std::map<std::string, Exact> before, numbers, mean, square;
        for (const auto& [name, own] : training.model.tensors) {
            before[name] = numbers[name] = exact_of(own);
            mean[name] = exact_of(training.mean.at(name)), square[name] = exact_of(training.square.at(name));
        }
        for (size_t i = 0; i < training.adams.size(); i++) {
            const std::string& name = training.adam_names[i];
            adam_exactly(training.adams[i], numbers[name], mean[name], square[name], clip, training.adams[i].lr * share, step + 1);
        }
        for (size_t i = 0; i < training.muons.size(); i++) {
            const std::string& name = training.muon_names[i];
            muon_exactly(training.muons[i], numbers[name], mean[name], clip, training.muons[i].lr * share);
        }
        update.take(limits[step], share);
        for (const auto& [name, own] : training.model.tensors) {
            const double moved = apart(own, before[name]), size = norm_of(numbers[name]);
            // Orthogonalising amplifies small singular values, and their rounding with them.
            const double allowed = (training.square.at(name) == Floats(own.size()) ? 2e-4 : 2e-5) * moved + 3e-7 * size;
            check(apart(own, numbers[name]) <= allowed, at + ": " + name);
            check(apart(training.mean.at(name), mean[name]) <= 1e-5 * norm_of(mean[name]), at + ": mean of " + name);
            check(apart(training.square.at(name), square[name]) <= 1e-5 * norm_of(square[name]), at + ": square of " + name);
            // Softmax makes the gradient of a key's bias zero but for rounding, and Adam makes a step of any size out of rounding.
            if (name.find("qkv_bias") == std::string::npos) digest("updated " + name + ", " + at, norm_of(own));
        }
        check_packed(training, at);
    }
}

void check_threads(const Options& options) {
    Tensors first;
    double norm = 0;
    for (int threads : {1, 2, 3, 3}) {
        Training training(options, true, threads);
        api::Update update(training.engine, training.adams, training.muons);
        // The gradients themselves depend on how many threads add them up: these don't, and are zero in the same rows of tables.
        training.learn(0, 1);
        Random random(5);
        for (auto& [name, numbers] : training.gradients)
            for (size_t i = 0; i < numbers.size(); i++) {
                const float drawn = random.normal();
                if (name.rfind("ngrams.", 0) || numbers[i] != 0) numbers[i] = drawn;
            }
        const double found = update.norm();
        update.take(1.0, 0.5);
        if (first.empty()) first = training.model.tensors, norm = found;
        check(found == norm && training.model.tensors == first, "an update's bits don't depend on the threads: " + std::to_string(threads));
    }
}

// Matrices of every shape, zeros among them.
void check_orthogonalising() {
    tally.subject = "muon", tally.comparable = true;
    Options options;
    Model model(options);
    api::Engine engine = model.open(1);
    for (int rows : {1, 5, 16, 31, 33, 48, 65})
        for (int columns : {1, 2, 17, 32, 60, 100}) {
            Floats numbers(size_t(rows) * columns), gradient(numbers), momentum(numbers);
            Random random(columns);
            for (size_t i = 0; i < gradient.size(); i++) gradient[i] = random.normal();
            const MuonEntry entry{numbers.data(), gradient.data(), momentum.data(), rows, columns, 5, 1.0, 0.5, 0.0};
            api::Update update(engine, {}, {entry});
            update.norm();
            update.take(0.0, 1.0);
            Exact expected = orthogonalised(exact_of(gradient), rows, columns, 5);
            for (double& number : expected) number *= -std::sqrt(std::max(1.0, double(rows) / columns));
            check(apart(numbers, expected) <= 2e-5 * norm_of(expected), std::to_string(rows) + " x " + std::to_string(columns));
            check(momentum == gradient, "momentum without memory is the gradient");
        }
    Floats numbers(40 * 60), gradient(numbers), momentum(numbers);
    api::Update update(engine, {}, {{numbers.data(), gradient.data(), momentum.data(), 40, 60, 5, 1.0, 0.5, 0.0}});
    check(update.norm() == 0, "zeros have no norm");
    update.take(1.0, 1.0);
    check(numbers == gradient, "a zero matrix stays zero");
    gradient[7] = std::nanf("");
    check(!std::isfinite(update.norm()), "a gradient that is no number has no finite norm");
}

}  // namespace

void check_updates() {
    for (const Options& options : all_options()) {
        tally.subject = options.name;
        tally.comparable = !options.masks_depend_on_vectors();
        check_steps(options, false);
        check_steps(options, true);
        check_threads(options);
    }
    check_orthogonalising();
}
