// Losses, gradients and scores of every model against the plain one, and their bits from call to call.
#include "plain_gpt.h"
#include "suites.h"

namespace {

struct Batch {
    api::Tokens tokens, targets;
    int time;
};

// Some targets don't count.
Batch batch_of(const Model& model, int sequences, int time, uint64_t seed) {
    Random random(seed);
    Batch batch{random.tokens(size_t(sequences) * time, model.options.vocabulary), {}, time};
    batch.targets = random.tokens(batch.tokens.size(), model.options.vocabulary);
    for (int place = 0; place < time / 2; place++) batch.targets[place] = -100;
    return batch;
}

struct Expected {
    double loss = 0;
    std::map<std::string, std::vector<double>> gradients;
    std::vector<double> nats, margins;  // margins: of the target's logit over the highest other one
};

Expected expected_of(const Model& model, const Batch& batch, double scale, const Masks& masks) {
    Expected found;
    for (const auto& [name, numbers] : model.tensors) found.gradients[name].resize(numbers.size());
    for (int sequence = 0; sequence < int(batch.tokens.size()) / batch.time; sequence++) {
        const PlainGpt<Traced> plain(model);
        const auto logits = plain.logits(&batch.tokens[size_t(sequence) * batch.time], batch.time, masks, sequence);
        Traced loss(0.0);
        for (int place = 0; place < batch.time; place++) {
            const int64_t target = batch.targets[size_t(sequence) * batch.time + place];
            double margin = -1e30, nats = 0;
            if (target >= 0) {
                const Traced own = plain.nats(logits[place], target);
                loss = loss + own;
                nats = own.value, margin = 1e30;
                for (int token = 0; token < model.options.vocabulary; token++)
                    if (token != target) margin = std::min(margin, logits[place][target].value - logits[place][token].value);
            }
            found.nats.push_back(nats), found.margins.push_back(margin);
        }
        if (loss.place < 0) continue;
        found.loss += loss.value;
        const std::vector<double> slopes = tape.gradient(loss.place);
        for (const auto& [name, numbers] : plain.weights())
            for (size_t i = 0; i < numbers.size(); i++) found.gradients[name][i] += scale * slopes[numbers[i].place];
    }
    return found;
}

// To the rounding of float32: of the tensor's gradient, or, where that cancels out, of the whole one's.
void check_near(const Tensors& found, const Expected& expected, const std::string& promise) {
    double squares = 0;
    for (const auto& [name, exact] : expected.gradients) squares += norm_of(exact) * norm_of(exact);
    for (const auto& [name, exact] : expected.gradients)
        check(apart(found.at(name), exact) <= 1e-5 * norm_of(exact) + 1e-6 * std::sqrt(squares), promise + ": gradient of " + name);
}

bool near(double found, double expected) { return std::abs(found - expected) <= 1e-5 * std::abs(expected) + 1e-6; }

void check_learning(Model& model, const Batch& batch, const Expected& expected, int threads) {
    const std::string with = " with " + std::to_string(threads) + " threads";
    const float scale = 0.125f;
    api::Engine engine = model.open(threads);
    Tensors gradients = model.gradients();
    const Parameters at = model.pointers(gradients);
    // What an earlier step left behind must not count.
    const Batch other = batch_of(model, 2, batch.time, 9);
    engine.learn(at, other.tokens, other.targets, other.time, 3.0f, 8);
    const double loss = engine.learn(at, batch.tokens, batch.targets, batch.time, scale, 5);
    check(near(loss, expected.loss), "loss" + with);
    check_near(gradients, expected, "learning" + with);
    const Tensors first = gradients;
    engine.learn(at, other.tokens, other.targets, other.time, 3.0f, 8);
    check(engine.learn(at, batch.tokens, batch.targets, batch.time, scale, 5) == loss, "an equal call gives an equal loss" + with);
    check(gradients == first, "an equal call gives equal bits" + with);
    // Tables' gradients are zeros at first: an engine clears only the rows that it has written.
    Tensors anew = model.gradients();
    api::Engine fresh = model.open(threads);
    check(fresh.learn(model.pointers(anew), batch.tokens, batch.targets, batch.time, scale, 5) == loss && anew == first,
          "a fresh engine gives equal bits" + with);
    if (threads == 1 && batch.time == model.options.context) {
        digest("loss", loss);
        for (const auto& [name, numbers] : first) digest("gradient of " + name, norm_of(numbers));
    }
}

// Two micro-batches; dropout's masks would differ from those of the whole.
void check_accumulation(Model& model, const Batch& batch, const Expected& expected) {
    api::Engine engine = model.open(2);
    Tensors gradients = model.gradients();
    const Parameters at = model.pointers(gradients);
    const size_t cut = size_t(batch.time) * 2;
    double loss = 0;
    for (const auto& [from, to] : {std::pair(size_t(0), cut), std::pair(cut, batch.tokens.size())})
        loss += engine.learn(at, {batch.tokens.begin() + from, batch.tokens.begin() + to},
                             {batch.targets.begin() + from, batch.targets.begin() + to}, batch.time, 0.125f, 0, from > 0);
    check(near(loss, expected.loss), "micro-batches' loss");
    check_near(gradients, expected, "micro-batches");
}

void check_scores(Model& model, const Batch& batch, const Expected& expected, int threads) {
    api::Engine engine = model.open(threads);
    Floats nats(batch.tokens.size());
    std::vector<uint8_t> hits(batch.tokens.size());
    engine.scores(batch.tokens, batch.targets, batch.time, nats.data(), hits.data());
    bool near_all = true, hits_all = true;
    for (size_t i = 0; i < hits.size(); i++) {
        near_all = near_all && std::abs(nats[i] - expected.nats[i]) <= 3e-5;
        // Rounding decides between logits that are all but equal.
        hits_all = hits_all && (std::abs(expected.margins[i]) < 1e-4 || hits[i] == (expected.margins[i] > 0));
    }
    const std::string with = " with " + std::to_string(threads) + " threads";
    check(near_all, "scores" + with);
    check(hits_all, "hits" + with);
    if (threads == 1) digest("scores", norm_of(nats));
}

// A little training, then scores of much, then more training than before: nothing may lie outside its memory.
void check_room(Model& model) {
    api::Engine engine = model.open(1);
    Tensors gradients = model.gradients();
    const Parameters at = model.pointers(gradients);
    const int time = model.options.context;
    const Batch little = batch_of(model, 1, time, 3), much = batch_of(model, 14, time, 4), more = batch_of(model, 9, 1, 5);
    engine.learn(at, little.tokens, little.targets, time, 1.0f);
    Floats nats(much.tokens.size());
    std::vector<uint8_t> hits(much.tokens.size());
    engine.scores(much.tokens, much.targets, time, nats.data(), hits.data());
    engine.learn(at, more.tokens, more.targets, 1, 1.0f);
    const double loss = engine.learn(at, much.tokens, much.targets, time, 1.0f);
    double total = 0;
    for (size_t i = 0; i < nats.size(); i++) total += nats[i];
    if (model.options.dropout == 0) check(near(loss, total), "the loss of training is the sum of scores");
    double seconds[8];
    engine.sections(seconds);
    check(seconds[4] > 0, "time passes in the products");
}

// What was no number leaves nothing behind: neither in gradients nor in rooms.
void check_recovery(Model& model, int threads) {
    api::Engine engine = model.open(threads);
    Tensors gradients = model.gradients();
    const Parameters at = model.pointers(gradients);
    const Batch batch = batch_of(model, 3, model.options.context, 3);
    const double loss = engine.learn(at, batch.tokens, batch.targets, batch.time, 1.0f);
    const Tensors before = gradients;
    float& weight = model.tensors.at("0.qkv")[0];
    const float kept = std::exchange(weight, std::nanf(""));
    check(std::isnan(engine.learn(at, batch.tokens, batch.targets, batch.time, 1.0f)), "what is no number stays none");
    weight = kept;
    check(engine.learn(at, batch.tokens, batch.targets, batch.time, 1.0f) == loss && gradients == before,
          "after weights that were no numbers a batch is learnt as before");
}

}  // namespace

void check_gradients() {
    for (const Options& options : all_options()) {
        tally.subject = options.name;
        tally.comparable = !options.masks_depend_on_vectors();
        Model model(options);
        const Masks masks{options.dropout, 5};
        // More sequences than threads and one chunk take; the whole context, and less.
        const int sequences = options.context < 20 ? 7 : 4;
        for (int time : {options.context, std::max(1, options.context * 2 / 3)}) {
            const Batch batch = batch_of(model, sequences, time, 1);
            const Expected expected = expected_of(model, batch, 0.125, masks);
            for (int threads : thread_counts()) check_learning(model, batch, expected, threads);
            if (time != options.context) break;
            if (options.dropout == 0) check_accumulation(model, batch, expected);
            const Expected scored = options.dropout > 0 ? expected_of(model, batch, 0.125, {}) : expected;
            for (int threads : thread_counts()) check_scores(model, batch, scored, threads);
            if (tally.brief) break;
        }
        check_room(model);
        check_recovery(model, 2);
    }
}
