"""What is fixed about the page: its pictures, its first choices, and how much one process takes on."""

from compressor.assets import ASSETS

EXAMPLES = ASSETS / "examples"
PHOTOGRAPHS = {word: EXAMPLES / f"{word.lower()}.jpg" for word in ("Cat", "Coffee", "Rocket")}

FIRST_MODEL = "tiny"
FIRST_METHOD = "metacompress"
FIRST_RATE = 90  # percent
SUGGESTIONS = 4

MAX_NEW_TOKENS = 256
FIRST_NEW_TOKENS = 64
MAX_SEED = 2**53 - 1  # whole numbers up to this one are exact in a browser

MAX_SESSIONS = 32
IDLE_S = 1800.0  # without activity, until a session is removed
ACTIVE_S = 300.0  # after its last activity, during which a session is not removed to make room
CLOSED_S = 300.0  # after its page was closed, until a session is removed
SWEEP_S = 15.0  # between two sweeps of the sessions
ANSWERS_AT_ONCE = 2
PREVIEWS_AT_ONCE = 4
WAITING_AT_ONCE = 16  # for models; each holds one of the server's 40 threads
QUEUE = 32
UNKNOWN_WORDS = 5  # so many of them are listed,
UNKNOWN_WORD_LETTERS = 24  # and so much of each
YIELDS_PER_S = 12  # how often a streaming answer is sent to the browser
