"""Where examples come from: simulators, files, and the cache between them."""
