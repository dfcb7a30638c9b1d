"""`python -m voice_stack` is the command `voice-stack`."""

from __future__ import annotations

from voice_stack.cli import main

main()
