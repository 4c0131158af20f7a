"""Networks computed by PyTorch."""
