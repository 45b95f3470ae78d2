"""The recipe of the bundled model ``small``, which chats in sentences about the world's second edition."""
