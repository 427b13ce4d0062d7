"""What is trained, and how? Networks, losses, batches and the loop around them."""
