"""The Triad model: EG-RoI visual tokens, prompts, and the CoT-M rationale (arXiv 2503.13184)."""
