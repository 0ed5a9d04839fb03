// What may come next, guessed from the text itself: what followed when its last tokens stood there before ("prompt
// lookup"; A. Saxena, 2023). A model then checks all guesses in one pass (speculative decoding, arXiv 2211.17192).
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

constexpr int LONGEST_MATCH = 8;
constexpr int SHORTEST_MATCH = 2;
constexpr int REACH = 4096;  // how many tokens back it looks

// Writes up to `most` tokens and returns how many: those after the longest match, of equals the latest. As many as
// matched, since short matches are seldom followed by the same for long; all after the longest match that is looked for.
inline int guess(const std::vector<int32_t>& text, int most, int64_t* to) {
    const int size = (int)text.size();
    int longest = 0, after = 0;
    for (int end = size - 1; end >= std::max(1, size - REACH) && longest < LONGEST_MATCH; end--) {
        int length = 0;
        while (length < std::min(LONGEST_MATCH, end) && text[end - 1 - length] == text[size - 1 - length]) length++;
        if (length > longest) longest = length, after = end;
    }
    if (longest < SHORTEST_MATCH) return 0;
    if (longest < LONGEST_MATCH) most = std::min(most, longest);
    // Where the match reaches into the text's end, what was guessed goes on as the text does.
    for (int place = 0; place < most; place++) to[place] = after + place < size ? text[after + place] : to[after + place - size];
    return most;
}
