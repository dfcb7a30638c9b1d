"""Entry point of worker processes: `python -m voice_stack.worker FD`."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from core.worker_main import main

    main(int(sys.argv[1]))
