"""Implantable Adaptive Cells for nnU-Net v2: searched cells in the skip connections of a (trained) U-Net."""

__version__ = "0.1.0"
