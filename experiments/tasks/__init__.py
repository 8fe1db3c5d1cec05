"""What can be trained: one file a task, found by name in `TASKS`."""
