"""Optical flow: computed, stored and found again."""
