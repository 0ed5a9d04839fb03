// Memory for floats, aligned to a cache line and initialised with zeros. Rows are padded with zeros to whole vectors.
#pragma once
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "vector.h"

inline int padded(int width) { return (width + LANES - 1) / LANES * LANES; }

class Buffer {
public:
    Buffer() = default;
    explicit Buffer(size_t size) : size_(size) {
        // One vector more, for loads past the end that use only the first lanes.
        size_t bytes = (size + 2 * LANES) * sizeof(float);
        memory_ = static_cast<float*>(::operator new(bytes, std::align_val_t(64)));
        std::memset(memory_, 0, bytes);
    }
    ~Buffer() {
        if (memory_) ::operator delete(memory_, std::align_val_t(64));
    }
    Buffer(Buffer&& other) noexcept { *this = std::move(other); }
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(memory_, other.memory_);
        std::swap(size_, other.size_);
        return *this;
    }
    // Ensures a size of `size` floats; the content is lost if the buffer grows.
    void need(size_t size) {
        if (size > size_) *this = Buffer(size);
    }
    operator float*() { return memory_; }
    operator const float*() const { return memory_; }
    size_t size() const { return size_; }

private:
    float* memory_ = nullptr;
    size_t size_ = 0;
};
