"""The model zoo: trained networks with what they were trained on, in a folder that verifies what it gives out."""
