"""Write a text as speech while it is being made: python examples/speak.py "Good morning." morning.mp3"""

import os
import sys

from openai import OpenAI

client = OpenAI(api_key="not-needed", base_url=f"{os.environ.get('TTS_URL', 'http://localhost:5002')}/v1")
text, target = sys.argv[1:]
speech = client.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input=text)
with speech as answer:
    answer.stream_to_file(target)
