"""Testing: views that decode once and score all, metrics as sums and counts, reports that carry their protocol."""
