// Whether texts are generated faster together, by all threads, or divided among the threads.
//
// Divided, no thread waits for another, but each reads all weights, and has tiles of fewer rows. Which is faster depends on caches
// and registers (docs/notes/texts-of-a-thread.md); the bits are the same. So both are timed: in the first four of every PERIOD
// calls, two of each kind, in an order that doesn't favour one kind as the texts grow.
#pragma once

class Division {
public:
    bool divided() const {
        const int call = calls_ % PERIOD;
        return call < TRIED ? call == 1 || call == 2 : faster_divided_;
    }
    // Reports the seconds a token of the last call.
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
