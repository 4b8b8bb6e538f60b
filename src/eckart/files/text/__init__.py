"""Tables as text: one way to split them into cells, and one to convert cells to numbers."""
