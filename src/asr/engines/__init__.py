"""Adapters to ASR libraries, one module each."""
