"""Settings that need what a machine may lack."""

from __future__ import annotations

from sweeper.core.rules.conditions import cpu, offloads, on_nvme
from sweeper.core.rules.kinds import Needs

NEEDS: tuple[Needs, ...] = (
    Needs(
        id="a-device-for-each-rank",
        lacks=lambda s, m: (
            s.hardware.accelerator == "cuda"
            and m.devices is not None
            and s.hardware.ranks > m.devices
        ),
        reason=lambda s, m: (
            f"hardware.ranks={s.hardware.ranks} needs as many CUDA devices; there are {m.devices}"
        ),
        source="source: the launcher gives each rank a device of its own",
    ),
    Needs(
        id="fp16-on-the-device",
        lacks=lambda s, m: s.precision.mode == "fp16" and m.fp16 is False,
        reason=lambda s, m: f"fp16 is not supported on {m.device_name or s.hardware.accelerator}",
        source="source: DeepSpeed asks its accelerator's is_fp16_supported()",
    ),
    Needs(
        id="bf16-on-the-device",
        lacks=lambda s, m: s.precision.mode in ("bf16", "autocast_bf16") and m.bf16 is False,
        reason=lambda s, m: f"bf16 is not supported on {m.device_name or s.hardware.accelerator}",
        source="source: DeepSpeed asks its accelerator's is_bf16_supported()",
    ),
    Needs(
        id="libaio-for-nvme",
        lacks=lambda s, m: on_nvme(s) and m.libaio is False,
        reason=lambda s, m: (
            "offload to NVMe needs libaio, with which DeepSpeed's async_io op is built;"
            " install libaio-dev (Debian), libaio-devel (Fedora) or libaio (Arch)"
        ),
        source="source: AsyncIOBuilder looks for libaio",
    ),
    Needs(
        id="super-offload-on-cuda",
        lacks=lambda s, m: bool(s.offload.super_offload) and cpu(s),
        reason=lambda s, m: "offload.super_offload needs a CUDA device",
        source="run: asserts CUDA",
    ),
    Needs(
        id="quantised-weights-on-cuda",
        lacks=lambda s, m: bool(s.zero.quantized_weights) and cpu(s),
        reason=lambda s, m: "zero.quantized_weights needs a CUDA device and its quantizer op",
        source="run: the op is missing on the CPU",
    ),
    Needs(
        id="deepcompile-on-cuda",
        lacks=lambda s, m: s.compile.mode == "deepcompile" and cpu(s),
        reason=lambda s, m: (
            "compile=deepcompile needs a CUDA device: its op dc does not build elsewhere"
        ),
        source="run: the build fails on the CPU",
    ),
    Needs(
        id="lion-on-cuda",
        lacks=lambda s, m: s.optimizer.type == "Lion" and cpu(s) and not offloads(s),
        reason=lambda s, m: (
            "optimizer.type=Lion without offload needs a CUDA device (FusedLion);"
            " with offload=optimizer it runs on the CPU"
        ),
        source="run: FusedLion is missing on the CPU",
    ),
)
