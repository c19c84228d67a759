// The memory of a shared ring: what lies where, and the rules by which it changes.
//
// Writers of a module: one receiver. Writer of the log: one builder. Readers: anybody, any number.
// A module's owner word works as a sequence lock: odd while the record and the pixels change, even at
// rest. All words shared between processes are lock-free 64-bit atomics.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace forebay {

using Word = std::atomic<std::uint64_t>;
static_assert(Word::is_always_lock_free && sizeof(Word) == 8);

constexpr std::uint64_t kMagic = 0x3130594142524f46;  // "FORBAY01"
constexpr std::size_t kPage = 4096;
constexpr std::size_t kInfoOffset = 512;  // JSON text that Python writes, zero-terminated
constexpr std::size_t kCounterWords = 32;  // words of one counter block

// First page: written once before anybody attaches, then constant.
struct RingHeader {
    std::uint64_t magic;
    std::uint64_t generation;
    std::uint64_t n_slots, n_modules, n_log;
    std::uint64_t frame_bytes, packets_per_module, header_bytes, pulse_step;
    std::uint64_t module_stride, log_stride;
    std::uint64_t counters_offset, slot_event_offset, log_offset, records_offset, pixels_offset;
    std::uint64_t total_bytes;
    std::uint64_t owner_pid;
};
static_assert(sizeof(RingHeader) <= kInfoOffset);

// Second page: the words that change, each on a cache line of its own.
struct RingState {
    alignas(64) Word log_head;  // how many events were released
    alignas(64) std::atomic<std::uint32_t> wake;  // futex: changes at every release
    alignas(64) Word finished;  // 1 while nobody will release another event
};
static_assert(sizeof(RingState) <= kPage);

// Head of a module's record; the detector's header and the packet bits follow.
struct ModuleRecord {
    Word owner;
    std::uint64_t pulse_id;
    std::uint64_t time_ns;
    std::uint32_t n_packets;
    std::uint32_t epoch;
    std::uint64_t reserved[4];
};
static_assert(sizeof(ModuleRecord) == 64);

struct LogModule {
    std::uint64_t owner;  // 0: the module is absent
    std::uint64_t missing_packets;
};

// Head of a log record; n_modules LogModule follow. `sequence` is 2 * number + 1 while it is written,
// 2 * number + 2 at rest.
struct LogRecord {
    Word sequence;
    std::uint64_t pulse_id;
    std::uint64_t time_ns;
    std::uint64_t slot;
};

constexpr std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

class Memory {
public:
    Memory() = default;
    explicit Memory(std::uint8_t* base) : base_(base) {}

    const RingHeader& header() const { return *reinterpret_cast<const RingHeader*>(base_); }
    RingHeader& header() { return *reinterpret_cast<RingHeader*>(base_); }
    RingState& state() const { return *reinterpret_cast<RingState*>(base_ + kPage); }
    std::uint8_t* base() const { return base_; }

    Word* counters(std::size_t block) const {
        return reinterpret_cast<Word*>(base_ + header().counters_offset) + block * kCounterWords;
    }
    Word& slot_event(std::size_t slot) const {
        return reinterpret_cast<Word*>(base_ + header().slot_event_offset)[slot];
    }
    LogRecord& log(std::uint64_t number) const {
        return *reinterpret_cast<LogRecord*>(base_ + header().log_offset +
                                             (number % header().n_log) * header().log_stride);
    }
    static LogModule* modules(LogRecord& record) { return reinterpret_cast<LogModule*>(&record + 1); }
    ModuleRecord& record(std::size_t slot, std::size_t module) const {
        return *reinterpret_cast<ModuleRecord*>(base_ + header().records_offset +
                                                (slot * header().n_modules + module) * header().module_stride);
    }
    static std::uint8_t* detector_header(ModuleRecord& record) {
        return reinterpret_cast<std::uint8_t*>(&record + 1);
    }
    std::uint64_t* packet_bits(ModuleRecord& record) const {
        return reinterpret_cast<std::uint64_t*>(detector_header(record) + round_up(header().header_bytes, 8));
    }
    std::uint8_t* pixels(std::size_t slot, std::size_t module) const {
        return base_ + header().pixels_offset + (slot * header().n_modules + module) * header().frame_bytes;
    }
    std::size_t slot_of(std::uint64_t pulse_id) const {
        return pulse_id / header().pulse_step % header().n_slots;
    }

private:
    std::uint8_t* base_ = nullptr;
};

// Take a module for writing: readers of what it held see an odd owner word from here on.
inline std::uint64_t claim(ModuleRecord& record) {
    const std::uint64_t odd = record.owner.load(std::memory_order_relaxed) | 1;
    record.owner.store(odd, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    return odd;
}

// Put a module to rest and return its owner word.
inline std::uint64_t settle(ModuleRecord& record) {
    const std::uint64_t even = record.owner.load(std::memory_order_relaxed) + 1;
    record.owner.store(even, std::memory_order_release);
    return even;
}

// The first look, before pixels are read.
inline bool owned_before(const ModuleRecord& record, std::uint64_t owner) {
    return record.owner.load(std::memory_order_acquire) == owner;
}

// The second look, after pixels were read.
inline bool owned_after(const ModuleRecord& record, std::uint64_t owner) {
    std::atomic_thread_fence(std::memory_order_acquire);
    return record.owner.load(std::memory_order_relaxed) == owner;
}

}  // namespace forebay
