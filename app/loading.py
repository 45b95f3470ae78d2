"""The models this process has loaded: each once, whoever asks first."""

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from compressor import get_method, list_methods, load_model
from compressor.errors import StudioError


class Shelf:
    """Loads models by name and keeps them; who wants one that is being loaded waits for it, others do not.

    Args:
        load: from a name to a model.
    """

    def __init__(self, load: Callable[[str], Any] = load_model) -> None:
        self._load = load
        self._models: dict[str, Any] = {}
        self._labels: dict[str, list[tuple[str, str]]] = {}
        self._loading: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self.computing = threading.Lock()  # pictures are encoded and compressed one at a time

    def get(self, name: str) -> Any:
        """The model of this name, loaded if need be.

        Raises:
            ModelError: no such model, or it cannot be loaded here.
        """
        with self._loading[name]:
            if name not in self._models:
                self._models[name] = self._load(name)
            return self._models[name]

    def methods(self, name: str) -> list[tuple[str, str]]:
        """(label, name) of every method for a model; the label says where a method is untrained for it."""
        if name not in self._labels:
            model = self.get(name)
            self._labels[name] = [(get_method(info.name, model).label, info.name) for info in list_methods()]
        return self._labels[name]

    def warm(self, name: str) -> threading.Thread:
        """Starts loading a model in the background, so that the page need not wait for it."""
        thread = threading.Thread(target=self._try, args=(name,), name=f"load-{name}", daemon=True)
        thread.start()
        return thread

    def _try(self, name: str) -> None:
        try:
            self.methods(name)
        except StudioError as error:  # whoever opens the page meets it again, and is told there
            print(f"The model {name} could not be loaded: {error}")
