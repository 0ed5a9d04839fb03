// Checks that are counted, digests that other builds are compared with, memory that ends where its numbers do.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

struct Tally {
    long checks = 0, failures = 0;
    std::string subject;     // what is under test now
    bool comparable = true;  // whether every build must give the same results
    bool brief = false;      // whether repetitions with other numbers are left out
};
inline Tally tally;

inline void check(bool holds, const std::string& promise) {
    tally.checks++;
    if (holds) return;
    tally.failures++;
    std::printf("FAILED %s: %s\n", tally.subject.c_str(), promise.c_str());
}

// A result that every build must give alike, to rounding; the tool compares these lines.
inline void digest(const std::string& name, double value) {
    if (tally.comparable) std::printf("digest %.9e %s/%s\n", value, tally.subject.c_str(), name.c_str());
}

// Floats in memory of exactly their size, at an address that no vector is aligned to: AddressSanitizer sees any read
// behind them, UndefinedBehaviorSanitizer any that expects more than a float's alignment.
class Floats {
public:
    explicit Floats(size_t count = 0, float value = 0.0f) : count_(count), memory_(new float[count + 1]) {
        for (size_t i = 0; i <= count; i++) memory_[i] = value;
    }
    Floats(const Floats& other) : Floats(other.count_) { std::memcpy(data(), other.data(), sizeof(float) * count_); }
    Floats& operator=(Floats other) {
        std::swap(count_, other.count_);
        memory_.swap(other.memory_);
        return *this;
    }
    float* data() { return memory_.get() + 1; }
    const float* data() const { return memory_.get() + 1; }
    size_t size() const { return count_; }
    float& operator[](size_t index) { return data()[index]; }
    float operator[](size_t index) const { return data()[index]; }
    // Bit for bit; numbers that are none are equal to themselves.
    bool operator==(const Floats& other) const {
        return count_ == other.count_ && std::memcmp(data(), other.data(), sizeof(float) * count_) == 0;
    }

private:
    size_t count_;
    std::unique_ptr<float[]> memory_;
};

// The same numbers on every machine (SplitMix64, Steele and others, 2014).
class Random {
public:
    explicit Random(uint64_t seed) : state_(seed) {}
    uint64_t whole() {
        uint64_t z = state_ += 0x9E3779B97F4A7C15ull;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        return z ^ (z >> 31);
    }
    double uniform() { return double(whole() >> 11) / 9007199254740992.0; }
    int below(int count) { return int(whole() % uint64_t(count)); }
    // Nearly normal: a sum of twelve uniform numbers.
    float normal() {
        double total = -6.0;
        for (int i = 0; i < 12; i++) total += uniform();
        return float(total);
    }
    std::vector<int64_t> tokens(size_t count, int vocabulary) {
        std::vector<int64_t> drawn(count);
        for (int64_t& token : drawn) token = below(vocabulary);
        return drawn;
    }

private:
    uint64_t state_;
};

inline double norm_of(const Floats& numbers) {
    double squares = 0;
    for (size_t i = 0; i < numbers.size(); i++) squares += double(numbers[i]) * numbers[i];
    return std::sqrt(squares);
}
inline double norm_of(const std::vector<double>& numbers) {
    double squares = 0;
    for (double number : numbers) squares += number * number;
    return std::sqrt(squares);
}
// The norm of their difference.
inline double apart(const Floats& found, const std::vector<double>& exact) {
    double squares = 0;
    for (size_t i = 0; i < exact.size(); i++) squares += (found[i] - exact[i]) * (found[i] - exact[i]);
    return std::sqrt(squares);
}
