"""Bytes as people write them."""

from __future__ import annotations

import re

from sweeper.errors import UsageError

_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
LEAST_BYTES = 2**20  # what is smaller lacks its unit, or has the wrong one
_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?B?)\s*", re.IGNORECASE)


def parse_bytes(text: str, *, setting: str) -> int:
    """``"1.5GiB"`` -> 1610612736. Raises UsageError, naming ``setting``, where it is no size."""
    match = _PATTERN.fullmatch(text)
    unit = match.group(2).upper() if match else "?"
    if match is None or unit not in _UNITS or float(match.group(1)) <= 0:
        raise UsageError(
            f"{setting}={text}: not a size; give a number above 0 with B, KB, MB, GB, TB, KiB, MiB, "
            f"GiB or TiB; type for example {setting}=8GiB"
        )
    num_bytes = int(float(match.group(1)) * _UNITS[unit])
    if num_bytes < LEAST_BYTES:
        meant = f"{match.group(1)}{'GiB' if num_bytes < 1000 else 'MiB'}" if not unit else "8GiB"
        raise UsageError(
            f"{setting}={text}: is {num_bytes:,} bytes, less than anything trains in; give at least "
            f"1MiB, with its unit; type for example {setting}={meant}"
        )
    return num_bytes


def format_rate(per_second: float) -> str:
    """Four significant digits, thousands separated: ``"15,320"``, ``"87.69"``."""
    rounded = float(f"{per_second:.4g}")
    return f"{rounded:,.0f}" if rounded >= 1000 else f"{per_second:.4g}"


def format_bytes(num_bytes: float) -> str:
    """Bytes in GiB, or MiB below one: ``"1.50 GiB"``, ``"312 MiB"``."""
    if num_bytes >= 2**30:
        return f"{num_bytes / 2**30:.2f} GiB"
    return f"{num_bytes / 2**20:.0f} MiB"
