"""What is trained: recipes as arguments to the one loop."""
