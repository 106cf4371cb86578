"""`ccsr serve`: the web page and the HTTP API."""

import argparse
import os
import threading
import webbrowser

from ccsr.cli import terminal
from ccsr.cli.arguments import Command, Parser, given
from ccsr.errors import MissingExtraError
from ccsr.serve.settings import ServeSettings


def parser() -> Parser:
    """Flags from the settings of a server."""
    made = Parser(
        "ccsr serve",
        "[options]",
        "Upscale in a browser, and by HTTP. Pictures stay on the machine that serves.",
        "Jobs and results are kept in the data folder: a restart goes on where it was stopped.",
    )
    made.add_argument("-v", "--verbose", action="store_true", help="print every request")
    made.add_argument("--open", action="store_true", help="open the page in the browser of this machine")
    made.add_options(ServeSettings)
    return made


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    typed = given(arguments, ServeSettings)
    if not typed.keys() & {"token", "token_file"}:
        typed["token"] = os.environ.get("CCSR_TOKEN") or None
        typed["token_file"] = os.environ.get("CCSR_TOKEN_FILE") or None
    settings = ServeSettings.from_mapping(typed)
    try:
        from ccsr.serve.run import serve
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "starlette", "uvicorn", "pydantic", "multipart", "python_multipart"):
            raise
        raise MissingExtraError(f"ccsr serve needs {error.name}", hint='pip install "ccsr[serve]"') from error

    def ready(address: str) -> None:
        terminal.say(f"open {address} in a browser; {address}/docs has the API; Ctrl-C stops it")
        if arguments.open:
            # In a thread: some browsers return only when they are closed.
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    try:
        serve(settings, ready, arguments.verbose)
    except KeyboardInterrupt:
        terminal.say("stopped; what was not done goes on at the next start")
    return 0


COMMANDS = {"serve": Command(parser, run)}
