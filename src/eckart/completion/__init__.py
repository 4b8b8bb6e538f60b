"""Known entries of a matrix, most of which is not known: what is fitted to them, and how."""
