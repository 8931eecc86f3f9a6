"""What trained models and searches become in a zoo, and back."""
