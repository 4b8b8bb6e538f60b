"""Whether a checkpoint holds quantised weights, which are no matrices of numbers."""

from collections.abc import Mapping
from typing import Any, Final, cast

from eckart.storage.checkpoints.checkpoint import Checkpoint
from eckart.storage.checkpoints.dtypes import StoredDtype

METHODS: Final = {
    "gptq": "GPTQ",
    "awq": "AWQ",
    "bitsandbytes": "bitsandbytes",
    "fp8": "fp8",
    "fbgemm_fp8": "fp8",
    "compressed-tensors": "compressed-tensors",
    "mxfp4": "MXFP4",
    "hqq": "HQQ",
}
"""What `quantization_config.quant_method` says, as people write it; others are said as they are."""

TRACES: Final = (
    ("GPTQ", frozenset({"qweight", "qzeros", "scales", "g_idx"})),
    ("AWQ", frozenset({"qweight", "qzeros", "scales"})),
    ("bitsandbytes", frozenset({"absmax"})),
    ("bitsandbytes", frozenset({"SCB"})),
    ("fp8", frozenset({"weight_scale_inv"})),
    ("compressed-tensors", frozenset({"weight_packed", "weight_scale"})),
    ("MXFP4", frozenset({"gate_up_proj_blocks", "gate_up_proj_scales"})),
    ("HQQ", frozenset({"W_q"})),
)
"""Last words of tensor names that a method leaves, the more telling first."""

DTYPES: Final = {
    StoredDtype.F8_E4M3: "fp8",
    StoredDtype.F8_E5M2: "fp8",
    StoredDtype.F8_E4M3FNUZ: "fp8",
    StoredDtype.F8_E5M2FNUZ: "fp8",
    StoredDtype.F8_E8M0: "MX",
    StoredDtype.F6_E2M3: "MX",
    StoredDtype.F6_E3M2: "MX",
    StoredDtype.F4: "MX",
}

INTEGERS: Final = frozenset(dtype for dtype in StoredDtype if dtype[0] in "IU")
"""Dtypes of matrices whose scales are kept elsewhere."""
MLX: Final = frozenset({"bits", "group_size"})
"""What the setting `quantization` of MLX holds, among more."""


def quantisation(checkpoint: Checkpoint) -> str | None:
    """How the weights are quantised: GPTQ, AWQ, bitsandbytes, fp8 …; None if they are not.

    The config is believed first; without one, the names and dtypes of the tensors tell.
    """
    return _configured(checkpoint.config) or _traced(checkpoint)


def _configured(config: Mapping[str, Any]) -> str | None:
    nested = config.get("text_config")
    for owner in (config, nested if isinstance(nested, dict) else {}):
        for key in ("quantization_config", "compression_config"):
            claim = cast("Mapping[str, Any]", owner).get(key)
            if isinstance(claim, dict) and claim:
                return _method(cast("Mapping[str, Any]", claim))
        claim = cast("Mapping[str, Any]", owner).get("quantization")
        if isinstance(claim, dict) and claim.keys() >= MLX:
            return "MLX"
    return None


def _method(claim: Mapping[str, Any]) -> str:
    method = claim.get("quant_method")
    if not isinstance(method, str):
        # what bitsandbytes wrote before the methods had names
        bits = claim.get("load_in_4bit") or claim.get("load_in_8bit")
        return "bitsandbytes" if bits else "an unnamed method"
    return METHODS.get(method.lower(), method)


def _traced(checkpoint: Checkpoint) -> str | None:
    words = {name.rpartition(".")[2] for name in checkpoint.tensors}
    words |= {"absmax" for name in checkpoint.tensors if ".quant_state." in name}
    for method, trace in TRACES:
        if trace <= words:
            return method
    dtypes = [tensor.dtype for tensor in checkpoint.tensors.values()]
    found = next((DTYPES[dtype] for dtype in dtypes if dtype in DTYPES), None)
    whole = any(
        tensor.dtype in INTEGERS and name.endswith(".weight") and len(tensor.shape) == 2
        for name, tensor in checkpoint.tensors.items()
    )
    return found or ("integers" if whole else None)
