"""Copies of videos that decode several times faster: smaller, with a key frame every few frames."""
