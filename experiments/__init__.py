"""The application around the library: train, evaluate and report, from a YAML file."""
