// One UDP port to which every module of a camera sends: its datagrams become readouts without Python.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <sys/socket.h>

#include "readouts.hpp"

namespace forebay {

constexpr std::size_t kAddressBytes = 16;
using Address = std::array<std::uint8_t, kAddressBytes>;  // as IPv6; one of IPv4 as ::ffff:a.b.c.d

// Which address is which module; -1 is none.
struct ModuleAddresses {
    std::array<std::int8_t, 256> of_last_byte;  // of any address of IPv4
    std::vector<std::pair<Address, std::int8_t>> listed;

    int module(const Address& from) const;
};

// Used by one thread; the counters may be read by any.
class BlockPort {
public:
    enum Counter { kDatagrams, kUsedDatagrams, kMalformed, kForeign, kBytes, kCounters };

    BlockPort(int fd, ModuleAddresses addresses);
    BlockPort(const BlockPort&) = delete;
    BlockPort& operator=(const BlockPort&) = delete;

    struct Filled {
        bool has_come, is_due;
    };
    Filled fill(OpenReadouts& readouts, std::int64_t timeout_ns, std::int64_t gather_ns);
    std::array<std::int64_t, kCounters> counters() const;
    std::array<std::int64_t, kModules> datagrams_of_module() const;
    std::array<std::int64_t, kModules> changes_of_module() const;  // of the address that a module sends from

private:
    // Rows of whole blocks, longer than any datagram; only pages that are used take memory.
    static constexpr std::size_t kRowBytes = 455 * kBlockBytes;
    static constexpr std::size_t kBatch = 64;

    // What the kernel says of a datagram: when it came.
    struct alignas(cmsghdr) Control {
        char bytes[CMSG_SPACE(sizeof(timespec))];
    };

    bool receive(bool waits);
    void nap(const OpenReadouts& readouts, std::int64_t gather_ns, std::int64_t end_ns) const;
    std::int64_t arrived_ns(std::size_t i);
    void place(OpenReadouts& readouts, std::size_t i);
    void watch_rate(std::int64_t now_ns);
    void count(Counter which, std::int64_t n) { counters_[which].fetch_add(n, std::memory_order_relaxed); }

    const int fd_;
    const ModuleAddresses addresses_;
    const std::unique_ptr<std::uint8_t[]> rows_;
    std::array<mmsghdr, kBatch> messages_{};
    std::array<iovec, kBatch> parts_{};
    std::array<sockaddr_storage, kBatch> from_{};
    std::array<Control, kBatch> control_{};
    std::size_t next_ = 0, got_ = 0;  // datagrams in the rows that are still to be placed
    std::int64_t now_ns_ = 0, looked_ns_ = 0;  // the last look: monotonic, since 1970
    std::int64_t waits_ns_ = 0;
    std::int64_t watched_ns_ = 0, n_watched_ = 0;
    std::int64_t spared_ns_ = 0;  // so long the socket's buffer surely holds what comes
    bool is_busy_ = false;
    std::array<std::atomic<std::int64_t>, kCounters> counters_{};
    std::array<std::atomic<std::int64_t>, kModules> of_module_{}, changes_{};
    std::array<Address, kModules> sender_{};  // of the last datagram of each module
};

}  // namespace forebay
