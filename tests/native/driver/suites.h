// The parts of the driver; each checks what its file says.
#pragma once
#include <vector>

#include "checks.h"

// How many threads each check is made with.
inline std::vector<int> thread_counts() { return tally.brief ? std::vector<int>{1, 2} : std::vector<int>{1, 2, 3}; }

void check_gradients();
void check_decoding();
void check_draws();
void check_updates();
void check_recurrence();
