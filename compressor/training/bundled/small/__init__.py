"""The recipe of the bundled model ``small``, which chats in sentences about `compressor.world.dense_scenes`."""
