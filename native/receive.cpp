// One UDP port of one module: drain the socket in batches, validate each packet, copy its payload once
// into its place in the ring, hand finished frames over. Driven by numbers; knows no detector.
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <stdexcept>
#include <string>
#include <vector>

#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include "bind.hpp"
#include "buffers.hpp"
#include "packet.hpp"
#include "queue.hpp"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

namespace nb = nanobind;

namespace forebay {

namespace {

// Order of `forebay.ring.slots.RECEIVE_COUNTERS`; the last word of a block is its sequence lock.
enum Counter {
    kReceived, kPlaced, kDuplicate, kLate, kMalformed, kForeign, kOverrun,
    kKernelDrop, kBytes, kFrames, kIncomplete, kMissing, kFollowed, kCounters
};
constexpr std::size_t kCounterLock = kCounterWords - 1;

constexpr std::size_t kCoalescedBatch = 4;  // messages of up to 64 KiB
constexpr std::uint64_t kPatience = 4;

std::uint64_t clock_ns(clockid_t clock) {
    timespec t{};
    clock_gettime(clock, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1000000000u + static_cast<std::uint64_t>(t.tv_nsec);
}

struct OpenFrame {
    std::uint64_t pulse_id, opened_ns, heard_ns, number;
    std::size_t slot;
    ModuleRecord* record;
    std::uint64_t* bits;
    std::uint8_t* pixels;
};

class Port {
public:
    Port(const Slots& slots, int fd, int wake_fd, std::size_t module, std::size_t payload_bytes, Field pulse,
         Field packet, Field module_field, std::int64_t module_id, std::uint32_t source, std::size_t reorder, std::uint64_t window, double max_rate,
         std::uint64_t timeout_ns, std::uint64_t idle_ns, std::uint64_t quiet_ns, std::size_t queue)
        : memory_(slots.memory), fd_(fd), wake_fd_(wake_fd), module_(module),
          header_bytes_(slots.memory.header().header_bytes), payload_bytes_(payload_bytes),
          packets_(slots.memory.header().packets_per_module), step_(slots.memory.header().pulse_step),
          pulse_(pulse), packet_(packet), module_field_(module_field), module_id_(module_id), source_(source), reorder_(reorder), window_(window),
          max_rate_(max_rate), timeout_ns_(timeout_ns), idle_ns_(idle_ns), quiet_ns_(quiet_ns), queue_(queue) {
        if (!slots.writable()) throw std::invalid_argument("the ring is mapped read-only");
        if (module >= memory_.header().n_modules) throw std::invalid_argument("the ring has no such module");
        if (payload_bytes * packets_ != memory_.header().frame_bytes)
            throw std::invalid_argument("packets do not fill the ring's frame");
        if (2 * window > memory_.header().n_slots || window == 0)
            throw std::invalid_argument("the ring needs at least twice as many slots as the window");
        for (const Field& field : {pulse, packet, module_field})
            if (field.offset + field.size > header_bytes_ || field.size > 8)
                throw std::invalid_argument("a field lies outside the header");
        if (pulse.kind == 'f' && pulse.size != 8)
            throw std::invalid_argument("a pulse id that is no integer must be a double");
        open_.reserve(reorder + 2);
    }

    // Until `stop`: then what the socket still holds is drained and what is open is closed.
    void run() {
        Buffers buffers;
        const int on = 1;
        const bool coalesce = setsockopt(fd_, IPPROTO_UDP, UDP_GRO, &on, sizeof on) == 0;
        std::size_t batch = kMaxBatch, used = kMaxBatch;
        for (;;) {
            const bool stopping = stop_.load(std::memory_order_relaxed);
            for (std::size_t i = 0; i < used; ++i) buffers.reset(i);
            const int n = recvmmsg(fd_, buffers.messages.data(), static_cast<unsigned>(batch),
                                   stopping ? MSG_DONTWAIT : MSG_WAITFORONE, nullptr);
            if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR && errno != ECONNREFUSED)
                throw std::runtime_error(std::string("recvmmsg: ") + std::strerror(errno));
            used = static_cast<std::size_t>(std::max(n, 0));
            now_ns_ = clock_ns(CLOCK_MONOTONIC);
            const std::size_t finished = counts_[kFrames];
            bool coalesced = false;
            for (int i = 0; i < n; ++i) coalesced |= take_message(buffers, static_cast<std::size_t>(i));
            if (coalesce) batch = coalesced ? kCoalescedBatch : kMaxBatch;
            close_overdue();
            if (n <= 0) ask_for_drops();
            if (stopping && n <= 0) {
                while (!open_.empty()) close(oldest());
                publish();
                signal();
                return;
            }
            publish();
            if (counts_[kFrames] != finished) signal();
        }
    }

    void stop() { stop_.store(true, std::memory_order_relaxed); }

    FrameQueue& queue() { return queue_; }

private:
    // True where the kernel had coalesced several datagrams.
    bool take_message(Buffers& buffers, std::size_t i) {
        msghdr& m = buffers.messages[i].msg_hdr;
        const std::size_t length = buffers.messages[i].msg_len;
        std::size_t segment = length;
        for (cmsghdr* c = CMSG_FIRSTHDR(&m); c != nullptr; c = CMSG_NXTHDR(&m, c)) {
            if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
                std::uint32_t dropped = 0;
                std::memcpy(&dropped, CMSG_DATA(c), sizeof dropped);
                count_drops(dropped);
            } else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
                int size = 0;
                std::memcpy(&size, CMSG_DATA(c), sizeof size);
                if (size > 0) segment = std::min(static_cast<std::size_t>(size), length);
            }
        }
        counts_[kBytes] += length;
        const bool known = source_ == 0 || buffers.sources[i].sin_addr.s_addr == source_;
        const std::uint8_t* at = buffers.data + i * kStride;
        std::size_t left = length;
        do {
            const std::size_t n = std::min(segment, left);
            ++counts_[kReceived];
            ++counts_[known ? take_packet(at, n) : kForeign];
            at += n;
            left -= n;
        } while (left > 0);
        return segment < length;
    }

    // The kernel's own count since the socket was made; it wraps.
    void count_drops(std::uint32_t dropped) {
        counts_[kKernelDrop] += static_cast<std::uint32_t>(dropped - dropped_);
        dropped_ = dropped;
    }

    // What was dropped behind the last packet comes with no packet.
    void ask_for_drops() {
        std::array<std::uint32_t, SK_MEMINFO_VARS> memory{};
        socklen_t size = sizeof memory;
        if (getsockopt(fd_, SOL_SOCKET, SO_MEMINFO, memory.data(), &size) == 0 && size == sizeof memory)
            count_drops(memory[SK_MEMINFO_DROPS]);
    }

    Counter take_packet(const std::uint8_t* packet, std::size_t length) {
        if (length != header_bytes_ + payload_bytes_) return kMalformed;
        if (module_id_ >= 0 && unsigned_at(packet, module_field_) != static_cast<std::uint64_t>(module_id_))
            return kForeign;
        const std::uint64_t number = unsigned_at(packet, packet_);
        std::uint64_t pulse = 0;
        if (number >= packets_ || !pulse_at(packet, pulse_, pulse) || pulse % step_ != 0) return kMalformed;
        OpenFrame* frame = find(pulse);
        if (frame == nullptr) {
            const Counter refusal = admit(pulse, number);
            if (refusal != kPlaced) return refusal;
            frame = open(pulse, packet);
        }
        const std::uint64_t bit = std::uint64_t{1} << (number % 64);
        std::uint64_t& bits = frame->bits[number / 64];
        if ((bits & bit) != 0) return kDuplicate;
        place(frame->pixels + number * payload_bytes_, packet + header_bytes_, payload_bytes_);
        bits |= bit;
        refused_ = 0;
        placed_ns_ = frame->heard_ns = now_ns_;
        if (++frame->record->n_packets == packets_) close(static_cast<std::size_t>(frame - open_.data()));
        return kPlaced;
    }

    OpenFrame* find(std::uint64_t pulse) {
        for (OpenFrame& frame : open_)
            if (frame.pulse_id == pulse) return &frame;
        return nullptr;
    }

    // Whether a frame may be opened for `pulse`: kPlaced, or the reason why not.
    Counter admit(std::uint64_t pulse, std::uint64_t number) {
        if (queue_.room() <= open_.size() + 1) return kOverrun;
        if (!started_) return kPlaced;
        Counter refusal = kPlaced;
        if (pulse > newest_) {
            if ((pulse - newest_) / step_ > window_ + farthest()) refusal = kMalformed;
        } else if ((newest_ - pulse) / step_ >= window_) {
            refusal = kLate;
        } else {
            ModuleRecord& record = memory_.record(memory_.slot_of(pulse), module_);
            if (record.owner.load(std::memory_order_relaxed) != 0 && record.pulse_id == pulse &&
                record.epoch == epoch_) {
                const std::uint64_t bits = memory_.packet_bits(record)[number / 64];
                if ((bits >> (number % 64) & 1) == 0) return kLate;  // the rest of a frame given up: no restart
                refusal = kDuplicate;
            }
        }
        if (refusal == kPlaced || !follows(pulse)) return refusal;
        while (!open_.empty()) close(oldest());
        ++epoch_;
        ++counts_[kFollowed];
        started_ = false;
        return kPlaced;
    }

    // How many steps the counter may have made since the last packet was placed.
    std::uint64_t farthest() const {
        return static_cast<std::uint64_t>(static_cast<double>(now_ns_ - placed_ns_) * 1e-9 * max_rate_);
    }

    // A refused packet is noise, unless the port was quiet before it or nothing but refused packets of
    // one plausible sequence came for two frames: then the detector's counter restarted or jumped.
    bool follows(std::uint64_t pulse) {
        const std::uint64_t distance = pulse > suspect_ ? pulse - suspect_ : suspect_ - pulse;
        refused_ = refused_ == 0 || distance / step_ <= window_ + farthest() ? refused_ + 1 : 1;
        suspect_ = pulse;
        return now_ns_ - placed_ns_ > quiet_ns_ || refused_ > 2 * packets_;
    }

    OpenFrame* open(std::uint64_t pulse, const std::uint8_t* header) {
        if (!started_ || pulse > newest_) newest_ = pulse;
        started_ = true;
        while (!open_.empty() && (newest_ - open_[oldest()].pulse_id) / step_ >= window_) close(oldest());
        ++opened_;
        for (std::size_t i = open_.size(); i-- > 0;)
            if (opened_ - open_[i].number > reorder_) close(i);
        const std::size_t slot = memory_.slot_of(pulse);
        ModuleRecord& record = memory_.record(slot, module_);
        claim(record);
        placed();  // no pixel may be seen to change before the owner word
        record.pulse_id = pulse;
        record.time_ns = clock_ns(CLOCK_REALTIME);
        record.n_packets = 0;
        record.epoch = epoch_;
        std::memcpy(Memory::detector_header(record), header, header_bytes_);
        std::uint64_t* bits = memory_.packet_bits(record);
        std::memset(bits, 0, round_up(packets_, 64) / 8);
        open_.push_back({pulse, now_ns_, now_ns_, opened_, slot, &record, bits, memory_.pixels(slot, module_)});
        return &open_.back();
    }

    std::size_t oldest() const {
        return static_cast<std::size_t>(
            std::min_element(open_.begin(), open_.end(),
                             [](const OpenFrame& a, const OpenFrame& b) { return a.pulse_id < b.pulse_id; }) -
            open_.begin());
    }

    // Put an open frame to rest; what is missing of it becomes zeros.
    void close(std::size_t i) {
        const OpenFrame frame = open_[i];
        open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(i));
        const std::uint32_t missing = static_cast<std::uint32_t>(packets_) - frame.record->n_packets;
        if (missing != 0) {
            for (std::size_t number = 0; number < packets_; ++number)
                if ((frame.bits[number / 64] >> (number % 64) & 1) == 0)
                    std::memset(frame.pixels + number * payload_bytes_, 0, payload_bytes_);
            ++counts_[kIncomplete];
            counts_[kMissing] += missing;
        }
        ++counts_[kFrames];
        placed();
        const std::uint64_t owner = settle(*frame.record);
        queue_.push({frame.pulse_id, owner, frame.record->time_ns, static_cast<std::uint32_t>(frame.slot),
                     static_cast<std::uint32_t>(module_), missing, epoch_});
    }

    // A frame is given up when it is too old, or when others went on for long without it. A sender that
    // pauses ends no frame; and what waits in the socket may belong to it, however long this thread was held
    // up: only a socket that is empty after the clock was read proves that nothing came. Noise without end
    // must not keep a frame open, though.
    void close_overdue() {
        for (std::size_t i = open_.size(); i-- > 0;) {
            const std::uint64_t age = now_ns_ - open_[i].opened_ns;
            if (age <= timeout_ns_ && placed_ns_ - open_[i].heard_ns <= idle_ns_) continue;
            if (age <= kPatience * timeout_ns_ && more_waits()) return;
            close(i);
        }
    }

    bool more_waits() const { return recv(fd_, nullptr, 0, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC) >= 0; }

    // One writer; the lock lets readers take sums that add up.
    void publish() const {
        Word* words = memory_.counters(module_);
        const std::uint64_t lock = words[kCounterLock].load(std::memory_order_relaxed);
        words[kCounterLock].store(lock + 1, std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_release);
        for (std::size_t i = 0; i < kCounters; ++i) words[i].store(counts_[i], std::memory_order_relaxed);
        words[kCounterLock].store(lock + 2, std::memory_order_release);
    }

    void signal() const {
        const std::uint64_t one = 1;
        if (write(wake_fd_, &one, sizeof one) < 0 && errno != EAGAIN)
            throw std::runtime_error(std::string("eventfd: ") + std::strerror(errno));
    }

    const Memory memory_;
    const int fd_, wake_fd_;
    const std::size_t module_, header_bytes_, payload_bytes_, packets_;
    const std::uint64_t step_;
    const Field pulse_, packet_, module_field_;
    const std::int64_t module_id_;
    const std::uint32_t source_;
    const std::size_t reorder_;
    const std::uint64_t window_;
    const double max_rate_;
    const std::uint64_t timeout_ns_, idle_ns_, quiet_ns_;
    FrameQueue queue_;
    std::atomic<bool> stop_{false};

    std::vector<OpenFrame> open_;
    std::array<std::uint64_t, kCounters> counts_{};
    std::uint64_t now_ns_ = 0, placed_ns_ = 0;
    std::uint64_t newest_ = 0, suspect_ = 0, refused_ = 0, opened_ = 0;
    std::uint32_t epoch_ = 0, dropped_ = 0;
    bool started_ = false;
};

Field field(const nb::tuple& t) {
    return {nb::cast<std::size_t>(t[0]), nb::cast<std::size_t>(t[1]), nb::cast<std::string>(t[2]).at(0)};
}

}  // namespace

void bind_receive(nb::module_& m) {
    nb::class_<Port>(m, "Port")
        .def(
            "__init__",
            [](Port* self, const Slots& slots, int fd, int wake_fd, std::size_t module, std::size_t payload_bytes,
               const nb::tuple& pulse, const nb::tuple& packet, const nb::tuple& module_field,
               std::int64_t module_id, std::uint32_t source, std::size_t reorder,
               std::uint64_t window, double max_rate, std::uint64_t timeout_ns, std::uint64_t idle_ns,
               std::uint64_t quiet_ns, std::size_t queue) {
                new (self) Port(slots, fd, wake_fd, module, payload_bytes, field(pulse), field(packet), field(module_field),
                                module_id, source,
                                reorder, window, max_rate, timeout_ns, idle_ns, quiet_ns, queue);
            },
            nb::arg("slots"), nb::arg("fd"), nb::arg("wake_fd"), nb::arg("module"), nb::arg("payload_bytes"),
            nb::arg("pulse"), nb::arg("packet"), nb::arg("module_field"), nb::arg("module_id"), nb::arg("source"), nb::arg("reorder"), nb::arg("window"),
            nb::arg("max_rate"), nb::arg("timeout_ns"), nb::arg("idle_ns"), nb::arg("quiet_ns"), nb::arg("queue"),
            nb::keep_alive<1, 2>())
        .def("run", &Port::run, nb::call_guard<nb::gil_scoped_release>())
        .def("stop", &Port::stop)
        .def("take", [](Port& self) {
            const std::size_t n = self.queue().waiting();
            auto* frames = new FrameRecord[n];
            self.queue().pop(frames, n);
            nb::capsule owner(frames, [](void* p) noexcept { delete[] static_cast<FrameRecord*>(p); });
            return nb::ndarray<nb::numpy, std::uint8_t>(reinterpret_cast<std::uint8_t*>(frames),
                                                        {n * sizeof(FrameRecord)}, owner);
        });
}

}  // namespace forebay
