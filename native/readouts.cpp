#include "readouts.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>

namespace forebay {

namespace {

constexpr std::int64_t kNever = -(std::int64_t{1} << 62);
constexpr std::int64_t kFar = std::int64_t{1} << 62;
constexpr std::uint64_t kMaxTime = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kOnItsWay = 10'000'000;  // ns by which blocks may arrive later than others
constexpr double kMillivolts = 0.03815 * 2;
constexpr std::size_t kHalf = kPixels / 2;
constexpr std::size_t kAuxOffset = kBlockBytes / 2;  // a time tag and half of the pixels, twice

std::uint64_t big_endian(const std::uint8_t* bytes) {
    std::uint64_t value;
    std::memcpy(&value, bytes, sizeof value);
    return __builtin_bswap64(value);
}

void to_millivolts(const std::uint8_t* raw, double* out) {
    std::uint16_t words[kHalf];
    std::memcpy(words, raw, sizeof words);
    for (std::size_t i = 0; i < kHalf; ++i) {
        const auto swapped = static_cast<std::uint16_t>(words[i] << 8 | words[i] >> 8);
        out[i] = static_cast<int>(swapped ^ 0x8000) * kMillivolts;
    }
}

// Write what a block says; one that is missing is NaN and 0.
void decode(const std::uint8_t* block, double* data, std::uint64_t* timestamps) {
    if (block == nullptr) {
        std::fill_n(data, kPixels, std::numeric_limits<double>::quiet_NaN());
        std::fill_n(timestamps, 2, 0);
        return;
    }
    to_millivolts(block + 8, data);
    to_millivolts(block + kAuxOffset + 8, data + kHalf);
    timestamps[0] = big_endian(block);
    timestamps[1] = big_endian(block + kAuxOffset);
}

std::uint32_t bit(std::size_t module) { return std::uint32_t{1} << module; }

}  // namespace

OpenReadouts::OpenReadouts(const ReadoutRules& rules)
    : rules_(rules), spacing_(rules.max_jump_ns), accepted_ns_(kNever), alive_(rules.expected) {
    modules_.at.fill(-1);
    modules_.heard_ns.fill(kNever);
}

// Take the blocks of one datagram.
void OpenReadouts::add(std::size_t module, const std::uint8_t* blocks, std::size_t n, std::int64_t arrived_ns,
                       std::int64_t now_ns) {
    const std::lock_guard guard(mutex_);
    counters_[kBlocks] += static_cast<std::int64_t>(n);
    const bool is_quiet = now_ns - accepted_ns_ >= rules_.buffer_ns;
    const std::int64_t elapsed = accepted_ns_ > kNever ? std::max<std::int64_t>(0, now_ns - accepted_ns_) : 0;
    const std::int64_t reach = rules_.max_jump_ns + std::min(elapsed, kFar);
    std::int64_t at = -1;
    const auto tag = [&](std::size_t i) { return big_endian(blocks + i * kBlockBytes); };
    const auto is_possible = [](std::uint64_t time) { return time > 0 && time <= kMaxTime; };
    const auto is_near = [&](std::int64_t time) { return std::abs(time - newest_) <= reach; };
    for (std::size_t i = 0; is_traced_ && i < n; ++i)
        trace_.push_back({tag(i), arrived_ns, static_cast<std::int64_t>(module)});
    const bool was_known = spacing_.is_known();
    for (std::size_t i = 0; i < n; ++i) {
        if (!is_possible(tag(i))) continue;
        const auto time_ns = static_cast<std::int64_t>(tag(i));
        if (newest_ < 0) newest_ = time_ns;
        if (is_near(time_ns)) spacing_.learn(module, time_ns);
    }
    spacing_.settle();
    const std::int64_t window = std::max<std::int64_t>(1, std::min(rules_.window_ns, spacing_.median_ns / 2));
    if (!was_known && spacing_.is_known()) regroup(window);
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint8_t* block = blocks + i * kBlockBytes;
        if (!is_possible(tag(i))) {
            count(Reason::kImplausible);
            continue;
        }
        const auto time_ns = static_cast<std::int64_t>(tag(i));
        if (!is_near(time_ns)) {
            const Reason reason = time_ns > newest_ ? Reason::kImplausible : Reason::kLate;
            refuse(module, block, time_ns, reason, arrived_ns, is_quiet);
            continue;
        }
        const Verdict verdict = place(module, block, time_ns, window, arrived_ns, now_ns);
        if (verdict == Verdict::kUsed) at = std::max(at, time_ns);
        if (verdict == Verdict::kLate) refuse(module, block, time_ns, Reason::kLate, arrived_ns, is_quiet);
    }
    if (at < 0) return;
    note(module, at, now_ns);
    time_oldest(arrived_ns);
}

// Put a block into the readout that it belongs to, which may begin with it.
OpenReadouts::Verdict OpenReadouts::place(std::size_t module, const std::uint8_t* block, std::int64_t time_ns,
                                          std::int64_t window, std::int64_t arrived_ns, std::int64_t now_ns) {
    const Place found = nearest(time_ns);
    const bool is_found = found.distance < window;
    if (last_ >= 0) {
        const std::int64_t to_last = std::abs(time_ns - last_);
        const bool is_close = to_last <= found.distance && to_last < window;
        // A module sends one block a readout: where it was in the last one, what is newer is of another.
        const bool is_next = time_ns > last_ && last_there_ & bit(module) && !was_seen(module, time_ns);
        if ((is_close && !is_next) || (time_ns < last_ && !is_found)) return Verdict::kLate;
    }
    Open* one = is_found ? &open_[found.position] : &begin(time_ns, arrived_ns, now_ns);
    if (one->there & bit(module)) {
        if (was_seen(module, time_ns)) {
            count(Reason::kDuplicate);
            return Verdict::kDuplicate;
        }
        // A module sends one block a readout: this one is of another, that nobody else has opened yet.
        one = &begin(time_ns, arrived_ns, now_ns);
    }
    one->there |= bit(module);
    std::memcpy((*one->blocks)[module].data(), block, kBlockBytes);
    ++counters_[kUsed];
    ++modules_.used[module];
    seen_[module][n_seen_[module]++ % kRemembered] = time_ns;
    newest_ = std::max(newest_, time_ns);
    return Verdict::kUsed;
}

OpenReadouts::Place OpenReadouts::nearest(std::int64_t time_ns) const {
    const auto right = std::lower_bound(open_.begin(), open_.end(), time_ns,
                                        [](const Open& one, std::int64_t time) { return one.time_ns < time; });
    Place found{0, kFar};
    if (right != open_.begin()) {
        const auto left = right - 1;
        found = {static_cast<std::size_t>(left - open_.begin()), time_ns - left->time_ns};
    }
    if (right != open_.end() && right->time_ns - time_ns < found.distance)
        found = {static_cast<std::size_t>(right - open_.begin()), right->time_ns - time_ns};
    return found;
}

OpenReadouts::Open& OpenReadouts::begin(std::int64_t time_ns, std::int64_t arrived_ns, std::int64_t now_ns) {
    if (free_.empty()) free_.push_back(&pool_.emplace_back());
    Blocks* blocks = free_.back();
    free_.pop_back();
    const auto behind = std::upper_bound(open_.begin(), open_.end(), time_ns,
                                         [](std::int64_t time, const Open& one) { return time < one.time_ns; });
    return *open_.insert(behind, {time_ns, arrived_ns, now_ns, blocks, 0});
}

// Count a block that belongs nowhere, and keep it for Python unless it is only one that comes again.
void OpenReadouts::refuse(std::size_t module, const std::uint8_t* block, std::int64_t time_ns, Reason reason,
                          std::int64_t arrived_ns, bool is_quiet) {
    if (was_seen(module, time_ns)) reason = Reason::kDuplicate;
    count(reason);
    if (reason == Reason::kDuplicate && !is_quiet) return;
    Refused& one = refused_.emplace_back();
    one.module = static_cast<std::uint16_t>(module);
    one.reason = reason;
    one.is_quiet = is_quiet;
    one.arrived_ns = arrived_ns;
    std::memcpy(one.block, block, kBlockBytes);
}

bool OpenReadouts::was_seen(std::size_t module, std::int64_t time_ns) const {
    const auto& seen = seen_[module];
    return std::find(seen.begin(), seen.end(), time_ns) != seen.end();
}

// Note that a module is there.
void OpenReadouts::note(std::size_t module, std::int64_t at, std::int64_t now_ns) {
    if (now_ns - accepted_ns_ >= rules_.buffer_ns) grace_ends_ns_ = now_ns + rules_.buffer_ns;
    accepted_ns_ = now_ns;
    modules_.heard_ns[module] = now_ns;
    modules_.at[module] = at;
    heard_ |= bit(module);
    if (rules_.is_named) return;
    std::uint32_t heard = 0;
    for (std::size_t i = 0; i < kModules; ++i)
        if (now_ns - modules_.heard_ns[i] < rules_.buffer_ns) heard |= bit(i);
    alive_ = now_ns < grace_ends_ns_ ? alive_ | heard : heard;
}

// Learn from the oldest readout, once, when it was complete.
void OpenReadouts::time_oldest(std::int64_t arrived_ns) {
    if (open_.empty() || alive_ & ~open_.front().there || open_.front().time_ns == timed_) return;
    timed_ = open_.front().time_ns;
    lag_.learn(arrived_ns - timed_);
}

// The first distance shows how close readouts lie: what was put together without knowing it begins anew.
void OpenReadouts::regroup(std::int64_t window) {
    const std::vector<Open> before = std::exchange(open_, {});
    struct Found {
        std::int64_t time_ns;
        std::size_t module;
        const Open* in;
    };
    std::vector<Found> found;
    for (const Open& one : before)
        for (std::size_t module = 0; module < kModules; ++module)
            if (one.there & bit(module))
                found.push_back({static_cast<std::int64_t>(big_endian((*one.blocks)[module].data())), module, &one});
    std::stable_sort(found.begin(), found.end(),
                     [](const Found& a, const Found& b) { return a.time_ns < b.time_ns; });
    for (const auto& [time_ns, module, in] : found) {
        const Place place = nearest(time_ns);
        const bool fits = place.distance < window && !(open_[place.position].there & bit(module));
        Open& one = fits ? open_[place.position] : begin(time_ns, in->arrived_ns, in->opened_ns);
        one.there |= bit(module);
        (*one.blocks)[module] = (*in->blocks)[module];
    }
    for (const Open& one : before) free_.push_back(one.blocks);
}

// How many of the oldest readouts need not wait for any module: it is there, or has gone far beyond.
std::size_t OpenReadouts::n_done(std::int64_t now_ns) const {
    const std::lock_guard guard(mutex_);
    return count_done(now_ns);
}

std::size_t OpenReadouts::count_done(std::int64_t now_ns) const {
    // Until a second readout can have come, nobody knows whether all these blocks are of one.
    const std::int64_t settled_ns = now_ns - 2 * rules_.window_ns - kOnItsWay;
    if (!spacing_.is_known() && !open_.empty() && open_.front().opened_ns > settled_ns) return 0;
    const std::int64_t most_steps = kFar / spacing_.median_ns;
    const std::int64_t patience_ns = std::min(rules_.patience_steps, most_steps) * spacing_.median_ns;
    std::size_t n = 0;
    for (; n < open_.size(); ++n) {
        const std::uint32_t lacking = alive_ & ~open_[n].there;
        for (std::size_t i = 0; i < kModules; ++i)
            if (lacking & bit(i) && modules_.at[i] - open_[n].time_ns <= patience_ns) return n;
    }
    return n;
}

bool OpenReadouts::is_disturbed() const {
    const std::lock_guard guard(mutex_);
    return has_too_much();
}

bool OpenReadouts::has_too_much() const {
    return !refused_.empty() || static_cast<std::int64_t>(open_.size()) > rules_.buffer_length;
}

bool OpenReadouts::is_due(std::int64_t now_ns) const {
    const std::lock_guard guard(mutex_);
    return has_too_much() || count_done(now_ns) || has_overdue(now_ns);
}

bool OpenReadouts::has_overdue(std::int64_t now_ns) const {
    const auto is_overdue = [&](const Open& one) { return one.opened_ns <= now_ns - rules_.buffer_ns; };
    return std::any_of(open_.begin(), open_.end(), is_overdue);
}

std::int64_t OpenReadouts::expected_ns() const {
    const std::lock_guard guard(mutex_);
    if (!lag_.is_known() || !spacing_.is_known() || (open_.empty() && last_ < 0)) return 0;
    return open_.empty() ? lag_.ns + spacing_.median_ns + last_ : lag_.ns + open_.front().time_ns;
}

std::vector<std::size_t> OpenReadouts::overdue(std::int64_t since_ns) const {
    const std::lock_guard guard(mutex_);
    std::vector<std::size_t> positions;
    for (std::size_t i = 0; i < open_.size(); ++i)
        if (open_[i].opened_ns <= since_ns) positions.push_back(i);
    return positions;
}

OpenReadouts::State OpenReadouts::state(std::size_t position) const {
    const std::lock_guard guard(mutex_);
    const Open& one = open_.at(position);
    return {one.time_ns, one.opened_ns, one.there};
}

// Forget readouts, positions in rising order: their blocks were implausible.
void OpenReadouts::drop(const std::vector<std::size_t>& positions) {
    const std::lock_guard guard(mutex_);
    std::int64_t n_blocks = 0;
    for (auto position = positions.rbegin(); position != positions.rend(); ++position) {
        const Open& one = open_.at(*position);
        n_blocks += __builtin_popcount(one.there);
        free_.push_back(one.blocks);
        open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(*position));
    }
    counters_[kUsed] -= n_blocks;
    count(Reason::kImplausible, n_blocks);
    newest_ = open_.empty() ? last_ : open_.back().time_ns;
}

// Move the oldest readouts to `out`; missing modules are NaN and 0. `number` is that of the first.
OpenReadouts::Taken OpenReadouts::take(std::size_t n, std::uint64_t number, Readout* out) {
    const std::lock_guard guard(mutex_);
    return move_out(std::min(n, open_.size()), number, out);
}

// Give what is done; nothing where it is to be decided first what becomes of blocks or readouts.
std::optional<OpenReadouts::Released> OpenReadouts::release(std::int64_t now_ns, std::uint64_t number) {
    const std::lock_guard guard(mutex_);
    const std::size_t n = count_done(now_ns);
    if (has_too_much() || has_overdue(now_ns)) return std::nullopt;
    std::unique_ptr<Readout[]> readouts(new Readout[n]);
    const Taken taken = move_out(n, number, readouts.get());
    return Released{std::move(readouts), n, taken};
}

OpenReadouts::Taken OpenReadouts::move_out(std::size_t n, std::uint64_t number, Readout* out) {
    Taken taken{0, 0};
    for (std::size_t i = 0; i < n; ++i) {
        const Open& one = open_[i];
        out[i].number = number + i;
        out[i].time_ns = static_cast<std::uint64_t>(one.time_ns);
        out[i].arrived_ns = static_cast<std::uint64_t>(one.arrived_ns);
        for (std::size_t module = 0; module < kModules; ++module) {
            const bool is_there = one.there & bit(module);
            decode(is_there ? (*one.blocks)[module].data() : nullptr, out[i].data[module], out[i].timestamps[module]);
        }
        taken.n_blocks += static_cast<std::size_t>(__builtin_popcount(one.there));
        taken.n_lacking += (rules_.expected & ~one.there) != 0;
        last_ = one.time_ns;
        last_there_ = one.there;
        free_.push_back(one.blocks);
    }
    open_.erase(open_.begin(), open_.begin() + static_cast<std::ptrdiff_t>(n));
    return taken;
}

bool OpenReadouts::has_refused() const {
    const std::lock_guard guard(mutex_);
    return !refused_.empty();
}

std::vector<Refused> OpenReadouts::take_refused() {
    const std::lock_guard guard(mutex_);
    return std::exchange(refused_, {});
}

// Keep a line for each block that comes, until it is taken, or keep none.
void OpenReadouts::trace(bool on) {
    const std::lock_guard guard(mutex_);
    is_traced_ = on;
    trace_.clear();
}

std::vector<Trace> OpenReadouts::take_trace() {
    const std::lock_guard guard(mutex_);
    return std::exchange(trace_, {});
}

std::uint32_t OpenReadouts::take_heard() {
    const std::lock_guard guard(mutex_);
    return std::exchange(heard_, 0);
}

// Begin anew elsewhere; so many blocks of each reason come again and are counted then.
void OpenReadouts::restart(std::int64_t newest_ns, const std::array<std::int64_t, kReasons>& n_again) {
    const std::lock_guard guard(mutex_);
    last_ = -1;
    newest_ = newest_ns;
    modules_.at.fill(-1);
    heard_ = 0;
    spacing_ = Spacing(rules_.max_jump_ns);
    lag_ = Lag();
    timed_ = -1;
    for (std::size_t i = 0; i < kReasons; ++i) {
        count(static_cast<Reason>(i), -n_again[i]);
        counters_[kBlocks] -= n_again[i];
    }
}

std::size_t OpenReadouts::size() const {
    const std::lock_guard guard(mutex_);
    return open_.size();
}

std::uint32_t OpenReadouts::alive() const {
    const std::lock_guard guard(mutex_);
    return alive_;
}

ModuleStates OpenReadouts::modules() const {
    const std::lock_guard guard(mutex_);
    return modules_;
}

std::array<std::int64_t, OpenReadouts::kCounters> OpenReadouts::counters() const {
    const std::lock_guard guard(mutex_);
    return counters_;
}

}  // namespace forebay
