"""What is an embedding? Encoders as scikit-learn transformers."""
