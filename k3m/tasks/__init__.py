"""Downstream tasks (paper.md section 3): item classification, product alignment, multi-modal question answering."""
