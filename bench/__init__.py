"""Benchmarks: every figure in docs/performance.md comes out of one of these; bench/README.md says how to run them."""

import voice_stack  # noqa: F401 - puts asr, tts, core and utils on the import path
