"""int8 versions of bundles by ONNX Runtime."""
