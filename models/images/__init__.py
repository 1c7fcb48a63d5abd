"""Image operations of the published systems, on NumPy arrays (row, column)."""
