// What is learnt from the time tags of a camera: how far apart readouts are, and when they are complete.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace forebay {

constexpr std::size_t kModules = 32;

// How far apart the readouts follow each other: two blocks of a module are never of one readout.
class Spacing {
public:
    explicit Spacing(std::int64_t longest_ns) : median_ns(longest_ns), longest_ns_(longest_ns) { newest_.fill(-1); }
    void learn(std::size_t module, std::int64_t time_ns);
    void settle();
    bool is_known() const { return n_ > 0; }

    std::int64_t median_ns;  // the longest while no distance was seen

private:
    static constexpr std::size_t kKept = 32;
    std::int64_t longest_ns_;
    std::array<std::int64_t, kModules> newest_;
    std::array<std::int64_t, kKept> recent_{};
    std::size_t n_ = 0;
    bool is_settled_ = true;
};

// How long after its time tag a readout is complete, on the clock of arrivals: early among those of late.
class Lag {
public:
    void learn(std::int64_t lag_ns);
    bool is_known() const { return is_known_; }

    std::int64_t ns = 0;

private:
    bool is_known_ = false;
};

}  // namespace forebay
