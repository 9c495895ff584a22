"""The command line: a file a command, loaded when called."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import warnings
from typing import Any

import typer

from nearfar.errors import NearfarError


def _app() -> typer.Typer:
    """Gather the commands: every file here whose name does not begin with an underscore defines `command`."""
    app = typer.Typer(
        name="nearfar",
        help="Contrastive learning: from raw data to a trained, judged and searchable embedding model.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # rich's help alone takes half a second
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            command = importlib.import_module(f"nearfar.cli.{module.name}").command
            app.command(name=module.name)(command)
    return app


def main() -> None:
    """Run the command line; exit codes are 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    warnings.showwarning = _warn
    sys.exit(_run())


def _run() -> int:
    try:
        result = _app()(standalone_mode=False)
    except NearfarError as error:
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except BrokenPipeError:  # the reader of our output has gone: nothing is wrong
        sys.stderr.close()
        return 0
    except MemoryError:
        return _say("out of memory; take a smaller batch_size, or fewer rows", 1)
    except OSError as error:
        return _say(f"{error.filename or 'the system'}: {error.strerror or error}; see the place named", 1)
    except Exception as error:
        return _usage(error)
    return result if isinstance(result, int) else 0


def _usage(error: Exception) -> int:
    """Say what click found wrong with the words given; anything else is a bug, and shown whole."""
    form, code = getattr(error, "format_message", None), getattr(error, "exit_code", None)
    if form is None or code is None:
        raise error
    context: Any = getattr(error, "ctx", None)
    hint = f"; see {context.command_path} --help" if context is not None else ""
    return _say(f"{form()}{hint}" if form() else "", int(code))


def _say(message: str, code: int) -> int:
    if message:
        print(f"nearfar: {message}", file=sys.stderr)
    return code


def _warn(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: str | None = None
) -> None:
    if issubclass(category, UserWarning):  # ours; the libraries' deprecations are not the user's concern
        print(f"warning: {message}", file=sys.stderr)
