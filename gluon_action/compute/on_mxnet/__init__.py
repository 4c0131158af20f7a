"""Networks computed by MXNet."""
