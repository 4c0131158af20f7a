"""Files of weights that other libraries write, read without them and without running anything in them."""
