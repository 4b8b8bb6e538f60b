"""Extracting an adapter: the low-rank difference between a base model and its fine-tune."""
