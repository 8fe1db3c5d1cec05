"""What can be trained: one package a task, found by name in `experiments.tasks.registry`."""
