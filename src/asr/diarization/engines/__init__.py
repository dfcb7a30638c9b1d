"""The diarization engines."""
