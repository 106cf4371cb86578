"""The settings of `ccsr serve`. Standard library only: the command line draws its flags from here."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from ccsr.errors import OptionError
from ccsr.options import options_of


def _setting(default: Any, help: str, group: str, **meta: Any) -> Any:
    return field(default=default, metadata={"help": help, "group": group, **meta})


@dataclass(frozen=True)
class ServeSettings:
    """Address, limits and places of one server."""

    host: str = _setting("127.0.0.1", "address to listen at; any but this machine's own needs a token", "address")
    port: int = _setting(8765, "0 takes a free one", "address", minimum=0, maximum=65535)
    token: str | None = _setting(
        None, "secret that clients send as `Authorization: Bearer ...` (default: CCSR_TOKEN)", "address"
    )
    token_file: str | None = _setting(
        None, "file that holds the token and nothing else (default: CCSR_TOKEN_FILE)", "address", unit="FILE"
    )
    model: str = _setting(
        "nano",
        "model to offer first, beside those of `ccsr models list`",
        "work",
        short="-m",
        unit="NAME|FOLDER|HUB-ID",
    )
    device: str = _setting("auto", "auto is every GPU there is, else the CPU; or cpu, cuda, cuda:N, mps", "work")
    threads: int | None = _setting(None, "CPU threads of one job (default: the cores)", "work", minimum=1, maximum=1024)
    queue: int = _setting(64, "jobs that may wait; further ones are told to come back", "limits", minimum=1)
    max_megabytes: float = _setting(256.0, "size of one request", "limits", minimum=0.001)
    max_megapixels: float = _setting(268.0, "size of one picture that comes in", "limits", minimum=0.001)
    max_output_megapixels: float = _setting(268.0, "size of one result", "limits", minimum=0.001)
    max_files: int = _setting(50, "pictures of one job", "limits", minimum=1)
    max_results: int = _setting(200, "results of one job, samples counted", "limits", minimum=1)
    max_connections: int = _setting(
        512, "connections at once; beyond them those go first that have not asked yet", "limits", minimum=8
    )
    header_seconds: float = _setting(15.0, "time for the header of a request to arrive", "limits", minimum=0.1)
    body_seconds: float = _setting(900.0, "time for the whole body of a request to arrive", "limits", minimum=0.1)
    job_seconds: float = _setting(21600.0, "time that one job may compute", "limits", minimum=0.1)
    wait_seconds: float = _setting(120.0, "time that POST /v1/upscale waits for its result", "limits", minimum=0.1)
    keep_hours: float = _setting(24.0, "how long jobs and results are kept after their end", "storage", minimum=0)
    data: str | None = _setting(
        None, "folder of jobs and results (default: in the user's cache folder)", "storage", unit="FOLDER"
    )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Settings from names and values as typed.

        Raises:
            OptionError: a bad value, or an address beyond this machine without a token.
        """
        known = {o.name: o for o in options_of(cls)}
        settings = cls(**{name: known[name].parse(value) for name, value in mapping.items() if value is not None})
        if settings.token_file is not None:
            if settings.token is not None:
                raise OptionError("--token and --token-file both give the token", hint="give one of them")
            settings = replace(settings, token=_read_token(Path(settings.token_file)))
        if settings.token is not None and (not settings.token.isascii() or settings.token.split() != [settings.token]):
            raise OptionError(
                "the token is empty, has spaces or is not ASCII", hint="for instance: openssl rand -hex 24"
            )
        if not settings.is_local and settings.token is None:
            raise OptionError(
                f"--host {settings.host} is open to other machines, which needs a token",
                hint="give --token or --token-file, or set CCSR_TOKEN or CCSR_TOKEN_FILE",
            )
        return settings

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def _read_token(file: Path) -> str:
    try:
        return file.expanduser().read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise OptionError(
            f"{file}: the token cannot be read: {reason}", hint="for instance: openssl rand -hex 24"
        ) from error
