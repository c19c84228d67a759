// Where one batch of datagrams lies until each is placed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>

#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>

namespace forebay {

// What one batch brings must stay in the second-level cache until it is placed.
constexpr std::size_t kMaxBatch = 16;
constexpr std::size_t kMaxDatagram = 65536;
constexpr std::size_t kStride = kMaxDatagram + 4096 + 64;  // not a power of two: no cache set is favoured
constexpr std::size_t kControl = 128;

// Receive buffers of one batch; a message may hold several datagrams of one length.
struct Buffers {
    std::uint8_t* data;
    std::array<mmsghdr, kMaxBatch> messages{};
    std::array<iovec, kMaxBatch> parts{};
    std::array<sockaddr_in, kMaxBatch> sources{};
    std::array<std::array<std::uint8_t, kControl>, kMaxBatch> controls{};

    Buffers() {
        void* base = mmap(nullptr, kMaxBatch * kStride, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base == MAP_FAILED) throw std::bad_alloc();
        data = static_cast<std::uint8_t*>(base);
    }
    ~Buffers() { munmap(data, kMaxBatch * kStride); }
    Buffers(const Buffers&) = delete;
    Buffers& operator=(const Buffers&) = delete;

    void reset(std::size_t i) {
        parts[i] = {data + i * kStride, kMaxDatagram};
        msghdr& m = messages[i].msg_hdr;
        m.msg_iov = &parts[i];
        m.msg_iovlen = 1;
        m.msg_name = &sources[i];
        m.msg_namelen = sizeof(sockaddr_in);
        m.msg_control = controls[i].data();
        m.msg_controllen = kControl;
        m.msg_flags = 0;
    }
};

}  // namespace forebay
