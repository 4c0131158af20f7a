"""Frames out of videos: which ones, and how they are decoded."""
