"""What for: one function and one result for each use of W ≈ B·A."""
