"""Disk: what stays."""
