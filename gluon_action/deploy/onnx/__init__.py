"""Networks as ONNX: exported, compared, and run."""
