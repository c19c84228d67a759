#include <stdexcept>
#include <string>

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include "bind.hpp"

namespace nb = nanobind;

namespace forebay {

namespace {

using Bytes = nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using ConstBytes = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Words = nb::ndarray<std::uint64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using ConstWords = nb::ndarray<const std::uint64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Halves = nb::ndarray<std::uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using ConstHalves = nb::ndarray<const std::uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void need(bool condition, const char* what) {
    if (!condition) throw std::invalid_argument(what);
}

void check_slot(const Slots& s, std::size_t slot) { need(slot < s.memory.header().n_slots, "no such slot"); }

void check_owners(const Slots& s, std::size_t slot, std::size_t n) {
    check_slot(s, slot);
    need(n == s.memory.header().n_modules, "one owner word for each module");
}

void check_writable(const Slots& s) { need(s.writable(), "the ring is mapped read-only"); }

nb::dict describe(const Slots& s) {
    const RingHeader& h = s.memory.header();
    nb::dict d;
    d["generation"] = h.generation;
    d["n_slots"] = h.n_slots;
    d["n_modules"] = h.n_modules;
    d["n_log"] = h.n_log;
    d["frame_bytes"] = h.frame_bytes;
    d["packets_per_module"] = h.packets_per_module;
    d["header_bytes"] = h.header_bytes;
    d["pulse_step"] = h.pulse_step;
    d["total_bytes"] = h.total_bytes;
    d["owner_pid"] = h.owner_pid;
    d["info"] = std::string(reinterpret_cast<const char*>(s.memory.base()) + kInfoOffset);
    return d;
}

}  // namespace

void bind_slots(nb::module_& m) {
    nb::class_<Slots>(m, "Slots")
        .def(nb::init<int, bool>(), nb::arg("fd"), nb::arg("writable"))
        .def_static("format", &Slots::format, nb::arg("fd"), nb::arg("generation"), nb::arg("n_slots"),
                    nb::arg("n_modules"), nb::arg("n_log"), nb::arg("frame_bytes"),
                    nb::arg("packets_per_module"), nb::arg("header_bytes"), nb::arg("pulse_step"),
                    nb::arg("info"))
        .def("describe", &describe)
        .def("touch",
             [](const Slots& s) {
                 check_writable(s);
                 nb::gil_scoped_release unlocked;
                 s.touch();
             })
        .def(
            "write_frame",
            [](const Slots& s, std::size_t module, std::uint64_t pulse_id, std::uint64_t time_ns,
               const ConstBytes& header, const ConstBytes& frame, const Bytes& out) {
                check_writable(s);
                const RingHeader& h = s.memory.header();
                need(module < h.n_modules, "no such module");
                need(header.size() == h.header_bytes && frame.size() == h.frame_bytes,
                     "header or frame of another size than the ring's");
                need(out.size() == sizeof(FrameRecord), "out holds one FRAME");
                FrameRecord done{};
                {
                    nb::gil_scoped_release unlocked;
                    s.write_frame(s.memory.slot_of(pulse_id), module, pulse_id, time_ns, header.data(),
                                  frame.data(), done);
                }
                std::memcpy(out.data(), &done, sizeof done);
            },
            nb::arg("module"), nb::arg("pulse_id"), nb::arg("time_ns"), nb::arg("header"), nb::arg("frame"),
            nb::arg("out"))
        .def(
            "release",
            [](const Slots& s, std::uint64_t pulse_id, std::uint64_t time_ns, std::uint64_t slot,
               const ConstWords& owners, const ConstHalves& missing) {
                check_writable(s);
                check_owners(s, slot, owners.size());
                need(missing.size() == owners.size(), "one count for each module");
                return s.release(pulse_id, time_ns, slot, owners.data(), missing.data());
            },
            nb::arg("pulse_id"), nb::arg("time_ns"), nb::arg("slot"), nb::arg("owners"), nb::arg("missing"))
        .def("wake",
             [](const Slots& s) {
                 check_writable(s);
                 s.wake();
             })
        .def(
            "finish",
            [](const Slots& s, bool finished) {
                check_writable(s);
                s.memory.state().finished.store(finished ? 1 : 0, std::memory_order_release);
                s.wake();
            },
            nb::arg("finished"))
        .def_prop_ro("finished", [](const Slots& s) { return s.memory.state().finished.load() != 0; })
        .def_prop_ro("head",
                     [](const Slots& s) { return s.memory.state().log_head.load(std::memory_order_acquire); })
        .def("wait", &Slots::wait, nb::arg("number"), nb::arg("timeout_s"),
             nb::call_guard<nb::gil_scoped_release>())
        .def(
            "read_log",
            [](const Slots& s, std::uint64_t number, const Words& head, const Words& owners,
               const Halves& missing) {
                need(head.size() == 3 && owners.size() == s.memory.header().n_modules &&
                         missing.size() == owners.size(),
                     "head has 3 words, owners and missing one for each module");
                return s.read_log(number, head.data(), owners.data(), missing.data());
            },
            nb::arg("number"), nb::arg("head"), nb::arg("owners"), nb::arg("missing"))
        .def(
            "event_of",
            [](const Slots& s, std::uint64_t pulse_id) {
                return s.memory.slot_event(s.memory.slot_of(pulse_id)).load(std::memory_order_acquire);
            },
            nb::arg("pulse_id"))
        .def(
            "whole",
            [](const Slots& s, std::size_t slot, const ConstWords& owners) {
                check_owners(s, slot, owners.size());
                return s.whole(slot, owners.data());
            },
            nb::arg("slot"), nb::arg("owners"))
        .def(
            "copy_pixels",
            [](const Slots& s, std::size_t slot, const ConstWords& owners, const Bytes& out) {
                check_owners(s, slot, owners.size());
                need(out.size() == owners.size() * s.memory.header().frame_bytes, "out holds one slot's pixels");
                nb::gil_scoped_release unlocked;
                return s.copy_pixels(slot, owners.data(), out.data());
            },
            nb::arg("slot"), nb::arg("owners"), nb::arg("out"))
        .def(
            "copy_headers",
            [](const Slots& s, std::size_t slot, const ConstWords& owners, const Bytes& out) {
                check_owners(s, slot, owners.size());
                need(out.size() == owners.size() * s.memory.header().header_bytes, "out holds one slot's headers");
                return s.copy_headers(slot, owners.data(), out.data());
            },
            nb::arg("slot"), nb::arg("owners"), nb::arg("out"))
        .def(
            "copy_packet_bits",
            [](const Slots& s, std::size_t slot, const ConstWords& owners, const Words& out) {
                check_owners(s, slot, owners.size());
                need(out.size() == owners.size() * (round_up(s.memory.header().packets_per_module, 64) / 64),
                     "out holds one bit for each packet");
                return s.copy_packet_bits(slot, owners.data(), out.data());
            },
            nb::arg("slot"), nb::arg("owners"), nb::arg("out"))
        .def(
            "pixels",
            [](nb::handle_t<Slots> self, std::size_t slot) {
                const Slots& s = nb::cast<const Slots&>(self);
                check_slot(s, slot);
                const RingHeader& h = s.memory.header();
                return nb::ndarray<nb::numpy, const std::uint8_t>(s.memory.pixels(slot, 0),
                                                                  {h.n_modules * h.frame_bytes}, self);
            },
            nb::arg("slot"))
        .def("resting",
             [](const Slots& s) {
                 auto* frames = new std::vector<FrameRecord>();
                 nb::capsule owner(frames,
                                   [](void* p) noexcept { delete static_cast<std::vector<FrameRecord>*>(p); });
                 s.resting(*frames);
                 return nb::ndarray<nb::numpy, std::uint8_t>(reinterpret_cast<std::uint8_t*>(frames->data()),
                                                             {frames->size() * sizeof(FrameRecord)}, owner);
             })
        .def(
            "counters",
            [](const Slots& s, std::size_t block, const Words& out) {
                need(block <= s.memory.header().n_modules && out.size() < kCounterWords, "no such counters");
                return s.counters(block, out.data(), out.size());
            },
            nb::arg("block"), nb::arg("out"))
        .def(
            "set_counters",
            [](const Slots& s, std::size_t block, const ConstWords& values) {
                check_writable(s);
                need(block <= s.memory.header().n_modules && values.size() < kCounterWords, "no such counters");
                Word* words = s.memory.counters(block);
                const std::uint64_t lock = words[kCounterWords - 1].load(std::memory_order_relaxed) & ~1ull;
                words[kCounterWords - 1].store(lock + 1, std::memory_order_relaxed);
                std::atomic_thread_fence(std::memory_order_release);
                for (std::size_t i = 0; i < values.size(); ++i)
                    words[i].store(values.data()[i], std::memory_order_relaxed);
                words[kCounterWords - 1].store(lock + 2, std::memory_order_release);
            },
            nb::arg("block"), nb::arg("values"));
}

}  // namespace forebay

NB_MODULE(_native, m) {
    m.doc() = "The native kernel: what exists for speed.";
    forebay::bind_slots(m);
    forebay::bind_receive(m);
    forebay::bind_send(m);
    forebay::bind_batch(m);
    forebay::bind_readouts(m);
}
