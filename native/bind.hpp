// Classes that several translation units share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <nanobind/nanobind.h>

#include "slots.hpp"

namespace forebay {

// A finished frame, as `forebay.ring.slots.FRAME` describes it.
struct FrameRecord {
    std::uint64_t pulse_id, owner, time_ns;
    std::uint32_t slot, module, missing_packets, epoch;
};
static_assert(sizeof(FrameRecord) == 40);

// A ring mapped into this process.
class Slots {
public:
    Slots(int fd, bool writable);
    ~Slots();
    Slots(const Slots&) = delete;
    Slots& operator=(const Slots&) = delete;

    static std::size_t format(int fd, std::uint64_t generation, std::uint64_t n_slots, std::uint64_t n_modules,
                              std::uint64_t n_log, std::uint64_t frame_bytes, std::uint64_t packets_per_module,
                              std::uint64_t header_bytes, std::uint64_t pulse_step, const std::string& info);
    void touch() const;
    bool write_frame(std::size_t slot, std::size_t module, std::uint64_t pulse_id, std::uint64_t time_ns,
                     const std::uint8_t* header, const std::uint8_t* frame, FrameRecord& done) const;
    std::uint64_t release(std::uint64_t pulse_id, std::uint64_t time_ns, std::uint64_t slot,
                          const std::uint64_t* owners, const std::uint32_t* missing) const;
    void wake() const;
    bool wait(std::uint64_t number, double timeout_s) const;
    bool read_log(std::uint64_t number, std::uint64_t* head, std::uint64_t* owners, std::uint32_t* missing) const;
    bool whole(std::size_t slot, const std::uint64_t* owners) const;
    bool copy_pixels(std::size_t slot, const std::uint64_t* owners, std::uint8_t* out) const;
    bool copy_headers(std::size_t slot, const std::uint64_t* owners, std::uint8_t* out) const;
    bool copy_packet_bits(std::size_t slot, const std::uint64_t* owners, std::uint64_t* out) const;
    bool counters(std::size_t block, std::uint64_t* out, std::size_t n) const;
    std::size_t resting(std::vector<FrameRecord>& out) const;

    bool writable() const { return writable_; }

    Memory memory;

private:
    std::size_t size_ = 0;
    bool writable_;
};

void bind_slots(nanobind::module_& m);
void bind_receive(nanobind::module_& m);
void bind_send(nanobind::module_& m);
void bind_batch(nanobind::module_& m);
void bind_readouts(nanobind::module_& m);

}  // namespace forebay
