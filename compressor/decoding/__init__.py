"""Prefill and step against caches, on a `Decoder`: knows nothing else of a model.

Requests that are read together share one cache, one row each, so that a step copies nothing; where a request
joins or leaves, the cache is rebuilt once. Rows and layers may differ in length: a request may have tokens
pruned at the input of a layer; the kept ones keep their absolute positions.
"""

from compressor.decoding.passes import hidden_states, prefill, step
from compressor.decoding.pruning import Pruning
from compressor.decoding.request import Request, Sampling

__all__ = ["Pruning", "Request", "Sampling", "hidden_states", "prefill", "step"]
