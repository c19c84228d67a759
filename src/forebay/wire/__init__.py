"""What bytes mean: pure functions on bytes, no I/O."""
