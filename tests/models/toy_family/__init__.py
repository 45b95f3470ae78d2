"""A family of toy models: a linear patch encoder, and a Llama that reads bytes."""
