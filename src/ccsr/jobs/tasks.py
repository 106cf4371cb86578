"""What is to be done: names, headers, plans, and what an earlier run has done already; nothing is written."""

import dataclasses
import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ccsr import images
from ccsr.errors import CCSRError, ImageError, MissingExtraError, NotAPictureError, OptionError
from ccsr.jobs.claims import refusal
from ccsr.jobs.journal import Fingerprint, Journal, Journals
from ccsr.jobs.names import Naming, Source, check_names, expand, intermediate, placer
from ccsr.jobs.records import Job, Maps, PlannedResult, Prepared, Task, as_ours
from ccsr.options import UpscaleOptions
from ccsr.plan import Plan, make_plan, output_size, resolve_machine
from ccsr.stability.maps import map_paths
from ccsr.weights.manifest import file_sha256


def prepare(job: Job, options: UpscaleOptions) -> Prepared:
    """One task for each result, in the order of the inputs; broken inputs are tasks that have failed already.

    What was found in a folder fails only where its name says that it is a picture: what else is none is passed over,
    and of kinds that are not read are tasks told as unread. Reads headers and journals, writes nothing.

    Raises:
        CCSRError: nothing may start: no picture, two results of one name, a result over an input, impossible settings,
            or a journal that cannot be read.
    """
    sources = expand(job.inputs, Path(job.output) if job.output else None)
    naming = Naming.of(job.inputs, job.output, options)
    seen = [_Named.of(source, naming, options) for source in sources]
    own_results = _own_results(seen)
    kept = [n for n in seen if not n.is_passed_over and n.source.path not in own_results]
    named = _without_clashes(kept, naming, options)
    passed_over = [n.source.path for n in seen if n.is_passed_over]
    _check_that_there_is_one(job.inputs, named, passed_over)
    inputs = [source.path for source in sources if source.path not in own_results]
    check_names([(p, n.source.path) for n in named for p in n.written(options)], inputs)
    resolve_machine(options)
    facts = {"mask": _hash_of_picture(Path(options.mask))} if options.mask else {}
    with ExitStack() as stack:
        journals = Journals(stack)
        plans: dict[tuple[int, int], Plan] = {}
        tasks = [task for n in named for task in _tasks(n, job, options, facts, journals, plans)]
    with_pictures = {task.source.root for task in tasks if not task.is_unread}
    without = [p for p in job.inputs if p not in with_pictures and os.path.isdir(p)]
    return Prepared(tasks, passed_over, without, sorted(own_results))


def _own_results(named: "Sequence[_Named]") -> set[Path]:
    """Inputs that this very command made of others of its inputs before, as `*.jpg` has them the second time."""
    place = placer()
    sources = {place(n.source.path): n.source.path for n in named}
    found = set()
    with ExitStack() as stack:
        journals = Journals(stack)
        for n in named:
            for output in n.outputs:
                at = sources.get(place(output))
                journal = journals.existing(n.folder) if at else None
                if at and journal and at != n.source.path and journal.is_result_of(output, n.source.path):
                    found.add(at)
    return found


def _check_that_there_is_one(inputs: Sequence[Path], named: "Sequence[_Named]", passed_over: Sequence[Path]) -> None:
    if any(not n.is_unread for n in named):
        return
    places = ", ".join(map(str, inputs))
    if named:
        error = named[0].error
        assert error is not None  # noqa: S101 -- for the type checker: unread for a reason
        raise OptionError(f"there is no picture in {places} that can be read: {error.what}", hint=error.hint)
    others = f", only {kinds_of(passed_over)}" if passed_over else ""
    raise OptionError(f"there is no picture in {places}{others}", hint="name a file or another folder")


def kinds_of(paths: Sequence[Path]) -> str:
    """Files by the ends of their names, the most frequent first: `14 other files (9 .xmp, 5 .mov)`."""
    kinds = Counter(path.suffix.lower() or "without suffix" for path in paths)
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
    rest = len(paths) - sum(count for _, count in kinds.most_common(5))
    return f"{len(paths)} other file{'s' * (len(paths) > 1)} ({listed}{f', {rest} more' if rest else ''})"


def _without_clashes(named: "Sequence[_Named]", naming: Naming, options: UpscaleOptions) -> "list[_Named]":
    """Results of different names, where that can be: of `photo.bmp`, `photo.gif` and `photo.png`, whose results would
    all be `photo.png`, the one that ends like it keeps it, or else the first, and the others' results are called by
    their whole names. Many disks do not tell `photo.png` from `photo.PNG`, so that these are one name here. Pictures of
    one whole name are left for `check_names` to refuse."""
    looked_up, taken = placer(), dict[tuple[str, str], str]()

    def place(path: Path) -> tuple[str, str]:
        folder, name = looked_up(path)
        return folder, name.lower()

    settled = list(named)
    keep_their_suffix = [n.header is not None and n.outputs[0].suffix == n.source.path.suffix for n in named]
    for i in sorted(range(len(named)), key=lambda i: not keep_their_suffix[i]):
        source, name = named[i].source, named[i].source.path.name.lower()
        others = {taken[key] for key in map(place, named[i].written(options)) if key in taken}
        if others and name not in others:
            settled[i] = _Named.of(dataclasses.replace(source, is_called_in_full=True), naming, options)
        taken.update((place(path), name) for path in settled[i].written(options))
    return settled


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

    @property
    def is_passed_over(self) -> bool:
        """Whether it is no picture, and neither its name nor the user said that it is."""
        return self._is_unnamed and isinstance(self.error, NotAPictureError)

    @property
    def is_unread(self) -> bool:
        """Whether it may be a picture, but of a kind that is not read here, and the user did not ask for it."""
        if self.source.root is not None and isinstance(self.error, MissingExtraError):
            return True
        return self._is_unnamed and self.error is not None and not self.is_passed_over

    @property
    def _is_unnamed(self) -> bool:
        source = self.source
        return source.root is not None and not source.is_named_as_picture and not os.path.isdir(source.path)

    def written(self, options: UpscaleOptions) -> list[Path]:
        """All files that come of it."""
        times = options.trajectory.timesteps if options.intermediates else ()
        maps = map_paths(self.stem) if self.stem and options.stability_map else ()
        return [*(p for output in self.outputs for p in (output, *(intermediate(output, t) for t in times))), *maps]

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
        yield Task(named.source, 0, None, error=named.error, is_unread=named.is_unread)
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
        journal = None if job.overwrite else journals.existing(named.folder)
        if not job.overwrite and os.path.lexists(output):
            yield _known(task, planned, journal)
        else:
            has_failed = journal is not None and journal.state_of(output, fingerprint) == "failed"
            yield dataclasses.replace(task, has_failed=has_failed)


_BYTES_DEPEND_ON = ("device", "dtype", "threads", "tile", "vae_tile", "overlap", "output_width", "output_height")


def _known(task: Task, planned: PlannedResult, journal: Journal | None) -> Task:
    """A task whose result exists: done, to be done again, or refused."""
    match journal.state_of(planned.output, planned.fingerprint) if journal else None:
        case "done":
            return dataclasses.replace(task, is_done=True)
        case "started":
            # That run was stopped at this very result: the file is its own, or what it was allowed to replace.
            return task
    return dataclasses.replace(task, error=refusal(task, planned, journal))
