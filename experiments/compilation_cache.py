"""The folder in which JAX keeps compiled programs, so that a second start need not compile them."""

import hashlib
import os
import platform
import sys
import tempfile
import warnings
from pathlib import Path

FOLDER = "JAX_COMPILATION_CACHE_DIR"
"""The variable of the environment in which JAX looks for the folder; empty, there is none."""
SHORTEST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
"""Programs that compile faster than so many seconds are not kept."""
_SECONDS = "0.1"


def use_compilation_cache(folder: str | os.PathLike[str] | None = None) -> Path | None:
    """Keeps compiled programs of this process and those that it starts in a folder.

    JAX finds a program by all that it depends on: the program itself, the options of the compiler,
    and the versions of both. A folder that is not named is also that of one kind of processor: home
    directories are shared between machines, and a program for one need not run on another.

    It must be called before JAX is imported, which reads the environment once.

    Args:
      folder: where; by default what `JAX_COMPILATION_CACHE_DIR` says, and else a folder in
        `XDG_CACHE_HOME`, or in `~/.cache`. An empty name means none. The URL of a storage that
        JAX knows, such as `gs://bucket/folder`, is handed on to it.

    Returns:
      The folder, or `None` if there is none on this machine, or it cannot be written, which gives
      a warning.
    """
    if folder is None:
        folder = os.environ.get(FOLDER)
    name = "" if folder is None else os.path.expanduser(folder)
    # Storage such as gs://bucket, which JAX writes to by itself.
    remote = name if "://" in name else ""
    path = default_folder() if folder is None else Path(name) if name and not remote else None
    if path is not None and not _can_write(path):
        warnings.warn(f"{path}: compiled programs cannot be kept there", stacklevel=2)
        path = None
    os.environ[FOLDER] = remote if path is None else str(path)
    os.environ.setdefault(SHORTEST, _SECONDS)
    if "jax" in sys.modules:
        import jax

        jax.config.update("jax_compilation_cache_dir", os.environ[FOLDER] or None)
        shortest = float(os.environ[SHORTEST])
        jax.config.update("jax_persistent_cache_min_compile_time_secs", shortest)
    return path


def default_folder() -> Path | None:
    """The folder of this user and this kind of processor, or `None` without a home directory."""
    caches = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # What is not absolute is to be ignored, by the specification of that variable.
        root = Path(caches) if os.path.isabs(caches) else Path.home() / ".cache"
    except RuntimeError:
        return None
    return root / "symjax_frames" / "xla" / _processor()


def _processor() -> str:
    """A name for the processors that run the same programs."""
    kind = f"{platform.system()} {platform.machine()} {platform.processor()}"
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        told = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
        kind += "".join(sorted(told))
    except OSError:
        pass
    return hashlib.sha256(kind.encode()).hexdigest()[:16]


def _can_write(path: Path) -> bool:
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return True
    except OSError:
        return False
