"""What K3M is compared with, made of shared blocks (paper.md section 5)."""
