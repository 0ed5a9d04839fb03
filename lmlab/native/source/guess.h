// Draft tokens by prompt lookup (A. Saxena, 2023): the tokens that followed an earlier occurrence of the text's last tokens. The
// model verifies all of them in one pass (speculative decoding, arXiv 2211.17192).
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

constexpr int LONGEST_MATCH = 8;
constexpr int SHORTEST_MATCH = 2;
constexpr int REACH = 4096;  // how many tokens back it searches

// Writes up to `most` tokens and returns their number: those after the latest of the longest matches. At most as many as the
// match's length, since short matches rarely predict many tokens; after a match of the maximum length, `most`.
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
    // If the match reaches the text's end, the draft is repeated.
    for (int place = 0; place < most; place++) to[place] = after + place < size ? text[after + place] : to[after + place - size];
    return most;
}
