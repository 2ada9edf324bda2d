"""Compiles the named C++ ops of DeepSpeed where they are not built yet."""

from __future__ import annotations

import sys

from deepspeed.accelerator import get_accelerator


def main(builders: list[str]) -> None:
    """Builds each of DeepSpeed's builders by its class name."""
    for name in builders:
        builder = get_accelerator().create_op_builder(name)
        if builder is None:
            raise SystemExit(f"DeepSpeed has no op builder {name} for this accelerator")
        print(f"building {name}", flush=True)
        builder.load()


if __name__ == "__main__":
    main(sys.argv[1:])
