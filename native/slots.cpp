#include "slots.hpp"

#include <cerrno>
#include <climits>
#include <ctime>
#include <stdexcept>
#include <string>

#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bind.hpp"

namespace forebay {

namespace {

std::size_t checked_pages(std::size_t n) { return round_up(n, kPage); }

int futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value, const timespec* timeout) {
    return static_cast<int>(
        syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), operation, value, timeout, nullptr, 0));
}

}  // namespace

Slots::Slots(int fd, bool writable) : writable_(writable) {
    struct stat status {};
    if (fstat(fd, &status) != 0) throw std::runtime_error(std::string("fstat: ") + std::strerror(errno));
    size_ = static_cast<std::size_t>(status.st_size);
    if (size_ < 2 * kPage) throw std::invalid_argument("not a ring: too small");
    void* base = mmap(nullptr, size_, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) throw std::runtime_error(std::string("mmap: ") + std::strerror(errno));
    memory = Memory(static_cast<std::uint8_t*>(base));
    const RingHeader& h = memory.header();
    if (h.magic != kMagic || h.total_bytes != size_) {
        munmap(base, size_);
        throw std::invalid_argument("not a ring, or one of another version");
    }
}

Slots::~Slots() { munmap(memory.base(), size_); }

std::size_t Slots::format(int fd, std::uint64_t generation, std::uint64_t n_slots, std::uint64_t n_modules,
                          std::uint64_t n_log, std::uint64_t frame_bytes, std::uint64_t packets_per_module,
                          std::uint64_t header_bytes, std::uint64_t pulse_step, const std::string& info) {
    if (info.size() + 1 > kPage - kInfoOffset) throw std::invalid_argument("the ring's description is too long");
    RingHeader h{};
    h.magic = kMagic;
    h.generation = generation;
    h.n_slots = n_slots;
    h.n_modules = n_modules;
    h.n_log = n_log;
    h.frame_bytes = frame_bytes;
    h.packets_per_module = packets_per_module;
    h.header_bytes = header_bytes;
    h.pulse_step = pulse_step;
    h.module_stride =
        round_up(sizeof(ModuleRecord) + round_up(header_bytes, 8) + round_up(packets_per_module, 64) / 8, 64);
    h.log_stride = round_up(sizeof(LogRecord) + n_modules * sizeof(LogModule), 64);
    h.counters_offset = 2 * kPage;
    h.slot_event_offset = h.counters_offset + checked_pages((n_modules + 1) * kCounterWords * sizeof(Word));
    h.log_offset = h.slot_event_offset + checked_pages(n_slots * sizeof(Word));
    h.records_offset = h.log_offset + checked_pages(n_log * h.log_stride);
    h.pixels_offset = h.records_offset + checked_pages(n_slots * n_modules * h.module_stride);
    h.total_bytes = h.pixels_offset + checked_pages(n_slots * n_modules * frame_bytes);
    h.owner_pid = static_cast<std::uint64_t>(getpid());
    if (ftruncate(fd, static_cast<off_t>(h.total_bytes)) != 0 ||
        pwrite(fd, info.c_str(), info.size() + 1, kInfoOffset) != static_cast<ssize_t>(info.size() + 1) ||
        pwrite(fd, &h, sizeof h, 0) != static_cast<ssize_t>(sizeof h))
        throw std::runtime_error(std::string("cannot size the ring: ") + std::strerror(errno));
    return h.total_bytes;
}

// One write a page: a page that is touched for the first time while data arrive costs 2 to 3 us.
void Slots::touch() const {
    for (std::size_t at = memory.header().counters_offset; at < size_; at += kPage)
        reinterpret_cast<volatile std::uint8_t*>(memory.base())[at] = 0;
}

bool Slots::write_frame(std::size_t slot, std::size_t module, std::uint64_t pulse_id, std::uint64_t time_ns,
                        const std::uint8_t* header, const std::uint8_t* frame, FrameRecord& done) const {
    ModuleRecord& record = memory.record(slot, module);
    const RingHeader& h = memory.header();
    claim(record);
    record.pulse_id = pulse_id;
    record.time_ns = time_ns;
    record.n_packets = static_cast<std::uint32_t>(h.packets_per_module);
    record.epoch = 0;
    std::memcpy(Memory::detector_header(record), header, h.header_bytes);
    std::memset(memory.packet_bits(record), 0xff, round_up(h.packets_per_module, 64) / 8);
    std::memcpy(memory.pixels(slot, module), frame, h.frame_bytes);
    done = {pulse_id, settle(record), time_ns, static_cast<std::uint32_t>(slot),
            static_cast<std::uint32_t>(module), 0, 0};
    return true;
}

std::uint64_t Slots::release(std::uint64_t pulse_id, std::uint64_t time_ns, std::uint64_t slot,
                             const std::uint64_t* owners, const std::uint32_t* missing) const {
    RingState& state = memory.state();
    const std::uint64_t number = state.log_head.load(std::memory_order_relaxed);
    LogRecord& record = memory.log(number);
    record.sequence.store(2 * number + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    record.pulse_id = pulse_id;
    record.time_ns = time_ns;
    record.slot = slot;
    LogModule* modules = Memory::modules(record);
    for (std::size_t i = 0; i < memory.header().n_modules; ++i) modules[i] = {owners[i], missing[i]};
    record.sequence.store(2 * number + 2, std::memory_order_release);
    memory.slot_event(slot).store(number + 1, std::memory_order_release);
    state.log_head.store(number + 1, std::memory_order_release);
    return number;
}

void Slots::wake() const {
    RingState& state = memory.state();
    state.wake.fetch_add(1, std::memory_order_release);
    futex(state.wake, FUTEX_WAKE, INT_MAX, nullptr);
}

bool Slots::wait(std::uint64_t number, double timeout_s) const {
    RingState& state = memory.state();
    const std::uint32_t seen = state.wake.load(std::memory_order_acquire);
    if (state.log_head.load(std::memory_order_acquire) > number) return true;
    if (state.finished.load(std::memory_order_acquire) != 0) return false;
    timespec timeout{};
    timeout.tv_sec = static_cast<time_t>(timeout_s);
    timeout.tv_nsec = static_cast<long>((timeout_s - static_cast<double>(timeout.tv_sec)) * 1e9);
    futex(state.wake, FUTEX_WAIT, seen, &timeout);
    return state.log_head.load(std::memory_order_acquire) > number;
}

bool Slots::read_log(std::uint64_t number, std::uint64_t* head, std::uint64_t* owners,
                     std::uint32_t* missing) const {
    LogRecord& record = memory.log(number);
    if (record.sequence.load(std::memory_order_acquire) != 2 * number + 2) return false;
    head[0] = record.pulse_id;
    head[1] = record.time_ns;
    head[2] = record.slot;
    const LogModule* modules = Memory::modules(record);
    for (std::size_t i = 0; i < memory.header().n_modules; ++i) {
        owners[i] = modules[i].owner;
        missing[i] = static_cast<std::uint32_t>(modules[i].missing_packets);
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    return record.sequence.load(std::memory_order_relaxed) == 2 * number + 2;
}

bool Slots::whole(std::size_t slot, const std::uint64_t* owners) const {
    for (std::size_t i = 0; i < memory.header().n_modules; ++i)
        if (owners[i] != 0 && !owned_after(memory.record(slot, i), owners[i])) return false;
    return true;
}

bool Slots::copy_pixels(std::size_t slot, const std::uint64_t* owners, std::uint8_t* out) const {
    const std::size_t n = memory.header().frame_bytes;
    for (std::size_t i = 0; i < memory.header().n_modules; ++i) {
        if (owners[i] == 0) {
            std::memset(out + i * n, 0, n);
            continue;
        }
        const ModuleRecord& record = memory.record(slot, i);
        if (!owned_before(record, owners[i])) return false;
        std::memcpy(out + i * n, memory.pixels(slot, i), n);
        if (!owned_after(record, owners[i])) return false;
    }
    return true;
}

bool Slots::copy_headers(std::size_t slot, const std::uint64_t* owners, std::uint8_t* out) const {
    const std::size_t n = memory.header().header_bytes;
    for (std::size_t i = 0; i < memory.header().n_modules; ++i) {
        if (owners[i] == 0) {
            std::memset(out + i * n, 0, n);
            continue;
        }
        ModuleRecord& record = memory.record(slot, i);
        if (!owned_before(record, owners[i])) return false;
        std::memcpy(out + i * n, Memory::detector_header(record), n);
        if (!owned_after(record, owners[i])) return false;
    }
    return true;
}

bool Slots::copy_packet_bits(std::size_t slot, const std::uint64_t* owners, std::uint64_t* out) const {
    const std::size_t n = round_up(memory.header().packets_per_module, 64) / 64;
    for (std::size_t i = 0; i < memory.header().n_modules; ++i) {
        if (owners[i] == 0) {
            std::memset(out + i * n, 0, 8 * n);
            continue;
        }
        ModuleRecord& record = memory.record(slot, i);
        if (!owned_before(record, owners[i])) return false;
        std::memcpy(out + i * n, memory.packet_bits(record), 8 * n);
        if (!owned_after(record, owners[i])) return false;
    }
    return true;
}

// False where no sum that adds up could be had: the writer died while it wrote.
bool Slots::counters(std::size_t block, std::uint64_t* out, std::size_t n) const {
    const Word* words = memory.counters(block);
    for (int i = 0; i < 1000; ++i) {
        const std::uint64_t lock = words[kCounterWords - 1].load(std::memory_order_acquire);
        for (std::size_t k = 0; k < n; ++k) out[k] = words[k].load(std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_acquire);
        if (lock % 2 == 0 && words[kCounterWords - 1].load(std::memory_order_relaxed) == lock) return true;
        sched_yield();
    }
    return false;
}

std::size_t Slots::resting(std::vector<FrameRecord>& out) const {
    const RingHeader& h = memory.header();
    for (std::size_t slot = 0; slot < h.n_slots; ++slot)
        for (std::size_t module = 0; module < h.n_modules; ++module) {
            const ModuleRecord& record = memory.record(slot, module);
            const std::uint64_t owner = record.owner.load(std::memory_order_acquire);
            if (owner == 0 || owner % 2 != 0) continue;
            const FrameRecord frame{record.pulse_id,
                                    owner,
                                    record.time_ns,
                                    static_cast<std::uint32_t>(slot),
                                    static_cast<std::uint32_t>(module),
                                    static_cast<std::uint32_t>(h.packets_per_module - record.n_packets),
                                    record.epoch};
            if (owned_after(record, owner)) out.push_back(frame);
        }
    return out.size();
}

}  // namespace forebay
