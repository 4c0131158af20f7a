"""A run on disk: its folder, checkpoints, log, plots, and what it starts from."""
