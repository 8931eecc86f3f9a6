"""``nnunet-iac probe``: would cells help this host?"""
