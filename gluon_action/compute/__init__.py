"""What trains and scores a network, whatever engine computes it: the interface, and an engine a folder."""
