// Whether so many texts are written faster side by side, by all threads together, or divided among them.
//
// Divided, no thread waits for another, but each reads all weights, and has tiles of fewer rows. Which is faster depends on caches
// and registers (docs/notes/texts-of-a-thread.md), and both give the same bits. So it is tried: of every PERIOD calls the first four,
// two of each kind, in an order in which texts that grow favour neither.
#pragma once

class Division {
public:
    bool divided() const {
        const int call = calls_ % PERIOD;
        return call < TRIED ? call == 1 || call == 2 : faster_divided_;
    }
    // The call that asked took so many seconds a token.
    void took(double seconds) {
        const int call = calls_ % PERIOD;
        if (call == 0) seconds_[0] = seconds_[1] = 0.0;
        if (call < TRIED) seconds_[divided()] += seconds;
        if (call == TRIED - 1) faster_divided_ = seconds_[1] < seconds_[0];
        calls_++;
    }

private:
    static constexpr int PERIOD = 64, TRIED = 4;
    int calls_ = 0;
    double seconds_[2] = {};  // together and divided, of the calls of a trial
    bool faster_divided_ = false;
};
