"""Extracting an adapter: the low-rank difference between a base model and its fine-tune."""

from eckart.jobs.extract.job import extract_adapter
from eckart.jobs.extract.result import Extraction

__all__ = ["Extraction", "extract_adapter"]
