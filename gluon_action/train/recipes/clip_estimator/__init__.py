"""Training of records of clips by steps, in the manner of TensorFlow's estimators."""
