"""Says to the type checker that every case has been handled."""

from __future__ import annotations

from typing import NoReturn


def assert_never(value: NoReturn) -> NoReturn:
    """As ``typing.assert_never``, which Python 3.10 has not."""
    raise AssertionError(f"a case is not handled: {value!r}")
