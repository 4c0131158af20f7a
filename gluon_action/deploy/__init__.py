"""Networks outside of training: int8."""
