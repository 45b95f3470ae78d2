"""A video as one picture: a grid of equidistant frames, which every model can be shown."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from compressor.errors import DataError, ImageError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

FRAMES = 8
# by the quarters, counterclockwise, of the rotation that the metadata asks for
_TURNS = {1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270}
LONGEST_SIDE = 560  # px of a frame: a crop of XComposer-2.5; of a grid of eight no other model reads as much


def frame_grid(path: Path, count: int = FRAMES) -> Image.Image:
    """Equidistant frames of a video, in reading order, in the grid that comes nearest to a square.

    Args:
        path: of the video.
        count: number of frames.

    Raises:
        DataError: PyAV is not installed.
        ImageError: the video cannot be read; it names the path.
    """
    return grid(sample_frames(path, count))


def sample_frames(path: Path, count: int) -> list[Image.Image]:
    """The frames shown in the middle of ``count`` equally long parts of a video, as its metadata turns them.

    They are scaled down for a grid.

    Args and errors: as of ``frame_grid``.
    """
    try:
        import av
    except ImportError:
        raise DataError(
            "Videos are decoded by PyAV, which is missing: pip install -r requirements-research.txt."
        ) from None
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ImageError(f"The file {path} has no video in it; download it again.")
            stream = container.streams.video[0]
            length = _length(container, stream)
            if not length:
                raise ImageError(f"The video {path} does not say how long it is; convert it to MP4.")
            shown = [_frame_at(container, stream, length * (2 * i + 1) // (2 * count)) for i in range(count)]
    except av.FFmpegError as error:
        raise ImageError(f"The video {path} cannot be decoded ({error}); download it again.") from None
    if None in shown:
        raise ImageError(f"The video {path} is shorter than it says; download it again.")
    return shown


def grid(frames: Sequence[Image.Image]) -> Image.Image:
    """Frames in reading order, row by row, in as many columns as make the picture most nearly square.

    Args:
        frames: each is brought to the size of the first.
    """
    width, height = frames[0].size
    count = len(frames)
    columns = min(
        (c for c in range(1, count + 1) if count % c == 0),
        key=lambda c: abs(math.log(c * width / (count // c * height))),
    )
    canvas = Image.new("RGB", (columns * width, count // columns * height))
    for index, frame in enumerate(frames):
        canvas.paste(frame.resize((width, height)), (index % columns * width, index // columns * height))
    return canvas


def _length(container: "InputContainer", stream: "VideoStream") -> int | None:
    """Length of a video in ticks of its stream; None if the file does not say."""
    if stream.duration or not container.duration:
        return stream.duration
    return int(container.duration / (1_000_000 * stream.time_base))  # a container counts microseconds


def _frame_at(container: "InputContainer", stream: "VideoStream", tick: int) -> Image.Image | None:
    """The frame shown at a tick after the beginning: the last that starts no later; None past the end."""
    tick += stream.start_time or 0
    container.seek(tick, stream=stream)  # to the key frame before it
    frames = container.decode(stream)
    shown = next(frames, None)
    for frame in frames:
        if frame.pts is not None and frame.pts > tick:
            break
        shown = frame
    if shown is None:
        return None
    picture = shown.to_image()
    turn = _TURNS.get(round(shown.rotation / 90) % 4)
    if turn is not None:
        picture = picture.transpose(turn)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return picture
