"""Trainers that nnU-Net finds through nnUNet_extTrainer; each file holds one thin class of the same name."""
