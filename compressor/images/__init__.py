"""Picture files of every common format decoded to pixels, for uploads and for benchmarks alike."""
