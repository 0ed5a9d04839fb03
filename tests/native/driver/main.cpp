// A program that proves one build of the engine right, without Python: linked with lmlab/native/source/*.cpp by
// tools/processors, for processors and under sanitizers that Python can't have.
//
//     driver [--short] [SUITE ...]     exit status 1 where a check fails
//
// --short leaves out what only repeats a check with other numbers, for processors that are emulated.
#include <algorithm>
#include <chrono>

#include "api.h"
#include "checks.h"
#include "suites.h"

namespace {

void check_itself() {
    check(api::selfcheck() == 0, "the engine's own check");
    if (tally.brief) return;  // an emulator's speed takes a minute to measure
    const auto [multiply_adds, products] = api::flops(2);
    check(multiply_adds > 0 && products > 0, "the processor's speed is measured");
}

}  // namespace

int main(int count, char** words) {
    if (!api::of_this_format()) {
        std::printf("FAILED: the engine's functions have another format than tests/native/driver/api.h: adapt that\n");
        return 1;
    }
    const std::vector<std::pair<std::string, void (*)()>> suites{
        {"itself", check_itself}, {"gradients", check_gradients}, {"decoding", check_decoding}, {"draws", check_draws},
        {"updates", check_updates}, {"recurrence", check_recurrence}};
    std::vector<std::string> chosen(words + 1, words + count);
    const auto flag = std::find(chosen.begin(), chosen.end(), "--short");
    if (flag != chosen.end()) tally.brief = true, chosen.erase(flag);
    for (const auto& [name, run] : suites) {
        if (!chosen.empty() && std::find(chosen.begin(), chosen.end(), name) == chosen.end()) continue;
        tally.subject = name, tally.comparable = true;
        const auto start = std::chrono::steady_clock::now();
        const long before = tally.checks;
        run();
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        std::printf("%-10s %6ld checks %7.1f s\n", name.c_str(), tally.checks - before, seconds);
        std::fflush(stdout);
    }
    std::printf("checks %ld failures %ld\n", tally.checks, tally.failures);
    return tally.failures != 0 || tally.checks == 0;
}
