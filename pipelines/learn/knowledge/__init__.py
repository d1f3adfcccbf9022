"""The knowledge of the simulated products, one YAML file each."""
