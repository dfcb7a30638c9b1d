"""Who speaks when: the interface of diarization engines, and what is made of what they find."""
