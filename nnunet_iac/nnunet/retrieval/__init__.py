"""``nnunet-iac retrieve``: network and weights for a data set, and the trainer that starts from them."""
