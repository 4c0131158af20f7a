"""Training: the loop, schedules, losses, checkpoints and the records of a run."""
