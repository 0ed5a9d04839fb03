// Operations of a decoder on its texts: reading, sampling, drafting. The functions that Python calls.
#include "decode.h"
#include "guess.h"

// Reads these rows' windows except for their last tokens.
void Decoder::read_ahead(Desk& desk, const int32_t* rows, int count) {
    std::vector<Item>& items = desk.items;
    for (;;) {
        items.clear();
        for (int index = 0; index < count; index++) {
            const Text& text = texts[rows[index]];
            for (int place = text.held; place < text.filled - 1 && items.size() < MOST_ITEMS; place++)
                items.push_back({rows[index], place});
        }
        if (items.empty()) return;
        pass(desk, items.data(), (int)items.size(), nullptr);
        wait(desk);
        if (desk.alone || desk.thread == 0)
            for (const Item& item : items) texts[item.row].held = item.place + 1;
        wait(desk);
    }
}

// Logits of the desk's items, in order; all threads that computed them may read them afterwards.
void Decoder::score(Desk& desk, float* to) {
    const std::vector<Item>& items = desk.items;
    for (size_t first = 0; first < items.size(); first += MOST_ITEMS)
        pass(desk, &items[first], (int)std::min<size_t>(MOST_ITEMS, items.size() - first), to + first * vocabulary);
    wait(desk);
}

// Adds a token to a text whose window has been read. A full window is cut to its more recent half.
void Decoder::append(Text& text, int token) {
    text.held = text.filled;
    text.window[text.filled++] = token;
    text.whole.push_back(token);
    text.seen[token] = true;
    if (text.filled > shape.context) {
        // The more recent half of the context is read again, from position 0.
        const int kept = shape.context / 2;
        std::copy(text.window.begin() + (text.filled - kept), text.window.begin() + text.filled, text.window.begin());
        text.filled = kept;
        text.held = 0;
    }
}

// Samples the token after a row's last one, and after each draft token for as long as the drafts are accepted.
void Decoder::take(const Request& request, int index, float* row_logits, DrawRoom& room) {
    Text& text = texts[request.rows[index]];
    const Settings& settings = *request.settings;
    const int guessed = text.guessed;
    text.guessed = 0;
    for (int place = 0; place <= guessed; place++, row_logits += vocabulary) {
        const size_t at = (size_t)index * request.tokens + request.written[index];
        const int token = draw(row_logits, text.seen.data(), settings, request.uniforms[at], room);
        if (token == DIVERGED) {
            diverged = true;
            request.ended[index] = true;
            return;
        }
        request.tokens_out[at] = token;
        request.written[index]++;
        const bool as_guessed = place < guessed && text.window[text.filled] == token;
        append(text, token);
        if (token == settings.end_of_text) request.ended[index] = true;
        if (request.ended[index] || !as_guessed) break;
    }
    if (request.ended[index] || request.written[index] == request.tokens)
        request.ended[index] = true;
    else
        guess_next(text, settings.draft, request.tokens - request.written[index] - 1);
}

void Decoder::guess_next(Text& text, int most, int wanted) {
    most = std::min({most, most_guesses, wanted, length - text.filled});
    text.guessed = most > 0 ? guess(text.whole, most, text.window.data() + text.filled) : 0;
}

void Decoder::write(Desk& desk, const Request& request) {
    std::vector<Item>& items = desk.items;
    for (;;) {
        read_ahead(desk, request.rows, request.count);
        items.clear();
        for (int index = 0; index < request.count; index++) {
            if (request.ended[index]) continue;
            const Text& text = texts[request.rows[index]];
            for (int place = text.filled - 1; place < text.filled + text.guessed; place++)
                items.push_back({request.rows[index], place});
        }
        if (items.empty()) return;
        score(desk, request.logits);
        size_t first = 0;
        for (int index = 0, living = 0; index < request.count; index++) {
            if (first == items.size() || items[first].row != request.rows[index]) continue;
            const size_t own = first;
            while (first < items.size() && items[first].row == request.rows[index]) first++;
            if (desk.alone || living++ % team() == desk.thread) take(request, index, request.logits + own * vocabulary, *desk.room);
        }
        wait(desk);
    }
}

void Decoder::start(int row, const int64_t* window, int count, const int32_t* whole, int whole_count, int to_come) {
    Text& text = texts[row];
    std::copy(window, window + count, text.window.begin());
    text.filled = count;
    text.held = text.guessed = 0;
    text.whole.reserve(whole_count + to_come);
    text.whole.assign(whole, whole + whole_count);
    std::fill(text.seen.begin(), text.seen.end(), 0);
    for (int32_t token : text.whole) text.seen[token] = true;
}

void Decoder::copy(int from, int to) {
    const size_t key_size = (size_t)shape.key_heads * shape.head_width * row_length,
                 value_size = (size_t)shape.key_heads * row_length * head_width;
    for (int layer = 0; layer < shape.layers; layer++) {
        std::memcpy(keys + keys_of(layer, to, 0), keys + keys_of(layer, from, 0), sizeof(float) * key_size);
        std::memcpy(values + values_of(layer, to, 0), values + values_of(layer, from, 0), sizeof(float) * value_size);
    }
    texts[to].held = texts[from].held;
}

void Decoder::read(const int32_t* rows, int count) {
    together_or_divided(count, may_divide(count), [&](Desk& desk, int first, int own) { read_ahead(desk, rows + first, own); });
}

void Decoder::last_logits(const int32_t* rows, int count, float* to) {
    together_or_divided(count, may_divide(count), [&](Desk& desk, int first, int own) {
        read_ahead(desk, rows + first, own);
        desk.items.clear();
        for (int index = first; index < first + own; index++) desk.items.push_back({rows[index], texts[rows[index]].filled - 1});
        score(desk, logits + (size_t)first * vocabulary);
    });
    for (int index = 0; index < count; index++)
        std::memcpy(to + (size_t)index * shape.vocabulary, logits + (size_t)index * vocabulary, sizeof(float) * shape.vocabulary);
}

bool Decoder::write(Request request) {
    diverged = false;
    request.ended = ended.data(), request.logits = logits;
    for (int index = 0; index < request.count; index++) {
        ended[index] = false;
        request.written[index] = 0;
        guess_next(texts[request.rows[index]], request.settings->draft, request.tokens - 1);
    }
    Division& division = divisions[request.count];
    const bool tried = may_divide(request.count);
    // Prompts are read first, so that their time isn't counted as generation.
    if (tried) read(request.rows, request.count);
    const auto start = std::chrono::steady_clock::now();
    together_or_divided(request.count, tried && division.divided(), [&](Desk& desk, int first, int own) {
        Request part = request;
        const size_t begins = (size_t)first * request.tokens;
        part.rows += first, part.count = own, part.uniforms += begins, part.tokens_out += begins, part.written += first;
        part.ended += first, part.logits += (size_t)first * (1 + most_guesses) * vocabulary;
        write(desk, part);
    });
    const int longest = *std::max_element(request.written, request.written + request.count);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    if (tried && longest) division.took(seconds.count() / longest);
    return !diverged;
}

// Creates a decoder of at most `rows` texts with windows of at most `length` tokens, and at most `guesses` draft tokens.
EXPORT int lmlab_decoder_open(Engine* engine, int rows, int length, int guesses, Decoder** opened) {
    return guarded([&] { *opened = new Decoder(*engine, rows, length, guesses); });
}

// Reloads the weights; the rows' windows must be read again.
EXPORT int lmlab_decoder_refresh(Decoder* decoder) {
    return guarded([&] { decoder->refresh(); });
}

EXPORT int lmlab_decoder_close(Decoder* decoder) {
    return guarded([&] { delete decoder; });
}

// Starts a row: its window, all tokens of the text so far, and the maximum number of tokens to generate.
EXPORT int lmlab_decoder_start(
    Decoder* decoder, int row, const int64_t* window, int count, const int32_t* whole, int whole_count, int to_come) {
    return guarded([&] { decoder->start(row, window, count, whole, whole_count, to_come); });
}

// Copies a row's cache to another row, whose window must begin with the same tokens.
EXPORT int lmlab_decoder_copy(Decoder* decoder, int from, int to) {
    return guarded([&] { decoder->copy(from, to); });
}

// Reads the rows' windows except for their last tokens.
EXPORT int lmlab_decoder_read(Decoder* decoder, const int32_t* rows, int count) {
    return guarded([&] { decoder->read(rows, count); });
}

// Logits after each row's window, [count][vocabulary].
EXPORT int lmlab_decoder_logits(Decoder* decoder, const int32_t* rows, int count, float* to) {
    return guarded([&] { decoder->last_logits(rows, count, to); });
}

// Adds a token to each row; its logits must have been computed since the last one.
EXPORT int lmlab_decoder_append(Decoder* decoder, const int32_t* rows, int count, const int32_t* tokens) {
    return guarded([&] {
        for (int index = 0; index < count; index++) decoder->append(decoder->texts[rows[index]], tokens[index]);
    });
}

// Generates `tokens` tokens after each row, fewer if its text ends; `finite` is 0 if the logits aren't finite.
EXPORT int lmlab_decoder_write(Decoder* decoder, const int32_t* rows, int count, const Settings* settings, const double* uniforms,
    int tokens, int32_t* tokens_out, int32_t* written, int* finite) {
    return guarded(
        [&] { *finite = decoder->write({rows, count, settings, uniforms, tokens, tokens_out, written, nullptr, nullptr}); });
}

// The token that is sampled from a row of logits, which are changed; -1 if they aren't finite.
EXPORT int lmlab_draw(float* logits, const uint8_t* seen, const Settings* settings, double uniform, int* token) {
    return guarded([&] {
        DrawRoom room(settings->vocabulary);
        *token = draw(logits, seen, *settings, uniform, room);
    });
}
