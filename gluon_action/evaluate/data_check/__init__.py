"""What is wrong with a set of videos, before a network is trained on it."""
