"""Adapters to TTS libraries, one module each."""
