"""What a run records on an MLflow server, kept in a journal until it is there."""
