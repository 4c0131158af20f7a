"""Bundles: a model with all that is needed to use it, and proof that it computes the same."""
