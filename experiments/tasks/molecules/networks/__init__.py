"""The backbones for molecules, and what they see of them."""
