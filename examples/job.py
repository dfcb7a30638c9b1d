"""Transcribe a long recording as a job, which no crash or restart can undo: python examples/job.py lecture.mp3"""

import os
import sys
import time
from pathlib import Path

import httpx

jobs = f"{os.environ.get('ASR_URL', 'http://localhost:5001')}/v1/audio/jobs"
with Path(sys.argv[1]).open("rb") as recording:
    job = httpx.post(jobs, files={"file": recording}, timeout=600).raise_for_status().json()
while job["status"] in {"queued", "running"}:
    time.sleep(1)
    job = httpx.get(f"{jobs}/{job['id']}").raise_for_status().json()
    print(f"{job['status']}: {job['progress']:.0%}", file=sys.stderr)
print(httpx.get(f"{jobs}/{job['id']}/result", params={"response_format": "text"}).text)
