"""Predictions for videos: windows, scores, overlay, timeline."""
