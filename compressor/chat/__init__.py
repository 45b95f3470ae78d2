"""One chat about an image, and many side by side: session, batch, protocol of turns, prefix cache."""
