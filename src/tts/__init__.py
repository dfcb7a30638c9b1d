"""The TTS service: text to speech."""
