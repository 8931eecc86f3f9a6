"""Cells: candidate operations, genotypes, mixed and discrete cells, and the U-Net that carries them."""
