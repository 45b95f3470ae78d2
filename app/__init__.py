"""The page of MetaCompress Studio: what a person sees, built on the public names of `compressor`."""
