// Threads that wait for work: one call gives each of them, and the caller, its part.
//
// Waiting threads spin for a moment, because the next call of a training step comes within microseconds, and then
// sleep, so that they take nothing from whatever else computes between steps.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

class Pool {
public:
    explicit Pool(int threads) : threads_(threads) {
        for (int index = 1; index < threads; index++) workers_.emplace_back([this, index] { work(index); });
    }
    ~Pool() {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            ending_ = true;
            round_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        for (auto& worker : workers_) worker.join();
    }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int threads() const { return threads_; }

    // Runs part(0) ... part(threads - 1) side by side, part(0) on the caller; returns when all are done.
    void run(const std::function<void(int)>& part) {
        if (threads_ == 1) return part(0);
        part_ = &part;
        left_.store(threads_ - 1, std::memory_order_relaxed);
        {
            std::lock_guard<std::mutex> lock(mutex_);
            round_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        part(0);
        for (int spins = 0; left_.load(std::memory_order_acquire); spins++)
            spins < SPINS ? pause() : std::this_thread::yield();
    }

private:
    static constexpr int SPINS = 20000;  // about a quarter of a millisecond

    static void pause() {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("yield");
#endif
    }

    void work(int index) {
        unsigned seen = 0;
        for (;;) {
            for (int spins = 0; spins < SPINS && round_.load(std::memory_order_acquire) == seen; spins++) pause();
            if (round_.load(std::memory_order_acquire) == seen) {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [&] { return round_.load(std::memory_order_acquire) != seen; });
            }
            seen = round_.load(std::memory_order_acquire);
            if (ending_) return;
            (*part_)(index);
            left_.fetch_sub(1, std::memory_order_release);
        }
    }

    int threads_;
    std::vector<std::thread> workers_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::atomic<unsigned> round_{0};
    std::atomic<int> left_{0};
    bool ending_ = false;
    const std::function<void(int)>* part_ = nullptr;
};
