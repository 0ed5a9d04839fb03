// What a decoder does with its texts: read them, draw what follows, guess ahead. The functions that Python calls.
#include "decode.h"
#include "guess.h"

// Reads all of these rows' windows but their last tokens.
void Decoder::read_ahead(int thread, const int32_t* rows, int count) {
    std::vector<Item>& items = shares[thread].items;
    for (;;) {
        items.clear();
        for (int index = 0; index < count; index++) {
            const Text& text = texts[rows[index]];
            for (int place = text.held; place < text.filled - 1 && items.size() < MOST_ITEMS; place++) items.push_back({rows[index], place});
        }
        if (items.empty()) return;
        pass(thread, items.data(), (int)items.size(), nullptr);
        meeting.wait();
        if (thread == 0)
            for (const Item& item : items) texts[item.row].held = item.place + 1;
        meeting.wait();
    }
}

// Logits of the items, each in its row of `logits`; all threads may read them afterwards.
void Decoder::score(int thread, const std::vector<Item>& items) {
    for (size_t first = 0; first < items.size(); first += MOST_ITEMS)
        pass(thread, &items[first], (int)std::min<size_t>(MOST_ITEMS, items.size() - first), logits + first * vocabulary);
    meeting.wait();
}

// Draws what follows a row's last token, and as long as that is what was guessed, what follows each guess.
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
            ended[index] = true;
            return;
        }
        request.tokens_out[at] = token;
        request.written[index]++;
        text.held = text.filled;
        const bool as_guessed = place < guessed && text.window[text.filled] == token;
        text.window[text.filled++] = token;
        text.whole.push_back(token);
        text.seen[token] = true;
        if (token == settings.end_of_text) ended[index] = true;
        if (text.filled > shape.context) {
            // The newer half of the context is read again, from position 0.
            const int kept = shape.context / 2;
            std::copy(text.window.begin() + (text.filled - kept), text.window.begin() + text.filled, text.window.begin());
            text.filled = kept;
            text.held = 0;
        }
        if (ended[index] || !as_guessed) break;
    }
    if (ended[index] || request.written[index] == request.tokens) ended[index] = true;
    else guess_next(text, settings.draft, request.tokens - request.written[index] - 1);
}

void Decoder::guess_next(Text& text, int most, int wanted) {
    most = std::min({most, most_guesses, wanted, length - text.filled});
    text.guessed = most > 0 ? guess(text.whole, most, text.window.data() + text.filled) : 0;
}

void Decoder::write(int thread, const Request& request) {
    std::vector<Item>& items = shares[thread].items;
    for (;;) {
        read_ahead(thread, request.rows, request.count);
        items.clear();
        for (int index = 0; index < request.count; index++) {
            if (ended[index]) continue;
            const Text& text = texts[request.rows[index]];
            for (int place = text.filled - 1; place < text.filled + text.guessed; place++) items.push_back({request.rows[index],
                    place});
        }
        if (items.empty()) return;
        score(thread, items);
        size_t first = 0;
        for (int index = 0, living = 0; index < request.count; index++) {
            if (first == items.size() || items[first].row != request.rows[index]) continue;
            const size_t own = first;
            while (first < items.size() && items[first].row == request.rows[index]) first++;
            if (living++ % team() == thread) take(request, index, logits + own * vocabulary, *shares[thread].room);
        }
        meeting.wait();
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
    together([&](int thread) { read_ahead(thread, rows, count); });
}

void Decoder::last_logits(const int32_t* rows, int count, float* to) {
    together([&](int thread) {
        std::vector<Item>& items = shares[thread].items;
        read_ahead(thread, rows, count);
        items.clear();
        for (int index = 0; index < count; index++) items.push_back({rows[index], texts[rows[index]].filled - 1});
        score(thread, items);
    });
    for (int index = 0; index < count; index++)
        std::memcpy(to + (size_t)index * shape.vocabulary, logits + (size_t)index * vocabulary,
                sizeof(float) * shape.vocabulary);
}

bool Decoder::write(const Request& request) {
    diverged = false;
    for (int index = 0; index < request.count; index++) {
        ended[index] = false;
        request.written[index] = 0;
        guess_next(texts[request.rows[index]], request.settings->draft, request.tokens - 1);
    }
    together([&](int thread) { write(thread, request); });
    return !diverged;
}

// A decoder of at most `rows` texts with windows of at most `length` tokens, that guesses at most `guesses` ahead.
EXPORT Decoder* lmlab_decoder_open(Engine* engine, int rows, int length,
                              int guesses) { return new Decoder(*engine, rows, length, guesses); }

// Takes the weights as they are now; what rows have read of theirs must be read again.
EXPORT void lmlab_decoder_refresh(Decoder* decoder) { decoder->refresh(); }

EXPORT void lmlab_decoder_close(Decoder* decoder) { delete decoder; }

// Begins a row anew: the window to go on from, all tokens of the text so far, and how many may come.
EXPORT void lmlab_decoder_start(Decoder* decoder, int row, const int64_t* window, int count, const int32_t* whole,
                              int whole_count, int to_come) {
    decoder->start(row, window, count, whole, whole_count, to_come);
}

// Gives a row what another one has read; its window must begin with the same tokens.
EXPORT void lmlab_decoder_copy(Decoder* decoder, int from, int to) { decoder->copy(from, to); }

// Reads the rows' windows but their last tokens.
EXPORT void lmlab_decoder_read(Decoder* decoder, const int32_t* rows, int count) { decoder->read(rows, count); }

// Logits after each row's window, [count][vocabulary].
EXPORT void lmlab_decoder_logits(Decoder* decoder, const int32_t* rows, int count,
                              float* to) { decoder->last_logits(rows, count, to); }

// Writes `tokens` tokens after each row, fewer where one ends; 0 where the logits are no numbers.
EXPORT int lmlab_decoder_write(Decoder* decoder, const int32_t* rows, int count, const Settings* settings,
                              const double* uniforms,
                               int tokens, int32_t* tokens_out, int32_t* written) {
    return decoder->write({rows, count, settings, uniforms, tokens, tokens_out, written});
}

// The token that is drawn from a row of logits, which are changed; -1 where they are no numbers.
EXPORT int lmlab_draw(float* logits, const uint8_t* seen, const Settings* settings, double uniform) {
    DrawRoom room(settings->vocabulary);
    return draw(logits, seen, *settings, uniform, room);
}
