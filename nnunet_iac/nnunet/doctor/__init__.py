"""``nnunet-iac doctor``: what is installed and found, and commands for the public data sets."""
