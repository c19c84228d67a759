#include "blocks.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <stdexcept>
#include <string>
#include <utility>

namespace forebay {

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kWatch = kSecond / 10;
constexpr std::int64_t kBusyHz = 6000;  // datagrams: a wake-up for each costs more than a timer for many
constexpr std::int64_t kShortest = 100'000;  // ns for which a timer is worth while
constexpr std::int64_t kLongest = 50'000'000;
constexpr std::int64_t kMargin = 50'000;  // ns after which what is expected has come, most of the time
constexpr std::int64_t kDatagramMemory = 4096;  // of the socket's buffer, at most

std::int64_t clock_ns(clockid_t clock) {
    timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * kSecond + time.tv_nsec;
}

// All 0, which nobody sends from, where it is neither IPv4 nor IPv6.
Address address_of(const sockaddr_storage& from) {
    Address address{};
    if (from.ss_family == AF_INET6) {
        std::memcpy(address.data(), &reinterpret_cast<const sockaddr_in6&>(from).sin6_addr, kAddressBytes);
    } else if (from.ss_family == AF_INET) {
        address[10] = address[11] = 0xff;
        std::memcpy(&address[12], &reinterpret_cast<const sockaddr_in&>(from).sin_addr, 4);
    }
    return address;
}

}  // namespace

int ModuleAddresses::module(const Address& from) const {
    for (const auto& [listed, module] : listed)
        if (listed == from) return module;
    constexpr std::uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return std::memcmp(from.data(), kMapped, sizeof kMapped) == 0 ? of_last_byte[from[15]] : -1;
}

BlockPort::BlockPort(int fd, ModuleAddresses addresses)
    : fd_(fd), addresses_(std::move(addresses)), rows_(new std::uint8_t[kBatch * kRowBytes]) {
    for (std::size_t i = 0; i < kBatch; ++i) {
        parts_[i] = {rows_.get() + i * kRowBytes, kRowBytes};
        messages_[i].msg_hdr.msg_iov = &parts_[i];
        messages_[i].msg_hdr.msg_iovlen = 1;
        messages_[i].msg_hdr.msg_name = &from_[i];
        messages_[i].msg_hdr.msg_control = control_[i].bytes;
    }
    const int on = 1;
    if (setsockopt(fd_, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) < 0)
        throw std::runtime_error(std::string("SO_TIMESTAMPNS: ") + std::strerror(errno));
}

// Put the blocks of what comes into `readouts`, until something is due there or the time is over. Return
// whether anything came, and whether something is due. With `gather_ns`, look seldom: when a readout is likely
// to be complete, and where there are many datagrams so long after the last look.
BlockPort::Filled BlockPort::fill(OpenReadouts& readouts, std::int64_t timeout_ns, std::int64_t gather_ns) {
    if (timeout_ns != waits_ns_ && timeout_ns > 0) {
        const timeval time{timeout_ns / kSecond, timeout_ns % kSecond / 1000};
        if (setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) < 0)
            throw std::runtime_error(std::string("SO_RCVTIMEO: ") + std::strerror(errno));
        waits_ns_ = timeout_ns;
    }
    const std::int64_t end_ns = clock_ns(CLOCK_MONOTONIC) + timeout_ns;
    bool has_come = next_ < got_;
    for (;;) {
        if (next_ == got_) {
            if (timeout_ns > 0 && gather_ns > 0) nap(readouts, gather_ns, end_ns);
            if (!receive(timeout_ns > 0)) break;
        }
        has_come = true;
        while (next_ < got_) {
            place(readouts, next_++);
            if (readouts.is_disturbed()) return {true, true};
        }
        if (readouts.is_due(now_ns_)) return {true, true};
        if (now_ns_ >= end_ns) return {true, false};
    }
    return {has_come, readouts.is_due(clock_ns(CLOCK_MONOTONIC))};
}

// Sleep until a readout is likely to be complete; or, where it should be by now, until many datagrams came.
void BlockPort::nap(const OpenReadouts& readouts, std::int64_t gather_ns, std::int64_t end_ns) const {
    const std::int64_t expected_ns = readouts.expected_ns();
    const std::int64_t now_ns = clock_ns(CLOCK_MONOTONIC);
    // What has not begun may come sooner: a camera need not take readouts evenly.
    const std::int64_t most_ns = readouts.size() ? kSecond : gather_ns;
    std::int64_t left_ns = expected_ns ? expected_ns + kMargin - clock_ns(CLOCK_REALTIME) : 0;
    if (left_ns < kShortest || left_ns > most_ns) left_ns = is_busy_ ? now_ns_ + gather_ns - now_ns : 0;
    left_ns = std::min({left_ns, kLongest, spared_ns_, end_ns - now_ns});
    if (left_ns < kShortest) return;
    const timespec time{0, left_ns};
    nanosleep(&time, nullptr);
}

// Take what waits in the socket; whether anything came before the time was over or a signal arrived.
bool BlockPort::receive(bool waits) {
    for (std::size_t i = 0; i < kBatch; ++i) {
        messages_[i].msg_hdr.msg_namelen = sizeof from_[i];
        messages_[i].msg_hdr.msg_controllen = sizeof control_[i].bytes;
    }
    // MSG_TRUNC: the length of the datagram, also where the row is too short for it.
    const int flags = MSG_TRUNC | (waits ? MSG_WAITFORONE : MSG_DONTWAIT);
    const int got = recvmmsg(fd_, messages_.data(), kBatch, flags, nullptr);
    if (got < 0) {
        if (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK) return false;
        throw std::runtime_error(std::string("recvmmsg: ") + std::strerror(errno));
    }
    next_ = 0;
    got_ = static_cast<std::size_t>(got);
    now_ns_ = clock_ns(CLOCK_MONOTONIC);
    looked_ns_ = clock_ns(CLOCK_REALTIME);
    watch_rate(now_ns_);
    return got > 0;
}

// When the kernel got a datagram; it does not say so of those that came before it was asked.
std::int64_t BlockPort::arrived_ns(std::size_t i) {
    const cmsghdr* said = CMSG_FIRSTHDR(&messages_[i].msg_hdr);
    if (said == nullptr || said->cmsg_type != SCM_TIMESTAMPNS) return looked_ns_;
    timespec time;
    std::memcpy(&time, CMSG_DATA(said), sizeof time);
    return time.tv_sec * kSecond + time.tv_nsec;
}

void BlockPort::place(OpenReadouts& readouts, std::size_t i) {
    const std::size_t length = messages_[i].msg_len;
    const Address sender = address_of(from_[i]);
    const int module = addresses_.module(sender);
    count(kDatagrams, 1);
    count(kBytes, static_cast<std::int64_t>(length));
    if (module < 0) return count(kForeign, 1);
    if (length == 0 || length > kRowBytes || length % kBlockBytes != 0) return count(kMalformed, 1);
    count(kUsedDatagrams, 1);
    const auto i_module = static_cast<std::size_t>(module);
    const auto before = of_module_[i_module].fetch_add(1, std::memory_order_relaxed);
    if (before > 0 && sender_[i_module] != sender) changes_[i_module].fetch_add(1, std::memory_order_relaxed);
    sender_[i_module] = sender;
    readouts.add(i_module, rows_.get() + i * kRowBytes, length / kBlockBytes, arrived_ns(i), now_ns_);
}

// Find out, ten times a second, whether there are many datagrams, and how long they may wait in the socket.
void BlockPort::watch_rate(std::int64_t now_ns) {
    const std::int64_t passed_ns = now_ns - watched_ns_;
    if (passed_ns < kWatch) return;
    const std::int64_t n = counters_[kDatagrams].load(std::memory_order_relaxed);
    const std::int64_t hz = std::max<std::int64_t>(1, (n - n_watched_) * kSecond / passed_ns);
    int buffer_bytes = 0;
    socklen_t size = sizeof buffer_bytes;
    getsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, &size);
    is_busy_ = hz > kBusyHz;
    spared_ns_ = buffer_bytes / kDatagramMemory * kSecond / 2 / hz;
    watched_ns_ = now_ns;
    n_watched_ = n;
}

std::array<std::int64_t, BlockPort::kCounters> BlockPort::counters() const {
    std::array<std::int64_t, kCounters> out;
    for (std::size_t i = 0; i < kCounters; ++i) out[i] = counters_[i].load(std::memory_order_relaxed);
    return out;
}

std::array<std::int64_t, kModules> BlockPort::datagrams_of_module() const {
    std::array<std::int64_t, kModules> out;
    for (std::size_t i = 0; i < kModules; ++i) out[i] = of_module_[i].load(std::memory_order_relaxed);
    return out;
}

std::array<std::int64_t, kModules> BlockPort::changes_of_module() const {
    std::array<std::int64_t, kModules> out;
    for (std::size_t i = 0; i < kModules; ++i) out[i] = changes_[i].load(std::memory_order_relaxed);
    return out;
}

}  // namespace forebay
