"""The ASR service: speech to text."""
