// Numbers in float64 that remember how they were made, so that the gradient of a plain formula needs no formula of its own.
//
// What the engine computes is written once, as slowly and plainly as it can be, for `double` and for `Traced` alike.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

class Tape {
public:
    // A new number; `slope` is its derivative by what it was made of (parent -1: nothing that is traced).
    int32_t add() {
        ends_.push_back(edges_.size());
        return int32_t(ends_.size()) - 1;
    }
    void from(int32_t parent, double slope) {
        if (parent >= 0) edges_.push_back({parent, slope});
    }
    void clear() { ends_.clear(), edges_.clear(); }
    // The derivative of number `of` by each one.
    std::vector<double> gradient(int32_t of) const {
        std::vector<double> slopes(ends_.size());
        slopes[of] = 1.0;
        for (int32_t number = of; number >= 0; number--) {
            const double slope = slopes[number];
            if (slope == 0.0) continue;
            for (size_t edge = number ? ends_[number - 1] : 0; edge < ends_[number]; edge++)
                slopes[edges_[edge].parent] += slope * edges_[edge].slope;
        }
        return slopes;
    }

private:
    struct Edge {
        int32_t parent;
        double slope;
    };
    // A number's edges end where the next one's begin; `from` comes before `add`.
    std::vector<size_t> ends_;
    std::vector<Edge> edges_;
};
inline Tape tape;

struct Traced {
    double value = 0.0;
    int32_t place = -1;

    Traced() = default;
    Traced(double value) : value(value) {}
    static Traced leaf(double value) {
        Traced made(value);
        made.place = tape.add();
        return made;
    }
    static Traced of(double value, const Traced& one, double slope) {
        Traced made(value);
        tape.from(one.place, slope);
        made.place = tape.add();
        return made;
    }
    static Traced of(double value, const Traced& one, double slope, const Traced& other, double other_slope) {
        Traced made(value);
        tape.from(one.place, slope), tape.from(other.place, other_slope);
        made.place = tape.add();
        return made;
    }
};

inline double value_of(double x) { return x; }
inline double value_of(const Traced& x) { return x.value; }

inline Traced operator+(const Traced& a, const Traced& b) { return Traced::of(a.value + b.value, a, 1, b, 1); }
inline Traced operator-(const Traced& a, const Traced& b) { return Traced::of(a.value - b.value, a, 1, b, -1); }
inline Traced operator*(const Traced& a, const Traced& b) { return Traced::of(a.value * b.value, a, b.value, b, a.value); }
inline Traced operator/(const Traced& a, const Traced& b) {
    return Traced::of(a.value / b.value, a, 1 / b.value, b, -a.value / (b.value * b.value));
}
inline Traced exp(const Traced& x) { return Traced::of(std::exp(x.value), x, std::exp(x.value)); }
inline Traced log(const Traced& x) { return Traced::of(std::log(x.value), x, 1 / x.value); }
inline Traced sqrt(const Traced& x) { return Traced::of(std::sqrt(x.value), x, 0.5 / std::sqrt(x.value)); }
inline Traced tanh(const Traced& x) {
    const double y = std::tanh(x.value);
    return Traced::of(y, x, 1 - y * y);
}
inline Traced erf(const Traced& x) {
    return Traced::of(std::erf(x.value), x, 1.1283791670955126 * std::exp(-x.value * x.value));
}
inline double positive(double x) { return std::max(x, 0.0); }
inline Traced positive(const Traced& x) { return Traced::of(positive(x.value), x, x.value > 0); }
// Between -limit and limit; no slope beyond.
inline double clamped(double x, double limit) { return std::min(limit, std::max(-limit, x)); }
inline Traced clamped(const Traced& x, double limit) {
    return Traced::of(clamped(x.value, limit), x, std::abs(x.value) < limit);
}

// The sum of x[i] y[i apart], one number for all of it.
inline double product_sum(const double* x, const double* y, size_t count, size_t apart = 1) {
    double total = 0;
    for (size_t i = 0; i < count; i++) total += x[i] * y[i * apart];
    return total;
}
inline Traced product_sum(const Traced* x, const Traced* y, size_t count, size_t apart = 1) {
    double total = 0;
    for (size_t i = 0; i < count; i++) {
        total += x[i].value * y[i * apart].value;
        tape.from(x[i].place, y[i * apart].value), tape.from(y[i * apart].place, x[i].value);
    }
    Traced made(total);
    made.place = tape.add();
    return made;
}
