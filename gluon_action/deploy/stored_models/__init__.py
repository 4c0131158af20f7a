"""What is made of stored models of features: smaller, averaged, combined, packed."""
