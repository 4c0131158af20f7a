"""What a run leaves to read and to look at: its log, its curves, TensorBoard's events."""
