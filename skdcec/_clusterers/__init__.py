"""What is an embedded clustering? An encoder and cluster centers, trained together."""
