"""Similarity of data sets: features of label regions, Gaussians per label, optimal transport, an index of sources."""
