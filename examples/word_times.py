"""Print every word and when it was said: python examples/word_times.py recording.mp3"""

import os
import sys
from pathlib import Path

from openai import OpenAI

client = OpenAI(api_key="not-needed", base_url=f"{os.environ.get('ASR_URL', 'http://localhost:5001')}/v1")
transcript = client.audio.transcriptions.create(
    model="whisper-1",
    file=Path(sys.argv[1]),
    response_format="verbose_json",
    timestamp_granularities=["word"],
)
for word in transcript.words or []:
    print(f"{word.start:7.2f} {word.end:7.2f}  {word.word}")
