"""Text: cutting into sentences and pieces, cleaning for speech."""
