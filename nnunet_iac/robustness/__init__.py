"""Robustness: which pretrained encoder holds still on the target's images, and how long to pretrain (2410.18677)."""
