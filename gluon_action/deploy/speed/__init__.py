"""What models cost and how fast they are."""
