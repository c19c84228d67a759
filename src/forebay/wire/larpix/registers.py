"""Configurations of LArPix chips: registers from parameters, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forebay.errors import ConfigError
from forebay.wire.larpix.register_map import N_REGISTERS, PARAMETERS

Registers = NDArray[np.uint8]
"""(register,): bit k of the configuration is bit k mod 8 of register k // 8."""

Settings = dict[str, int | list[int]]
"""Parameter -> its value, or its values where it has one for each channel or port."""


def default_registers(asic_version: str) -> Registers:
    """Return the registers of a chip that was just switched on; `ConfigError` if they are not known."""
    _check_known(asic_version)
    registers = np.zeros(N_REGISTERS[asic_version], np.uint8)
    settings = {one.name: [one.default] * one.n for one in PARAMETERS[asic_version].values()}
    return with_settings(registers, settings, asic_version)


def settings_of(registers: Registers, asic_version: str) -> Settings:
    """Return every parameter of a chip's registers; `ConfigError` if they are not known."""
    _check_known(asic_version)
    bits = np.unpackbits(registers, bitorder="little").astype(np.int64)
    settings: Settings = {}
    for name, one in PARAMETERS[asic_version].items():
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
    _check_known(asic_version)
    bits = np.unpackbits(registers, bitorder="little")
    for name, given in settings.items():
        one = PARAMETERS[asic_version].get(name)
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


def _check_known(asic_version: str) -> None:
    if asic_version not in PARAMETERS:
        raise ConfigError(
            f"The registers of chips of version {asic_version!r} are not known.",
            f"Those of {', '.join(PARAMETERS)} are.",
        )
