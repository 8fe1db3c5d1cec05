"""Run folders: what lies in them, checkpoints, and taking up what is stored."""
