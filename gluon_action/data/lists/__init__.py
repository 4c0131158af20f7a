"""Lists of videos: every known format, read into samples whose paths and labels are checked."""
