"""Frames by number out of a file or a folder of pictures, one decoder a module."""
