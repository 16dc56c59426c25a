"""Writing and scoring with a trained model."""
