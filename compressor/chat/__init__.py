"""One chat about an image: session, turns, transcript and its cache; and many chats side by side."""
