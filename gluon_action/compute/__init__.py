"""What trains and scores a network, whatever engine does it."""
