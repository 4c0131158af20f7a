"""Training of networks of features of frames, as YouTube-8M has them."""
