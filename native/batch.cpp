// Datagrams in, many at a time with their senders: for sources of a modest rate whose bytes Python splits.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <nanobind/ndarray.h>

#include "bind.hpp"

namespace nb = nanobind;

namespace forebay {

namespace {

using Rows = nb::ndarray<std::uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Sizes = nb::ndarray<std::uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

constexpr std::size_t kAddressBytes = 16;
constexpr std::size_t kMaxBatch = 128;

// The address of a sender as IPv6; one of IPv4 as ::ffff:a.b.c.d.
void write_address(const sockaddr_storage& from, std::uint8_t* out) {
    std::memset(out, 0, kAddressBytes);
    if (from.ss_family == AF_INET6) {
        std::memcpy(out, &reinterpret_cast<const sockaddr_in6&>(from).sin6_addr, kAddressBytes);
    } else if (from.ss_family == AF_INET) {
        out[10] = out[11] = 0xff;
        std::memcpy(out + 12, &reinterpret_cast<const sockaddr_in&>(from).sin_addr, 4);
    }
}

// Take what waits in the socket, one datagram a row, at most as many as there are rows.
std::size_t receive_datagrams(int fd, const Rows& rows, const Sizes& sizes, const Rows& senders) {
    const std::size_t n = rows.shape(0), length = rows.shape(1);
    if (sizes.shape(0) != n || senders.shape(0) != n || senders.shape(1) != kAddressBytes)
        throw std::invalid_argument("a size and 16 bytes of address for each row");
    std::uint8_t* data = rows.data();
    std::uint8_t* addresses = senders.data();
    std::uint32_t* lengths = sizes.data();

    nb::gil_scoped_release unlocked;
    std::array<mmsghdr, kMaxBatch> messages;
    std::array<iovec, kMaxBatch> parts;
    std::array<sockaddr_storage, kMaxBatch> from;
    std::size_t taken = 0;
    while (taken < n) {
        const std::size_t batch = std::min(kMaxBatch, n - taken);
        for (std::size_t i = 0; i < batch; ++i) {
            parts[i] = {data + (taken + i) * length, length};
            messages[i] = {};
            messages[i].msg_hdr.msg_iov = &parts[i];
            messages[i].msg_hdr.msg_iovlen = 1;
            messages[i].msg_hdr.msg_name = &from[i];
            messages[i].msg_hdr.msg_namelen = sizeof from[i];
        }
        // MSG_TRUNC: the length of the datagram, also where the row is too short for it.
        const int got = recvmmsg(fd, messages.data(), static_cast<unsigned>(batch), MSG_DONTWAIT | MSG_TRUNC, nullptr);
        if (got < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN || errno == EWOULDBLOCK) break;
            throw std::runtime_error(std::string("recvmmsg: ") + std::strerror(errno));
        }
        for (std::size_t i = 0; i < static_cast<std::size_t>(got); ++i) {
            lengths[taken + i] = messages[i].msg_len;
            write_address(from[i], addresses + (taken + i) * kAddressBytes);
        }
        taken += static_cast<std::size_t>(got);
        if (static_cast<std::size_t>(got) < batch) break;
    }
    return taken;
}

}  // namespace

void bind_batch(nb::module_& m) {
    m.def("receive_datagrams", &receive_datagrams, nb::arg("fd"), nb::arg("rows"), nb::arg("sizes"),
          nb::arg("senders"));
}

}  // namespace forebay
