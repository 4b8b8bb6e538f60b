"""Reduction of a table: components, scores, and the share of the variance that they hold."""

from typing import Any, TypeAlias

Document: TypeAlias = dict[str, Any]
"""Figures and texts by name, as plain values that JSON holds."""
