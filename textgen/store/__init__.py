"""What is kept on disk: checkpoints, and the folders of runs."""
