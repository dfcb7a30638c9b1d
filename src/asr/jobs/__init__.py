"""Long transcriptions that survive the end of any process: accepted once, done piece by piece, kept for a while."""
