"""Print a recording's text while it is being decoded: python examples/captions.py recording.mp3"""

import os
import sys
from pathlib import Path

from openai import OpenAI

client = OpenAI(api_key="not-needed", base_url=f"{os.environ.get('ASR_URL', 'http://localhost:5001')}/v1")
for event in client.audio.transcriptions.create(model="whisper-1", file=Path(sys.argv[1]), stream=True):
    if event.type == "transcript.text.delta":
        print(event.delta, end="", flush=True)
print()
