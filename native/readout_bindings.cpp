// What Python sees of a camera's datagrams and readouts.
#include <cstring>
#include <stdexcept>
#include <utility>

#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/vector.h>

#include "bind.hpp"
#include "blocks.hpp"

namespace nb = nanobind;

namespace forebay {

namespace {

using Bytes = nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using ConstBytes = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using ConstRows = nb::ndarray<const std::uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using ConstModules = nb::ndarray<const std::int8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using ConstIndices = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void need(bool condition, const char* what) {
    if (!condition) throw std::invalid_argument(what);
}

// Blocks of any modules in any order; those of a module that follow each other are a datagram.
void add(OpenReadouts& self, const ConstIndices& modules, const ConstBytes& blocks, std::int64_t arrived_ns,
         std::int64_t now_ns) {
    const std::size_t n = modules.size();
    need(blocks.size() == n * kBlockBytes, "a module for each block");
    const std::int64_t* module = modules.data();
    for (std::size_t i = 0; i < n; ++i)
        need(module[i] >= 0 && module[i] < static_cast<std::int64_t>(kModules), "no such module");
    for (std::size_t begin = 0, end = 0; begin < n; begin = end) {
        while (end < n && module[end] == module[begin]) ++end;
        self.add(static_cast<std::size_t>(module[begin]), blocks.data() + begin * kBlockBytes, end - begin,
                 arrived_ns, now_ns);
    }
}

// Lend records as their bytes.
template <typename T>
nb::object bytes_of(std::vector<T>&& taken) {
    auto* records = new std::vector<T>(std::move(taken));
    nb::capsule owner(records, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return nb::cast(nb::ndarray<nb::numpy, std::uint8_t>(reinterpret_cast<std::uint8_t*>(records->data()),
                                                         {records->size() * sizeof(T)}, owner));
}

ModuleAddresses addresses_of(const ConstModules& of_last_byte, const ConstRows& listed, const ConstModules& modules) {
    need(of_last_byte.size() == 256, "a module for each last byte");
    need(listed.shape(0) == modules.size() && listed.shape(1) == kAddressBytes, "a module for each address");
    const auto is_module = [](std::int8_t module) { return module < static_cast<int>(kModules); };
    ModuleAddresses addresses;
    for (std::size_t i = 0; i < 256; ++i) {
        need(is_module(of_last_byte.data()[i]), "no such module");
        addresses.of_last_byte[i] = of_last_byte.data()[i];
    }
    for (std::size_t i = 0; i < modules.size(); ++i) {
        need(is_module(modules.data()[i]), "no such module");
        auto& [address, module] = addresses.listed.emplace_back();
        std::memcpy(address.data(), listed.data() + i * kAddressBytes, kAddressBytes);
        module = modules.data()[i];
    }
    return addresses;
}

}  // namespace

void bind_readouts(nb::module_& m) {
    nb::class_<OpenReadouts>(m, "OpenReadouts")
        .def(
            "__init__",
            [](OpenReadouts* self, std::int64_t window_ns, std::int64_t buffer_ns, std::int64_t buffer_length,
               std::int64_t max_jump_ns, std::int64_t patience, std::uint32_t expected, bool is_named) {
                const std::int64_t most = std::int64_t{1} << 60;
                need(window_ns > 0 && max_jump_ns > 0, "a window and a jump of at least 1 ns");
                need(window_ns < most && max_jump_ns < most && buffer_ns < most, "times of less than 2**60 ns");
                new (self) OpenReadouts(
                    {window_ns, buffer_ns, buffer_length, max_jump_ns, patience, expected, is_named});
            },
            nb::arg("window_ns"), nb::arg("buffer_ns"), nb::arg("buffer_length"), nb::arg("max_jump_ns"),
            nb::arg("patience"), nb::arg("expected"), nb::arg("is_named"))
        .def("__len__", &OpenReadouts::size)
        .def("add", &add, nb::arg("modules"), nb::arg("blocks"), nb::arg("arrived_ns"), nb::arg("now_ns"))
        .def("n_done", &OpenReadouts::n_done, nb::arg("now_ns"))
        .def_prop_ro("alive", &OpenReadouts::alive)
        .def("overdue", &OpenReadouts::overdue, nb::arg("since_ns"))
        .def(
            "state",
            [](const OpenReadouts& self, std::size_t position) {
                const auto [time_ns, opened_ns, there] = self.state(position);
                return nb::make_tuple(time_ns, opened_ns, there);
            },
            nb::arg("position"))
        .def("drop", &OpenReadouts::drop, nb::arg("positions"))
        .def(
            "take",
            [](OpenReadouts& self, std::uint64_t number, const Bytes& out) {
                need(out.size() % sizeof(Readout) == 0, "out holds whole readouts");
                need(reinterpret_cast<std::uintptr_t>(out.data()) % alignof(Readout) == 0, "out is aligned");
                const std::size_t n = out.size() / sizeof(Readout);
                need(n <= self.size(), "more than are open");
                const auto [n_blocks, n_lacking] = self.take(n, number, reinterpret_cast<Readout*>(out.data()));
                return nb::make_tuple(n_blocks, n_lacking);
            },
            nb::arg("number"), nb::arg("out"))
        .def(
            "release",
            [](OpenReadouts& self, std::int64_t now_ns, std::uint64_t number) -> nb::object {
                auto released = self.release(now_ns, number);
                if (!released) return nb::none();
                const auto [n_blocks, n_lacking] = released->of;
                const std::size_t n_bytes = released->n * sizeof(Readout);
                auto* bytes = reinterpret_cast<std::uint8_t*>(released->readouts.get());
                nb::capsule owner(released->readouts.release(),
                                  [](void* p) noexcept { delete[] static_cast<Readout*>(p); });
                return nb::make_tuple(nb::ndarray<nb::numpy, std::uint8_t>(bytes, {n_bytes}, owner), n_blocks,
                                      n_lacking);
            },
            nb::arg("now_ns"), nb::arg("number"))
        .def_prop_ro("has_refused", &OpenReadouts::has_refused)
        .def("take_refused", [](OpenReadouts& self) { return bytes_of(self.take_refused()); })
        .def("trace", &OpenReadouts::trace, nb::arg("on"))
        .def("take_trace", [](OpenReadouts& self) { return bytes_of(self.take_trace()); })
        .def("take_heard", &OpenReadouts::take_heard)
        .def("restart", &OpenReadouts::restart, nb::arg("newest_ns"), nb::arg("n_again"))
        .def("modules",
             [](const OpenReadouts& self) {
                 const ModuleStates states = self.modules();
                 return nb::make_tuple(states.used, states.at, states.heard_ns);
             })
        .def("counters", &OpenReadouts::counters);
    nb::class_<BlockPort>(m, "BlockPort")
        .def(
            "__init__",
            [](BlockPort* self, int fd, const ConstModules& of_last_byte, const ConstRows& addresses,
               const ConstModules& modules) {
                new (self) BlockPort(fd, addresses_of(of_last_byte, addresses, modules));
            },
            nb::arg("fd"), nb::arg("of_last_byte"), nb::arg("addresses"), nb::arg("modules"))
        .def(
            "fill",
            [](BlockPort& self, OpenReadouts& readouts, std::int64_t timeout_ns, std::int64_t gather_ns) {
                BlockPort::Filled filled;
                {
                    nb::gil_scoped_release unlocked;
                    filled = self.fill(readouts, timeout_ns, gather_ns);
                }
                return nb::make_tuple(filled.has_come, filled.is_due);
            },
            nb::arg("readouts"), nb::arg("timeout_ns"), nb::arg("gather_ns"))
        .def("counters", &BlockPort::counters)
        .def("datagrams_of_module", &BlockPort::datagrams_of_module)
        .def("changes_of_module", &BlockPort::changes_of_module);
}

}  // namespace forebay
