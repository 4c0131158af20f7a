"""What networks of features are made of: layers, pooling, branches and classifiers."""
