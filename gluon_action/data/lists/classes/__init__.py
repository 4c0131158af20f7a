"""Classes of lists: their names, their numbers, and which of them each video has."""
