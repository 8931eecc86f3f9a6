"""Everything that touches nnU-Net; no other package of this project imports nnunetv2."""
