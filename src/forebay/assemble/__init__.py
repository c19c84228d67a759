"""Packets become frames, frames become events."""
