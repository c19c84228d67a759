// Datagrams out, many at a time: for simulators and replay.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>

#include <nanobind/ndarray.h>

#include "bind.hpp"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

namespace nb = nanobind;

namespace forebay {

namespace {

using Datagrams = nb::ndarray<const std::uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

constexpr std::size_t kMaxBatch = 32;
constexpr std::size_t kMaxPayload = 65507;

// Send all rows on a connected socket; several rows leave as one segmented message where `segment`.
std::size_t send_datagrams(int fd, const Datagrams& datagrams, bool segment) {
    const std::size_t n = datagrams.shape(0), length = datagrams.shape(1);
    if (length == 0 || length > kMaxPayload) throw std::invalid_argument("a datagram has 1 to 65507 bytes");
    const std::size_t rows = segment ? std::clamp<std::size_t>(kMaxPayload / length, 1, 64) : 1;
    auto* data = const_cast<std::uint8_t*>(datagrams.data());
    std::array<mmsghdr, kMaxBatch> messages{};
    std::array<iovec, kMaxBatch> parts{};
    alignas(cmsghdr) std::array<std::uint8_t, CMSG_SPACE(sizeof(std::uint16_t))> control{};
    auto* c = reinterpret_cast<cmsghdr*>(control.data());
    c->cmsg_level = IPPROTO_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof(std::uint16_t));
    const auto size = static_cast<std::uint16_t>(length);
    std::memcpy(CMSG_DATA(c), &size, sizeof size);

    nb::gil_scoped_release unlocked;
    std::size_t sent = 0;
    while (sent < n) {
        std::size_t batch = 0;
        for (std::size_t at = sent; at < n && batch < kMaxBatch; ++batch) {
            const std::size_t k = std::min(rows, n - at);
            parts[batch] = {data + at * length, k * length};
            messages[batch] = {};
            messages[batch].msg_hdr.msg_iov = &parts[batch];
            messages[batch].msg_hdr.msg_iovlen = 1;
            if (k > 1) {
                messages[batch].msg_hdr.msg_control = control.data();
                messages[batch].msg_hdr.msg_controllen = control.size();
            }
            at += k;
        }
        const int done = sendmmsg(fd, messages.data(), static_cast<unsigned>(batch), 0);
        if (done > 0) {
            for (int i = 0; i < done; ++i) sent += parts[static_cast<std::size_t>(i)].iov_len / length;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) {
            pollfd writable{fd, POLLOUT, 0};
            poll(&writable, 1, 10);
        } else if (errno != EINTR && errno != ECONNREFUSED) {
            throw std::runtime_error(std::string("sendmmsg: ") + std::strerror(errno));
        }
    }
    return sent;
}

}  // namespace

void bind_send(nb::module_& m) {
    m.def("send_datagrams", &send_datagrams, nb::arg("fd"), nb::arg("datagrams"), nb::arg("segment"));
}

}  // namespace forebay
