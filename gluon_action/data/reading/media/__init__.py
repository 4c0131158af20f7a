"""What is true of a media file whoever reads it: its streams, its frames' times, its damage, its sound."""
