"""Configurations of LArPix chips: which bits of the registers are which parameter, and their defaults.

Source: larpix-control's register maps. Of version 1 only the bytes are here, of version 3 nothing is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forebay.errors import ConfigError


class Parameter(NamedTuple):
    """A parameter: `n` values of `n_bits` bits, one behind the other from bit `first` of the registers."""

    name: str
    first: int
    n_bits: int
    n: int
    default: int


Registers = NDArray[np.uint8]
"""(register,): bit k of the configuration is bit k mod 8 of register k // 8."""

Settings = dict[str, int | list[int]]
"""Parameter -> its value, or its values where it has one for each channel or port."""

_IN_ALL = (
    ("pixel_trim_dac", 0, 8, 64, 16),
    ("threshold_global", 512, 8, 1, 255),
    ("csa_gain", 520, 1, 1, 0),
    ("csa_bypass_enable", 521, 1, 1, 0),
    ("bypass_caps_en", 522, 1, 1, 1),
    ("csa_enable", 528, 1, 64, 1),
    ("ibias_tdac", 592, 4, 1, 8),
    ("ibias_comp", 600, 4, 1, 8),
    ("ibias_buffer", 608, 4, 1, 8),
    ("ibias_csa", 616, 4, 1, 8),
    ("ibias_vref_buffer", 624, 4, 1, 8),
    ("ibias_vcm_buffer", 632, 4, 1, 8),
    ("ibias_tpulse", 640, 4, 1, 5),
    ("ref_current_trim", 648, 5, 1, 16),
    ("override_ref", 653, 1, 1, 0),
    ("ref_kickstart", 654, 1, 1, 0),
    ("vref_dac", 656, 8, 1, 219),
    ("vcm_dac", 664, 8, 1, 77),
    ("csa_bypass_select", 672, 1, 64, 0),
    ("csa_monitor_select", 736, 1, 64, 0),
    ("csa_testpulse_enable", 800, 1, 64, 1),
    ("csa_testpulse_dac", 864, 8, 1, 0),
    ("current_monitor_bank0", 872, 1, 4, 0),
    ("current_monitor_bank1", 880, 1, 4, 0),
    ("current_monitor_bank2", 888, 1, 4, 0),
    ("current_monitor_bank3", 896, 1, 4, 0),
    ("voltage_monitor_bank0", 904, 1, 3, 0),
    ("voltage_monitor_bank1", 912, 1, 3, 0),
    ("voltage_monitor_bank2", 920, 1, 3, 0),
    ("voltage_monitor_bank3", 928, 1, 3, 0),
    ("voltage_monitor_refgen", 936, 1, 8, 0),
    ("digital_monitor_enable", 944, 1, 1, 0),
    ("digital_monitor_select", 945, 4, 1, 0),
    ("digital_monitor_chan", 952, 6, 1, 0),
    ("chip_id", 976, 8, 1, 1),
    ("load_config_defaults", 985, 1, 1, 0),
    ("enable_fifo_diagnostics", 986, 1, 1, 0),
    ("clk_ctrl", 987, 2, 1, 0),
    ("test_mode_uart0", 1016, 2, 1, 0),
    ("test_mode_uart1", 1018, 2, 1, 0),
    ("test_mode_uart2", 1020, 2, 1, 0),
    ("test_mode_uart3", 1022, 2, 1, 0),
    ("enable_cross_trigger", 1024, 1, 1, 0),
    ("enable_periodic_reset", 1025, 1, 1, 0),
    ("enable_rolling_periodic_reset", 1026, 1, 1, 0),
    ("enable_periodic_trigger", 1027, 1, 1, 0),
    ("enable_rolling_periodic_trigger", 1028, 1, 1, 0),
    ("enable_periodic_trigger_veto", 1029, 1, 1, 1),
    ("enable_hit_veto", 1030, 1, 1, 1),
    ("adc_burst_length", 1040, 8, 1, 0),
    ("channel_mask", 1048, 1, 64, 1),
    ("external_trigger_mask", 1112, 1, 64, 1),
    ("cross_trigger_mask", 1176, 1, 64, 1),
    ("periodic_trigger_mask", 1240, 1, 64, 1),
    ("periodic_reset_cycles", 1304, 24, 1, 4096),
    ("periodic_trigger_cycles", 1328, 32, 1, 0),
    ("enable_dynamic_reset", 1360, 1, 1, 0),
    ("enable_min_delta_adc", 1361, 1, 1, 0),
    ("threshold_polarity", 1362, 1, 1, 1),
    ("reset_length", 1363, 3, 1, 1),
    ("mark_first_packet", 1366, 1, 1, 1),
    ("reset_threshold", 1368, 8, 1, 0),
    ("min_delta_adc", 1376, 8, 1, 0),
    ("digital_threshold", 1384, 8, 64, 0),
)

_OF_2 = (
    ("slope_control0", 960, 4, 1, 0),
    ("slope_control1", 964, 4, 1, 0),
    ("slope_control2", 968, 4, 1, 0),
    ("slope_control3", 972, 4, 1, 0),
    ("enable_miso_upstream", 992, 1, 4, 0),
    ("enable_miso_downstream", 1000, 1, 4, 0),
    ("enable_miso_differential", 1004, 1, 4, 0),
    ("enable_mosi", 1008, 1, 4, 1),
    ("adc_hold_delay", 1032, 4, 1, 0),
)

_OF_2B = (
    ("adc_hold_delay", 960, 16, 1, 0),
    ("enable_tx_dynamic_powerdown", 984, 1, 1, 0),
    ("tx_dynamic_powerdown_cycles", 989, 3, 1, 2),
    ("enable_piso_upstream", 992, 1, 4, 0),
    ("enable_piso_downstream", 1000, 1, 4, 0),
    ("enable_posi", 1008, 1, 4, 1),
    ("shadow_reset_length", 1032, 8, 1, 0),
    ("RESERVED", 1896, 16, 1, 0),
    ("tx_slices0", 1912, 4, 1, 8),
    ("tx_slices1", 1916, 4, 1, 8),
    ("tx_slices2", 1920, 4, 1, 8),
    ("tx_slices3", 1924, 4, 1, 8),
    ("i_tx_diff0", 1928, 4, 1, 12),
    ("i_tx_diff1", 1932, 4, 1, 12),
    ("i_tx_diff2", 1936, 4, 1, 12),
    ("i_tx_diff3", 1940, 4, 1, 12),
    ("i_rx0", 1944, 4, 1, 8),
    ("i_rx1", 1948, 4, 1, 8),
    ("i_rx2", 1952, 4, 1, 8),
    ("i_rx3", 1956, 4, 1, 8),
    ("i_rx_clk", 1960, 4, 1, 8),
    ("i_rx_rst", 1964, 4, 1, 8),
    ("i_rx_ext_trig", 1968, 4, 1, 8),
    ("r_term0", 1976, 5, 1, 2),
    ("r_term1", 1984, 5, 1, 2),
    ("r_term2", 1992, 5, 1, 2),
    ("r_term3", 2000, 5, 1, 2),
    ("r_term_clk", 2008, 5, 1, 0),
    ("r_term_reset", 2016, 5, 1, 0),
    ("r_term_ext_trig", 2024, 5, 1, 0),
    ("v_cm_lvds_tx0", 2032, 3, 1, 5),
    ("v_cm_lvds_tx1", 2036, 3, 1, 5),
    ("v_cm_lvds_tx2", 2040, 3, 1, 5),
    ("v_cm_lvds_tx3", 2044, 3, 1, 5),
)

_OF_LIGHTPIX_1 = (
    ("slope_control0", 960, 4, 1, 0),
    ("slope_control1", 964, 4, 1, 0),
    ("slope_control2", 968, 4, 1, 0),
    ("slope_control3", 972, 4, 1, 0),
    ("enable_miso_upstream", 992, 1, 4, 0),
    ("enable_miso_downstream", 1000, 1, 4, 0),
    ("enable_miso_differential", 1004, 1, 4, 1),
    ("enable_mosi", 1008, 1, 4, 1),
    ("adc_hold_delay", 1032, 4, 1, 0),
    ("lightpix_mode", 1896, 1, 1, 0),
    ("hit_threshold", 1897, 7, 1, 16),
    ("timeout", 1904, 8, 1, 30),
)

N_REGISTERS: Final[Mapping[str, int]] = {"1": 63, "2": 237, "2b": 256, "lightpix-1": 239}
"""Version of the chip -> number of its registers."""

_V1_DEFAULTS = bytes(
    [0x10] * 33 + [0x01, *[0] * 8, *[0xFF] * 4, 0, 0, 1, 0xFF, *[0] * 6, *[0xFF] * 4, 0, 0x10, 0]
)

PARAMETERS: Final[Mapping[str, Mapping[str, Parameter]]] = {
    version: {row[0]: Parameter(*row) for row in rows}
    for version, rows in (
        ("2", (*_IN_ALL, *_OF_2)),
        ("2b", (*_IN_ALL, *_OF_2B)),
        ("lightpix-1", (*_IN_ALL, *_OF_LIGHTPIX_1)),
    )
}
"""Version of the chip -> name -> parameter."""


_V1 = (
    ("pixel_trim_thresholds", 0, 8, 32, 16),
    ("global_threshold", 256, 8, 1, 16),
    ("csa_gain", 264, 1, 1, 1),
    ("csa_bypass", 265, 1, 1, 0),
    ("internal_bypass", 267, 1, 1, 0),
    ("csa_bypass_select", 272, 1, 32, 0),
    ("csa_monitor_select", 304, 1, 32, 0),
    ("csa_testpulse_enable", 336, 1, 32, 1),
    ("csa_testpulse_dac_amplitude", 368, 8, 1, 0),
    ("test_mode", 376, 2, 1, 0),
    ("cross_trigger_mode", 378, 1, 1, 0),
    ("periodic_reset", 379, 1, 1, 0),
    ("fifo_diagnostic", 380, 1, 1, 0),
    ("sample_cycles", 384, 8, 1, 1),
    ("test_burst_length", 392, 16, 1, 255),
    ("adc_burst_length", 408, 8, 1, 0),
    ("channel_mask", 416, 1, 32, 0),
    ("external_trigger_mask", 448, 1, 32, 1),
    ("reset_cycles", 480, 24, 1, 4096),
)

ALL_PARAMETERS: Final[Mapping[str, Mapping[str, Parameter]]] = {
    **PARAMETERS,
    "1": {row[0]: Parameter(*row) for row in _V1},
}
"""`PARAMETERS`, and those of version 1, which have no thresholds and masks of 64 channels."""


def default_registers(asic_version: str) -> Registers:
    """Return the registers of a chip that was just switched on; `ConfigError` if they are not known."""
    _check_known(asic_version, N_REGISTERS)
    if asic_version == "1":
        return np.frombuffer(_V1_DEFAULTS, np.uint8).copy()
    registers = np.zeros(N_REGISTERS[asic_version], np.uint8)
    settings = {one.name: [one.default] * one.n for one in PARAMETERS[asic_version].values()}
    return with_settings(registers, settings, asic_version)


def settings_of(registers: Registers, asic_version: str) -> Settings:
    """Return every parameter of a chip's registers; `ConfigError` if they are not known."""
    _check_known(asic_version, ALL_PARAMETERS)
    bits = np.unpackbits(registers, bitorder="little").astype(np.int64)
    settings: Settings = {}
    for name, one in ALL_PARAMETERS[asic_version].items():
        own = bits[one.first : one.first + one.n * one.n_bits].reshape(one.n, one.n_bits)
        values = (own << np.arange(one.n_bits)).sum(1).tolist()
        settings[name] = values if one.n > 1 else values[0]
    return settings


def with_settings(registers: Registers, settings: Mapping[str, Any], asic_version: str) -> Registers:
    """Return registers with these parameters changed.

    Raises
    ------
    ConfigError
        If a parameter is not known, or a value does not fit.
    """
    _check_known(asic_version, ALL_PARAMETERS)
    bits = np.unpackbits(registers, bitorder="little")
    for name, given in settings.items():
        one = ALL_PARAMETERS[asic_version].get(name)
        if one is None:
            raise ConfigError(f"Chips of version {asic_version} have no parameter {name!r}.")
        try:
            values = np.atleast_1d(np.asarray(given, np.int64))
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"{name}: {given!r} is not a number, nor a list of numbers.") from error
        if values.shape != (one.n,) or values.min() < 0 or values.max() >= 2**one.n_bits:
            raise ConfigError(
                f"{name}: {given!r} does not fit.", f"Give {one.n} of 0 to {2**one.n_bits - 1}."
            )
        own = (values[:, None] >> np.arange(one.n_bits) & 1).astype(np.uint8)
        bits[one.first : one.first + one.n * one.n_bits] = own.ravel()
    return np.packbits(bits, bitorder="little")


def _check_known(asic_version: str, known: Mapping[str, object]) -> None:
    if asic_version not in known:
        raise ConfigError(
            f"The registers of chips of version {asic_version!r} are not known.",
            f"Those of {', '.join(known)} are.",
        )
