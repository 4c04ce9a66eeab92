"""Catalogue files into a store: one module a format, `python -m loaders.ingest` for all of them."""
