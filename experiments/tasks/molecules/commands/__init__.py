"""The commands that molecules have of their own."""
