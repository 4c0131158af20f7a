"""Scores: metrics as sums and counts, files of scores, and fusing them."""
