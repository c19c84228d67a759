"""Memory: the recent past of every source."""
