"""Echo's experts (arXiv 2501.15795): so far the Decision Maker."""
