"""Audio as numbers: PCM, decoding, encoding, resampling, voice activity."""
