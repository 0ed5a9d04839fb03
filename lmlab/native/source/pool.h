// A thread pool: one call runs a part of the work in each of its threads and in the caller.
//
// Idle threads spin for a moment, because the next call of a training step comes within microseconds, and then sleep, so that other
// computations between the steps can use the processor.
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#if !defined(_WIN32)
#include <unistd.h>
#endif

#include "status.h"

inline void pause_processor() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Spins until `done()`, for at most `microseconds`; returns whether it is done. Measured by the clock, because a pause takes 40
// cycles on one processor and 140 on another.
template <class Done>
bool spin_until(int microseconds, const Done& done) {
    using Clock = std::chrono::steady_clock;
    const Clock::time_point start = Clock::now();
    do {
        for (int pauses = 0; pauses < 64; pauses++) {
            if (done()) return true;
            pause_processor();
        }
    } while (Clock::now() - start < std::chrono::microseconds(microseconds));
    return done();
}

class Pool {
public:
    // Throws NoThreads if the system can't start that many.
    explicit Pool(int threads) : threads_(threads) {
        if (threads > 1) crew_ = std::make_unique<Crew>(threads);
    }
    ~Pool() { leave_forked(); }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int threads() const { return threads_; }

    // Runs part(0) ... part(threads - 1) in parallel, part(0) on the caller; returns when all are done, and rethrows the first
    // exception of a part. Calls must be serialised.
    void run(const std::function<void(int)>& part) {
        if (threads_ == 1) return part(0);
        leave_forked();
        if (!crew_) crew_ = std::make_unique<Crew>(threads_);
        crew_->run(part);
    }

private:
    static constexpr int SPIN_MICROSECONDS = 250;

    struct Crew {
        const int threads;
        const long process;  // that started the threads
        std::vector<std::thread> workers;
        std::mutex mutex;
        std::condition_variable wake;
        std::atomic<unsigned> round{0};
        std::atomic<int> left{0};
        bool ending = false;
        const std::function<void(int)>* part = nullptr;
        std::exception_ptr failure;  // the first one of this round

        explicit Crew(int count) : threads(count), process(this_process()) {
            try {
                workers.reserve(count);
                for (int index = 1; index < count; index++) workers.emplace_back([this, index] { work(index); });
            } catch (const std::system_error&) {
                end();
                throw NoThreads();
            } catch (...) {
                end();
                throw;
            }
        }
        ~Crew() { end(); }

        void end() {
            {
                std::lock_guard<std::mutex> lock(mutex);
                ending = true;
                round.fetch_add(1, std::memory_order_release);
            }
            wake.notify_all();
            for (std::thread& worker : workers) worker.join();
            workers.clear();
        }

        void run(const std::function<void(int)>& given) {
            part = &given;
            failure = nullptr;
            left.store(threads - 1, std::memory_order_relaxed);
            {
                std::lock_guard<std::mutex> lock(mutex);
                round.fetch_add(1, std::memory_order_release);
            }
            wake.notify_all();
            attempt(0);
            const auto done = [this] { return !left.load(std::memory_order_acquire); };
            if (!spin_until(SPIN_MICROSECONDS, done))
                while (!done()) std::this_thread::yield();
            if (failure) std::rethrow_exception(std::exchange(failure, nullptr));
        }

        void attempt(int index) {
            try {
                (*part)(index);
            } catch (...) {
                std::lock_guard<std::mutex> lock(mutex);
                if (!failure) failure = std::current_exception();
            }
        }

        void work(int index) {
            unsigned seen = 0;
            for (;;) {
                const auto called = [&] { return round.load(std::memory_order_acquire) != seen; };
                if (!spin_until(SPIN_MICROSECONDS, called)) {
                    std::unique_lock<std::mutex> lock(mutex);
                    wake.wait(lock, called);
                }
                seen = round.load(std::memory_order_acquire);
                if (ending) return;
                attempt(index);
                left.fetch_sub(1, std::memory_order_release);
            }
        }
    };

    static long this_process() {
#if defined(_WIN32)
        return 0;  // fork doesn't exist
#else
        return long(getpid());
#endif
    }

    // A forked process has none of the threads, and locks that they held stay locked: the pool's state can't even be destroyed
    // there.
    void leave_forked() {
        if (crew_ && crew_->process != this_process()) crew_.release();
    }

    const int threads_;
    std::unique_ptr<Crew> crew_;
};
