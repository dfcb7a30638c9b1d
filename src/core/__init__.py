"""What voice-stack is made of and does not belong to one service: settings, errors, engines, workers, models."""
