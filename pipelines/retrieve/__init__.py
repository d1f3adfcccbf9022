"""Which normal picture to compare a frame with: Echo's Reference Extractor (arXiv 2501.15795)."""
