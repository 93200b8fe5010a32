"""Accelerators by name, with the figures of their makers' data sheets. This is the one place where these figures stand.

The sources are NVIDIA's data sheets (without sparsity; SXM but where the name says PCIe) and
docs.cloud.google.com/tpu/docs (v4, v5e, v5p, v6e).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """What one device has.

    kinds: parts of JAX's `device_kind` by which it is recognised. flops: dense products in bfloat16 a second.
    bandwidth: bytes of its memory read a second. memory_bytes: its size. link_bandwidth: bytes sent to other chips a
    second over all links together; 0 where it is not used. slice_axes: how many numbers name a slice; 0 for GPUs.
    """

    kinds: tuple[str, ...]
    flops: float
    bandwidth: float
    memory_bytes: float
    link_bandwidth: float = 0.0
    slice_axes: int = 0


# The first kind that fits counts: "TPU v5" is also the beginning of "TPU v5 lite".
CHIPS = {
    "h100pcie": Chip(("H100 PCIe",), 756e12, 2.0e12, 80e9),
    "h100": Chip(("H100",), 989.4e12, 3.35e12, 80e9),
    "h200": Chip(("H200",), 989.4e12, 4.8e12, 141e9),
    "a100": Chip(("A100",), 312e12, 2.0e12, 80e9),
    "v4": Chip(("TPU v4",), 275e12, 1.228e12, 32e9, 300e9, 3),
    "v5e": Chip(("TPU v5 lite", "TPU v5e"), 197e12, 0.819e12, 16e9, 200e9, 2),
    "v5p": Chip(("TPU v5",), 459e12, 2.765e12, 95e9, 600e9, 3),
    "v6e": Chip(("TPU v6",), 918e12, 1.64e12, 32e9, 448e9, 2),
}


def chip_of(device_kind: str) -> Chip | None:
    """Returns the chip that JAX calls so; None for one whose figures are not known."""
    kind = device_kind.lower()
    return next((chip for chip in CHIPS.values() if any(part.lower() in kind for part in chip.kinds)), None)
