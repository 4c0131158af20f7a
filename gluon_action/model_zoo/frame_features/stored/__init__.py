"""Stored models of features: one network or a weighted sum of several, quantized or not, as two files by a prefix."""
