"""What the events of the page call: plain functions without Gradio."""
