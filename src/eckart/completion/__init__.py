"""Matrix completion: factorisations of a matrix of which only some entries are known."""
