"""Catalogue formats in, a filled store out."""
