"""What do the clusters say? Numbers about a finished clustering, each defined once."""
