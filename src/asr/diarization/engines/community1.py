"""pyannote's community-1 through ONNX Runtime: segmentation, speaker embeddings, clustering; no torch."""
