"""Factor a matrix of a file: factors and their proof out, and what is done with factors."""
