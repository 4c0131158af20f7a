"""Clips in TFRecords: cut out of videos, written, and read."""
