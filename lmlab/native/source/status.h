// The status that every exported function returns. No exception crosses into Python.
#pragma once
#include <cstdio>
#include <exception>
#include <new>

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

// The values are those of lmlab/native/calls.py.
enum Status : int { FINE = 0, NO_MEMORY = 1, NO_THREADS = 2, REFUSED = 3, FAILED = 4 };

// The text of the last failure of this thread's calls: see lmlab_error in engine.cpp.
inline char* failure_text() {
    static thread_local char text[256] = "";
    return text;
}
constexpr int FAILURE_TEXT = 256;

// Thrown if the system can't start a thread.
struct NoThreads : std::exception {};

// Thrown if a request can't be satisfied, with the reason.
struct Refused : std::exception {
    const char* reason;
    explicit Refused(const char* reason) : reason(reason) {}
    const char* what() const noexcept override { return reason; }
};

// Runs `work` and returns its status.
template <class Work>
int guarded(const Work& work) noexcept {
    Status status = FINE;
    const char* text = "";
    try {
        work();
        return FINE;
    } catch (const std::bad_alloc&) {
        status = NO_MEMORY;
    } catch (const NoThreads&) {
        status = NO_THREADS;
    } catch (const Refused& refused) {
        status = REFUSED, text = refused.reason;
    } catch (const std::exception& error) {
        std::snprintf(failure_text(), FAILURE_TEXT, "%s", error.what());
        return FAILED;
    } catch (...) {
        status = FAILED, text = "an unknown exception";
    }
    std::snprintf(failure_text(), FAILURE_TEXT, "%s", text);
    return status;
}
