// Texts that are read and written: logits against the plain model, and the same bits however a row was reached.
#include "plain_gpt.h"
#include "suites.h"

namespace {

using Numbers = std::vector<float>;

Settings plain_settings(const Options& options) { return {1.0, 1.0, 0.0, 1.0, 0, options.vocabulary, -1, 0}; }

std::vector<double> uniforms(size_t count, uint64_t seed) {
    Random random(seed);
    std::vector<double> drawn(count);
    for (double& number : drawn) number = random.uniform();
    return drawn;
}

bool same_bits(const float* one, const float* other, size_t count) { return std::memcmp(one, other, sizeof(float) * count) == 0; }

std::vector<int32_t> rows_to(int count) {
    std::vector<int32_t> rows;
    for (int row = 0; row < count; row++) rows.push_back(row);
    return rows;
}

// Windows of many lengths, up to the whole context.
std::vector<api::Tokens> windows_of(const Options& options, int count) {
    Random random(2);
    std::vector<api::Tokens> windows;
    for (int row = 0; row < count; row++) windows.push_back(random.tokens(1 + row * (options.context - 1) / (count - 1), options.vocabulary));
    return windows;
}

void check_logits(Model& model, int threads) {
    const Options& options = model.options;
    const int rows = 20, vocabulary = options.vocabulary;
    api::Engine engine = model.open(threads);
    api::Decoder decoder(engine, rows, options.context);
    const auto windows = windows_of(options, rows);
    for (int row = 0; row < rows; row++) decoder.start(row, windows[row], 1);
    const Numbers together = decoder.logits(rows_to(rows), vocabulary);
    const std::string with = " with " + std::to_string(threads) + " threads";
    const PlainGpt<double> plain(model);
    for (int row : {0, 1, rows / 2, rows - 1}) {
        const std::vector<double> exact = plain.logits(windows[row].data(), int(windows[row].size())).back();
        double worst = 0, squares = 0;
        for (int token = 0; token < vocabulary; token++) {
            const double found = together[size_t(row) * vocabulary + token];
            worst = std::max(worst, std::abs(exact[token] - found)), squares += found * found;
        }
        check(worst <= 1e-4, "logits of a window of " + std::to_string(windows[row].size()) + with);
        if (threads == 2 || options.width() < 100) digest("logits " + std::to_string(row), std::sqrt(squares));
    }
    // Each alone, and in groups that make tiles of other heights.
    bool alone = true, grouped = true;
    for (int row = 0; row < rows; row++) {
        decoder.start(0, windows[row], 1);
        alone = alone && same_bits(decoder.logits({0}, vocabulary).data(), &together[size_t(row) * vocabulary], vocabulary);
    }
    check(alone, "a row's bits are the same alone and in a batch" + with);
    for (int group : tally.brief ? std::vector<int>{2, 9} : std::vector<int>{2, 3, 5, 9, 13})
        for (int first = 0; first + group <= rows; first += group) {
            for (int row = 0; row < group; row++) decoder.start(row, windows[first + row], 1);
            const Numbers found = decoder.logits(rows_to(group), vocabulary);
            grouped = grouped && same_bits(found.data(), &together[size_t(first) * vocabulary], found.size());
        }
    check(grouped, "a row's bits are the same in groups of any size" + with);
    decoder.start(0, windows[rows / 2], 1), decoder.start(1, windows[rows / 2], 1), decoder.start(2, windows[rows / 2], 1);
    decoder.read({0});
    decoder.copy(0, 2);
    const Numbers copied = decoder.logits({0, 1, 2}, vocabulary);
    check(same_bits(&copied[0], &copied[vocabulary], vocabulary) && same_bits(&copied[0], &copied[size_t(2) * vocabulary], vocabulary),
          "a copied row has the bits of one that read for itself" + with);
    // Token by token, up to a window that is full and is cut to its recent half.
    api::Tokens text = Random(7).tokens(1, vocabulary);
    decoder.start(0, text, options.context);
    for (int token = 0; token < options.context; token++) {
        decoder.logits({0}, vocabulary);
        text.push_back(token % vocabulary);
        decoder.append({0}, {token % vocabulary});
    }
    text.erase(text.begin(), text.end() - options.context / 2);
    decoder.start(1, text, 1);
    const Numbers appended = decoder.logits({0, 1}, vocabulary);
    check(same_bits(&appended[0], &appended[vocabulary], vocabulary), "tokens that are appended give the bits of a window" + with);
}

// A text that was written has the logits of one that was read, and those of the model's own pass over it.
void check_writing(Model& model, int threads) {
    const Options& options = model.options;
    const std::string with = " with " + std::to_string(threads) + " threads";
    const int vocabulary = options.vocabulary, begun = std::max(1, options.context / 3), tokens = options.context - begun;
    api::Engine engine = model.open(threads);
    api::Decoder decoder(engine, 3, options.context);
    api::Tokens text = Random(3).tokens(begun, vocabulary);
    decoder.start(0, text, tokens), decoder.start(2, text, tokens);
    const auto written = decoder.write({0}, plain_settings(options), uniforms(tokens, 4));
    check(written.size() == 1 && int(written[0].size()) == tokens, "as many tokens as asked for" + with);
    if (written.empty()) return;
    text.insert(text.end(), written[0].begin(), written[0].end());
    decoder.start(1, text, 1);
    const Numbers found = decoder.logits({0, 1}, vocabulary);
    check(same_bits(&found[0], &found[vocabulary], vocabulary), "written or read, a text gives the same bits" + with);
    // Each token is the one that its uniform number takes from the plain model's probabilities.
    const PlainGpt<double> plain(model);
    const auto logits = plain.logits(text.data(), int(text.size()));
    const std::vector<double> numbers = uniforms(tokens, 4);
    bool drawn = true;
    for (int token = 0; token < tokens; token++) {
        const std::vector<double>& row = logits[begun + token - 1];
        double total = 0, before = 0;
        for (double logit : row) total += std::exp(logit);
        for (int64_t other = 0; other < text[begun + token]; other++) before += std::exp(row[other]) / total;
        const double after = before + std::exp(row[text[begun + token]]) / total;
        drawn = drawn && before - 1e-4 <= numbers[token] && numbers[token] <= after + 1e-4;
    }
    check(drawn, "tokens are drawn from the model's probabilities" + with);
    // The same numbers in other portions.
    api::Tokens portions;
    for (int first = 0, size = 1; first < tokens; first += size, size = std::min(size + 2, tokens - first)) {
        const auto part = decoder.write({2}, plain_settings(options), {numbers.begin() + first, numbers.begin() + first + size});
        if (!part.empty()) portions.insert(portions.end(), part[0].begin(), part[0].end());
    }
    check(portions == written[0], "portions of any size give the same tokens" + with);
}

// Many texts are written by all threads together or divided among them, by what was faster: the first calls try both.
void check_many(Model& model, int threads) {
    const Options& options = model.options;
    const int rows = 13, calls = 5, tokens = std::min(3, (options.context - 2) / calls);
    if (tokens < 1) return;
    api::Engine engine = model.open(threads);
    api::Decoder decoder(engine, rows, options.context);
    Random random(9);
    const Settings settings = plain_settings(options);
    std::vector<api::Tokens> windows, together(rows);
    for (int row = 0; row < rows; row++) {
        windows.push_back(random.tokens(1 + row % 2, options.vocabulary));
        decoder.start(row, windows[row], calls * tokens);
    }
    std::vector<double> numbers;
    for (int call = 0; call < calls; call++) {
        const std::vector<double> own = uniforms(size_t(rows) * tokens, 20 + call);
        numbers.insert(numbers.end(), own.begin(), own.end());
        const auto written = decoder.write(rows_to(rows), settings, own);
        for (size_t row = 0; row < written.size(); row++) together[row].insert(together[row].end(), written[row].begin(), written[row].end());
    }
    bool same = true;
    for (int row = 0; row < rows; row++) {
        std::vector<double> own;
        for (int call = 0; call < calls; call++) {
            const auto first = numbers.begin() + (size_t(call) * rows + row) * tokens;
            own.insert(own.end(), first, first + tokens);
        }
        decoder.start(0, windows[row], calls * tokens);
        const auto alone = decoder.write({0}, settings, own);
        same = same && alone.size() == 1 && alone[0] == together[row];
    }
    check(same, "texts written together, divided and alone are the same with " + std::to_string(threads) + " threads");
}

// Beyond the context, with and without guesses, alone and with others.
void check_guessing(Model& model, int threads) {
    const Options& options = model.options;
    const std::string with = " with " + std::to_string(threads) + " threads";
    const int rows = 3, tokens = (tally.brief ? 1 : 2) * options.context + 5;
    api::Engine engine = model.open(threads);
    Random random(6);
    std::vector<api::Tokens> windows;
    for (int row = 0; row < rows; row++) windows.push_back(random.tokens(1 + row, options.vocabulary));
    for (double temperature : {0.0, 1.0}) {
        std::vector<api::Tokens> plain;
        for (int draft : tally.brief ? std::vector<int>{0, 5} : std::vector<int>{0, 1, 5}) {
            Settings settings = plain_settings(options);
            settings.temperature = temperature, settings.draft = draft;
            if (temperature > 0) settings.penalty = 1.3, settings.top_k = options.vocabulary - 1, settings.top_p = 0.95;
            api::Decoder decoder(engine, rows, options.context, draft);
            for (int row = 0; row < rows; row++) decoder.start(row, windows[row], tokens);
            const auto numbers = uniforms(size_t(rows) * tokens, 7);
            const auto together = decoder.write(rows_to(rows), settings, numbers);
            if (plain.empty()) plain = together;
            check(together == plain, "guesses change no text" + with);
            decoder.start(1, windows[2], tokens);
            const auto alone = decoder.write({1}, settings, {numbers.begin() + 2 * tokens, numbers.end()});
            check(alone.size() == 1 && alone[0] == plain[2], "a text is the same alone and among others" + with);
            if (draft && temperature > 0) {
                settings.end_of_text = int32_t(plain[2][tokens / 2]);
                decoder.start(1, windows[2], tokens);
                const auto ended = decoder.write({1}, settings, {numbers.begin() + 2 * tokens, numbers.end()});
                const auto end = std::find(plain[2].begin(), plain[2].end(), settings.end_of_text) + 1;
                check(ended.size() == 1 && ended[0] == api::Tokens(plain[2].begin(), end), "the end of text ends it" + with);
            }
        }
    }
}

// A decoder that has met weights that were no numbers serves as a fresh one once they are numbers again.
void check_recovery(Model& model, int threads) {
    const Options& options = model.options;
    api::Engine engine = model.open(threads);
    api::Decoder decoder(engine, 1, options.context);
    const api::Tokens window = Random(8).tokens(options.context, options.vocabulary), little{window[0]};
    decoder.start(0, little, 1);
    const Numbers before = decoder.logits({0}, options.vocabulary);
    float& weight = model.tensors.at("0.attention_norm")[0];
    const float kept = std::exchange(weight, std::nanf(""));
    decoder.refresh();
    decoder.start(0, window, 1);
    check(std::isnan(decoder.logits({0}, options.vocabulary)[0]), "what is no number stays none");
    decoder.start(0, little, 1);
    check(decoder.write({0}, plain_settings(options), {0.5}).empty(), "logits that are no numbers write nothing");
    weight = kept;
    decoder.refresh();
    decoder.start(0, little, 1);
    check(same_bits(decoder.logits({0}, options.vocabulary).data(), before.data(), options.vocabulary),
          "after weights that were no numbers a row is read as by a fresh decoder, with " + std::to_string(threads) + " threads");
}

}  // namespace

void check_decoding() {
    auto check_model = [](const Options& options, const std::vector<int>& thread_counts) {
        tally.subject = options.name;
        Model model(options);
        for (int threads : thread_counts) {
            check_logits(model, threads);
            check_writing(model, threads);
            check_guessing(model, threads);
            check_many(model, threads);
            check_recovery(model, threads);
        }
    };
    // Small models are decoded by one thread, however many there are.
    for (const Options& options : all_options()) check_model(options, {1});
    for (const Options& options : large_options()) check_model(options, tally.brief ? std::vector<int>{2} : thread_counts());
}

namespace {

// The probabilities of filters.py: penalty, temperature, then top-k, top-p and min-p, each over what is left.
std::vector<double> filtered(std::vector<double> logits, const std::vector<uint8_t>& seen, const Settings& settings) {
    const size_t count = logits.size();
    for (size_t token = 0; token < count; token++) {
        if (seen[token]) logits[token] = logits[token] > 0 ? logits[token] / settings.penalty : logits[token] * settings.penalty;
    }
    const double most = *std::max_element(logits.begin(), logits.end());
    std::vector<double> weights;
    for (double logit : logits) weights.push_back(std::exp((logit - most) / settings.temperature));
    // Each stage keeps the likeliest.
    std::vector<size_t> order(count);
    for (size_t place = 0; place < count; place++) order[place] = place;
    std::stable_sort(order.begin(), order.end(), [&](size_t one, size_t other) { return weights[one] > weights[other]; });
    const size_t kept = settings.top_k ? std::min<size_t>(settings.top_k, count) : count;
    double total = 0, before = 0;
    for (size_t place = 0; place < count; place++) {
        if (place >= kept) weights[order[place]] = 0;
        total += weights[order[place]];
    }
    for (size_t place = 0; place < count; place++) {
        const double share = weights[order[place]] / total;
        if (place && before >= settings.top_p) weights[order[place]] = 0;
        before += share;
        if (weights[order[place]] < settings.min_p) weights[order[place]] = 0;
    }
    return weights;
}

}  // namespace

// Single draws against the same filters in float64, for logits whose order no rounding changes.
void check_draws() {
    Random random(11);
    bool all = true;
    for (int round = 0; round < 500; round++) {
        const int count = 1 + random.below(40);
        std::vector<float> logits;
        for (int token = 0; token < count; token++) logits.push_back(6.0f * random.normal());
        std::vector<uint8_t> seen;
        for (int token = 0; token < count; token++) seen.push_back(random.below(4) == 0);
        const double temperatures[] = {0.3, 1.0, 2.5}, top_ps[] = {1.0, 0.9, 0.5}, min_ps[] = {0.0, 0.02, 0.5};
        Settings settings{temperatures[random.below(3)], top_ps[random.below(3)], min_ps[random.below(3)],
                          random.below(2) ? 1.3 : 1.0, random.below(12), count, -1, 0};
        const double uniform = random.uniform();
        const std::vector<double> weights = filtered({logits.begin(), logits.end()}, seen, settings);
        const int token = api::draw(logits, seen, settings, uniform);
        double total = 0, before = 0;
        for (double weight : weights) total += weight;
        for (int other = 0; other < token; other++) before += weights[other] / total;
        const bool fits = token >= 0 && token < count && weights[token] > 0 && before - 1e-6 <= uniform &&
                          uniform <= before + weights[token] / total + 1e-6;
        all = all && fits;
    }
    check(all, "500 draws are those of the filters in float64");
    const Settings settings{1.0, 1.0, 0.0, 1.0, 0, 4, -1, 0};
    const float none = -std::numeric_limits<float>::infinity();
    check(api::draw({none, 0.1f, none, none}, {0, 0, 0, 0}, settings, 0.999999) == 1, "a probability of zero is never drawn");
    check(api::draw({0.0f, std::nanf(""), 0.0f, 0.0f}, {0, 0, 0, 0}, settings, 0.5) < 0, "no numbers, no draw");
}
