"""Lists of videos: every format that people have, read into samples whose paths and labels are checked."""
