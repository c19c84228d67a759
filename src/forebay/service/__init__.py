"""Processes: put the rooms together and keep them alive."""
