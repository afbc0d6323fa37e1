"""What happens between the steps of a run: Lightning calls these."""
