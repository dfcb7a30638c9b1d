"""HTTP routes of the TTS service."""
