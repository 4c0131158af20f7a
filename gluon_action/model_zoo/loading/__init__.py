"""Weights into networks: files of parameters, whether they fit, how they want frames prepared, which are published."""
