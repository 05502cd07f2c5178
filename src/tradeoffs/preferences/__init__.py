"""What is preferred: rewards from execution and length, a reward model for general text, directions, rankings and pairs."""
