"""What is to be done: names, headers, plans, and what an earlier run has done already; nothing is written."""

import dataclasses
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ccsr import images
from ccsr.errors import CCSRError, ImageError
from ccsr.jobs.claims import refusal
from ccsr.jobs.journal import Fingerprint, Journal, Journals
from ccsr.jobs.names import Naming, Source, check_names, expand, intermediate
from ccsr.jobs.records import Job, Maps, PlannedResult, Task, as_ours
from ccsr.options import UpscaleOptions
from ccsr.plan import Plan, make_plan, output_size, resolve_machine
from ccsr.stability.maps import map_paths
from ccsr.weights.manifest import file_sha256


def prepare(job: Job, options: UpscaleOptions) -> list[Task]:
    """One task for each result, in the order of the inputs; broken inputs are tasks that have failed already.

    Reads headers and journals, writes nothing.

    Raises:
        CCSRError: nothing may start: no input, two results of one name, a result over an input, impossible settings,
            or a journal that cannot be read.
    """
    timesteps = options.trajectory.timesteps
    sources = expand(job.inputs, Path(job.output) if job.output else None)
    naming = Naming.of(job.inputs, job.output, options)
    named = [_Named.of(source, naming, options) for source in sources]
    written = [
        (path, n.source.path)
        for n in named
        for output in n.outputs
        for path in (output, *(intermediate(output, t) for t in timesteps if options.intermediates))
    ]
    if options.stability_map:
        written += [(path, n.source.path) for n in named if n.stem for path in map_paths(n.stem)]
    check_names(written, (source.path for source in sources))
    resolve_machine(options)
    facts = {"mask": _hash_of_picture(Path(options.mask))} if options.mask else {}
    with ExitStack() as stack:
        journals = Journals(stack)
        plans: dict[tuple[int, int], Plan] = {}
        return [task for n in named for task in _tasks(n, job, options, facts, journals, plans)]


@dataclass(frozen=True)
class _Named:
    """A source with its header and the paths of its results, or with the reason why it has none."""

    source: Source
    header: images.Header | None = None
    outputs: tuple[Path, ...] = ()
    folder: Path | None = None
    stem: Path | None = None
    """Of the stability map."""
    error: CCSRError | None = None

    @classmethod
    def of(cls, source: Source, naming: Naming, options: UpscaleOptions) -> "_Named":
        folder = naming.folder_of(source)
        try:
            if stat.S_ISDIR(_status(source.path).st_mode):
                raise ImageError("the folder cannot be listed", path=source.path, hint="check its permissions")
            header = images.read_header(source.path)
            # The result may be too large for the input's format.
            width, height = output_size(header.width, header.height, options)
            result = dataclasses.replace(header, width=width, height=height)
        except (CCSRError, OSError) as error:
            return cls(source, error=as_ours(error, source.path))
        suffix = images.output_suffix(result, options.format)
        outputs = tuple(naming.result(source, sample, suffix) for sample in range(options.samples))
        return cls(source, header, outputs, folder, naming.map_stem(source))


def _hash_of_picture(path: Path) -> str:
    """What a result is told apart by that hangs on this picture too.

    Raises:
        ImageError: it is none that can be read.
    """
    images.read_header(path)
    return file_sha256(path)


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        if path.is_symlink() and error.errno in (errno.ENOENT, errno.ELOOP):
            raise ImageError("is a link to a file that does not exist", path=path) from error
        if error.errno == errno.ENOENT:
            raise ImageError("there is no such file", path=path) from error
        raise


def _tasks(
    named: _Named,
    job: Job,
    options: UpscaleOptions,
    facts: dict[str, str],
    journals: Journals,
    plans: dict[tuple[int, int], Plan],
) -> Iterator[Task]:
    if named.header is None:
        yield Task(named.source, 0, None, error=named.error)
        return
    path = named.source.path
    try:
        # Pictures of one size share one plan: a million of them are held at once.
        size = (named.header.width, named.header.height)
        plan = plans.get(size) or plans.setdefault(size, make_plan(*size, options, job.model))
        status = path.stat()
    except (CCSRError, OSError) as error:
        yield Task(named.source, 0, None, error=as_ours(error, path))
        return
    decided = {name: getattr(plan, name) for name in _BYTES_DEPEND_ON}
    for sample, output in enumerate(named.outputs):
        digest = options.digest(**facts, **decided, sample=sample)
        fingerprint = Fingerprint(path, status.st_size, status.st_mtime_ns, digest, job.model.sha256)
        is_last = options.stability_map and sample == len(named.outputs) - 1
        maps = Maps(named.outputs, named.stem) if is_last and named.stem else None
        planned = PlannedResult(output, named.folder, named.header, plan, fingerprint, maps)
        task = Task(named.source, sample, planned)
        if not job.overwrite and os.path.lexists(output):
            yield _known(task, planned, journals.existing(named.folder))
        else:
            yield task


_BYTES_DEPEND_ON = ("device", "dtype", "threads", "tile", "vae_tile", "overlap", "output_width", "output_height")


def _known(task: Task, planned: PlannedResult, journal: Journal | None) -> Task:
    """A task whose result exists: done, to be done again, or refused."""
    match journal.state_of(planned.output, planned.fingerprint) if journal else None:
        case "done":
            return dataclasses.replace(task, is_done=True)
        case "started":
            # That run was stopped at this very result: the file is its own, or what it was allowed to replace.
            return task
    return dataclasses.replace(task, error=refusal(planned, task))
