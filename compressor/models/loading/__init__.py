"""From a name to a loaded model: files, download, memory, placement, quantization."""
