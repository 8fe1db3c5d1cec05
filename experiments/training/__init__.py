"""Training: what a task is, the steps of gradient descent, and the loop around them."""
