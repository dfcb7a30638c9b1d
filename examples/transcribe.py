"""Print the text of a recording: python examples/transcribe.py recording.mp3"""

import os
import sys
from pathlib import Path

from openai import OpenAI

client = OpenAI(api_key="not-needed", base_url=f"{os.environ.get('ASR_URL', 'http://localhost:5001')}/v1")
transcript = client.audio.transcriptions.create(model="whisper-1", file=Path(sys.argv[1]))
print(transcript.text)
