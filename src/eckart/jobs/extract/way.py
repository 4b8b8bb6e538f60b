"""How an adapter takes in the change of a tensor."""

from enum import StrEnum


class Way(StrEnum):
    """What becomes of a tensor that has changed."""

    FACTORS = "factors"
    BIAS = "bias"
    SAVED = "saved whole"
    NONE = "not covered"
