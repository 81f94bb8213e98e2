"""The consumer: stores what publishers say, and reads it back."""
