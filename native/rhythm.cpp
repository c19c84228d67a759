#include "rhythm.hpp"

#include <algorithm>

namespace forebay {

namespace {

constexpr std::int64_t kStep = 100'000;  // ns by which more is expected at most

}  // namespace

void Spacing::learn(std::size_t module, std::int64_t time_ns) {
    const std::int64_t before = newest_[module], distance = time_ns - before;
    newest_[module] = time_ns;
    if (before < 0 || distance <= 0 || distance > longest_ns_) return;
    recent_[n_++ % kKept] = distance;
    is_settled_ = false;
}

// Of two distances in the middle the shorter one counts: the other may be a pause.
void Spacing::settle() {
    if (is_settled_) return;
    is_settled_ = true;
    const std::size_t n = std::min(n_, kKept);
    auto sorted = recent_;
    const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>((n - 1) / 2);
    std::nth_element(sorted.begin(), middle, sorted.begin() + static_cast<std::ptrdiff_t>(n));
    median_ns = *middle;
}

// Sooner than expected counts at once, for nobody is to wait; later than expected by and by, for a sender may
// have been held up.
void Lag::learn(std::int64_t lag_ns) {
    const std::int64_t step = lag_ns - ns;
    ns = is_known_ && step > 0 ? ns + std::min(step / 16, kStep) : lag_ns;
    is_known_ = true;
}

}  // namespace forebay
