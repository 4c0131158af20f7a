"""Networks outside of training: ONNX, bundles, int8, predicting."""
