"""Which devices compute in half precision as fast as they should."""

from typing import Any

import torch


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for products in bfloat16, which take half the time there.

    A CPU without them would take longer than in single precision.
    """
    if device.type == "cpu":
        known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not in torch 2.11
        return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
    return device.type == "cuda"
