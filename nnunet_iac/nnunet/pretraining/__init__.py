"""``nnunet-iac pretrain`` and ``score``: encoders that were trained without masks."""
