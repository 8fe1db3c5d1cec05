"""What a run has found: its evaluation, its report, and pages of published results."""
