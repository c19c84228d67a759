"""Fronts: the words of each facility, translated."""
