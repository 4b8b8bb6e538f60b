"""The change of a fine-tuned model as an adapter: extracted, verified, joined, merged, cut."""

from eckart.adapters.extract import extract_adapter
from eckart.adapters.result import Extraction

__all__ = [
    "Extraction",
    "extract_adapter",
]
