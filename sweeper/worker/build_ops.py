"""Compiles the named C++ ops of DeepSpeed where they are not built yet."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deepspeed.accelerator import get_accelerator


def main(builders: list[str]) -> None:
    """Builds each of DeepSpeed's builders by its class name."""
    for name in builders:
        builder = get_accelerator().create_op_builder(name)
        if builder is None:
            raise SystemExit(f"DeepSpeed has no op builder {name} for this accelerator")
        builder.load()
        built = Path(os.environ["TORCH_EXTENSIONS_DIR"]) / builder.name
        if not (built / f"{builder.name}.so").is_file():
            # It came with DeepSpeed's own package, ready made.
            built.mkdir(parents=True, exist_ok=True)
            (built / "installed").touch()


if __name__ == "__main__":
    main(sys.argv[1:])
