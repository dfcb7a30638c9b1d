#!/usr/bin/env bash
# Write subtitles of a video: examples/subtitles.sh film.mkv > film.srt
set -euo pipefail
curl --fail-with-body -sS -F "file=@$1" -F response_format=srt -F max_line_width=42 \
  "${ASR_URL:-http://localhost:5001}/v1/audio/transcriptions"
