"""``nnunet-iac zoo build`` and ``audit``: elastic networks, their training and their entries."""
