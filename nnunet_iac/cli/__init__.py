"""Sub-commands of ``nnunet-iac``, one module each."""
