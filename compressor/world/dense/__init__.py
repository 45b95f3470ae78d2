"""The parts of the generated world's second edition; `compressor.world.dense_scenes` puts them together."""
