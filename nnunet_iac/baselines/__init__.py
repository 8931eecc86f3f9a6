"""Baselines: other known skip connections around the same host, to measure cells against."""
