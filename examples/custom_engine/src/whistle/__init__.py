"""Whistled letters for voice-stack: no model, and still real speech, a real recogniser and a real diarizer."""
