"""Reduction of a table: components, scores, and the share of the variance that they hold."""
