"""Tables as text: one way to cut them into cells, and one to take the cells for numbers."""
