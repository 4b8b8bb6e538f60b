"""The change of a fine-tuned model as an adapter: extract, verify, join, merge or cut it."""

from eckart.adapters.extract import extract_adapter as extract_adapter
from eckart.adapters.result import Extraction as Extraction
