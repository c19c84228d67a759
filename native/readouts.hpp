// The readouts of a camera in the making: blocks find the readout that is nearest in time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "rhythm.hpp"

namespace forebay {

constexpr std::size_t kPixels = 64;
constexpr std::size_t kBlockBytes = 144;  // `forebay.wire.target.BLOCK`

// One readout, as `forebay.wire.ssreadout.READOUT` describes it.
struct Readout {
    std::uint64_t number, time_ns;
    double data[kModules][kPixels];
    std::uint64_t timestamps[kModules][2];
    std::uint64_t arrived_ns;
};
static_assert(sizeof(Readout) == 16920);

enum class Reason : std::uint16_t { kLate, kDuplicate, kImplausible };
constexpr std::size_t kReasons = 3;

// A block that belongs nowhere, as `forebay.assemble.suspects.REFUSED` describes it.
struct Refused {
    std::uint16_t module;
    Reason reason;
    std::uint32_t is_quiet;
    std::int64_t arrived_ns;
    std::uint8_t block[kBlockBytes];
};
static_assert(sizeof(Refused) == 160);

// A block that came, as `forebay.service.block_log.LINE` describes it.
struct Trace {
    std::uint64_t time_ns;
    std::int64_t arrived_ns, module;
};
static_assert(sizeof(Trace) == 24);

// `forebay.assemble.timed.TimedRules`; `patience_steps` of the usual distance of readouts.
struct ReadoutRules {
    std::int64_t window_ns, buffer_ns, buffer_length, max_jump_ns, patience_steps;
    std::uint32_t expected;  // one bit a module
    bool is_named;           // `expected` is what the configuration says, whoever is heard
};

// What every module did, for Python's account.
struct ModuleStates {
    std::array<std::int64_t, kModules> used, at, heard_ns;  // `at`: newest time tag; -1 before the first
};

// Used by one thread; what is asked from others is guarded.
class OpenReadouts {
public:
    enum Counter { kBlocks, kUsed, kRefused, kCounters = kRefused + kReasons };
    struct State {
        std::int64_t time_ns, opened_ns;
        std::uint32_t there;
    };
    struct Taken {
        std::size_t n_blocks, n_lacking;
    };
    struct Released {
        std::unique_ptr<Readout[]> readouts;
        std::size_t n;
        Taken of;
    };

    explicit OpenReadouts(const ReadoutRules& rules);

    void add(std::size_t module, const std::uint8_t* blocks, std::size_t n, std::int64_t arrived_ns,
             std::int64_t now_ns);
    std::size_t n_done(std::int64_t now_ns) const;
    bool is_disturbed() const;  // blocks were refused, or too many readouts wait
    bool is_due(std::int64_t now_ns) const;  // one is done, or overdue, or it is disturbed
    std::int64_t expected_ns() const;  // when the next readout is likely to be complete, as `arrived_ns`; 0: unknown
    std::vector<std::size_t> overdue(std::int64_t since_ns) const;
    State state(std::size_t position) const;
    void drop(const std::vector<std::size_t>& positions);
    Taken take(std::size_t n, std::uint64_t number, Readout* out);
    std::optional<Released> release(std::int64_t now_ns, std::uint64_t number);
    bool has_refused() const;
    std::vector<Refused> take_refused();
    std::uint32_t take_heard();
    void trace(bool on);
    std::vector<Trace> take_trace();
    void restart(std::int64_t newest_ns, const std::array<std::int64_t, kReasons>& n_again);
    std::size_t size() const;
    std::uint32_t alive() const;
    ModuleStates modules() const;
    std::array<std::int64_t, kCounters> counters() const;

private:
    // As they came: what waits is small, and is made a readout when it leaves.
    using Blocks = std::array<std::array<std::uint8_t, kBlockBytes>, kModules>;
    struct Open {
        std::int64_t time_ns, arrived_ns, opened_ns;
        Blocks* blocks;
        std::uint32_t there;
    };
    struct Place {
        std::size_t position;
        std::int64_t distance;
    };
    enum class Verdict { kUsed, kDuplicate, kLate };

    Verdict place(std::size_t module, const std::uint8_t* block, std::int64_t time_ns, std::int64_t window,
               std::int64_t arrived_ns, std::int64_t now_ns);
    Place nearest(std::int64_t time_ns) const;
    Open& begin(std::int64_t time_ns, std::int64_t arrived_ns, std::int64_t now_ns);
    void refuse(std::size_t module, const std::uint8_t* block, std::int64_t time_ns, Reason reason,
                std::int64_t arrived_ns, bool is_quiet);
    void count(Reason reason, std::int64_t n = 1) { counters_[kRefused + static_cast<std::size_t>(reason)] += n; }
    bool was_seen(std::size_t module, std::int64_t time_ns) const;
    void note(std::size_t module, std::int64_t at, std::int64_t now_ns);
    void time_oldest(std::int64_t arrived_ns);
    std::size_t count_done(std::int64_t now_ns) const;
    void regroup(std::int64_t window);
    Taken move_out(std::size_t n, std::uint64_t number, Readout* out);
    bool has_too_much() const;
    bool has_overdue(std::int64_t now_ns) const;

    static constexpr std::size_t kRemembered = 256;  // time tags by which a block that comes again is known
    const ReadoutRules rules_;
    mutable std::mutex mutex_;
    Spacing spacing_;
    Lag lag_;
    std::int64_t timed_ = -1;  // time tag of the readout that `lag_` learnt from last
    std::vector<Open> open_;     // in the order of their time tags
    std::deque<Blocks> pool_;    // grows with what waits at most, and stays
    std::vector<Blocks*> free_;
    std::vector<Refused> refused_;
    std::vector<Trace> trace_;
    bool is_traced_ = false;
    std::array<std::int64_t, kCounters> counters_{};
    ModuleStates modules_{};
    std::array<std::array<std::int64_t, kRemembered>, kModules> seen_{};
    std::array<std::size_t, kModules> n_seen_{};
    std::int64_t newest_ = -1;  // time tag; -1 before the first
    std::int64_t last_ = -1;    // of the newest readout taken; -1 before the first of a run
    std::uint32_t last_there_ = 0;  // its modules
    std::int64_t accepted_ns_;
    std::int64_t grace_ends_ns_ = 0;  // until then a module that was there before a pause is waited for
    std::uint32_t alive_;
    std::uint32_t heard_ = 0;  // modules of which a block was accepted since Python looked
};

}  // namespace forebay
