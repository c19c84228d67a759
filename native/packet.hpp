// Numbers out of a packet's header, and its payload into its place.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace forebay {

// Where a number lies in the header: kind is 'u', 'i' or 'f' as numpy calls it.
struct Field {
    std::size_t offset = 0, size = 0;
    char kind = 0;
};

inline std::uint64_t unsigned_at(const std::uint8_t* header, const Field& field) {
    std::uint64_t value = 0;
    std::memcpy(&value, header + field.offset, field.size);  // little endian, as this machine
    return value;
}

// False where the field holds no pulse id.
inline bool pulse_at(const std::uint8_t* header, const Field& field, std::uint64_t& pulse) {
    if (field.kind == 'f') {
        double value = 0;
        std::memcpy(&value, header + field.offset, 8);
        if (!(value >= 0.0 && value < 9007199254740992.0) || value != std::floor(value)) return false;
        pulse = static_cast<std::uint64_t>(value);
        return true;
    }
    pulse = unsigned_at(header, field);
    return pulse >> 63 == 0;
}

// Copy a payload past the caches: nobody looks at it before the frame is done, and a line of the ring
// that is about to be overwritten need not be read first. Ordered by `placed`.
inline void place(std::uint8_t* to, const std::uint8_t* from, std::size_t n_bytes) {
#if defined(__SSE2__)
    if (reinterpret_cast<std::uintptr_t>(to) % 16 == 0 && n_bytes % 64 == 0) {
        auto* out = reinterpret_cast<__m128i*>(to);
        const auto* in = reinterpret_cast<const __m128i*>(from);
        for (std::size_t i = 0; i < n_bytes / 64; ++i, in += 4, out += 4) {
            const __m128i a = _mm_loadu_si128(in), b = _mm_loadu_si128(in + 1);
            const __m128i c = _mm_loadu_si128(in + 2), d = _mm_loadu_si128(in + 3);
            _mm_stream_si128(out, a);
            _mm_stream_si128(out + 1, b);
            _mm_stream_si128(out + 2, c);
            _mm_stream_si128(out + 3, d);
        }
        return;
    }
#endif
    std::memcpy(to, from, n_bytes);
}

// What was stored or placed before this is in memory before anything that comes after it.
inline void placed() {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

}  // namespace forebay
