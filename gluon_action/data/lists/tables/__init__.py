"""Rows and columns: what separates them, what they are called, and what stands in them."""
