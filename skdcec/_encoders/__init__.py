"""What is an embedding? Encoders as scikit-learn transformers."""

# A file may name any of them, whichever was imported by name.
from skdcec._encoders import autoencoder as autoencoder
from skdcec._encoders import contrastive as contrastive
