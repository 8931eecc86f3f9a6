"""Training inside nnU-Net: search, implantation, schedule, and the trainers that run them."""
