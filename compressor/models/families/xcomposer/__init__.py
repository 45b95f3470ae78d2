"""InternLM-XComposer-2.5, on a network of our own."""
