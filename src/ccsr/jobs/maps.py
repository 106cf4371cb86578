"""The stability map over the samples of one picture, written when the last of them is there."""

import dataclasses

from ccsr.errors import CCSRError
from ccsr.jobs.records import Record, Task
from ccsr.stability.maps import map_paths, measure_files, save_maps


def with_stability_map(record: Record, task: Task, overwrite: bool) -> Record:
    """Write the map if this is a picture's last sample; what hinders it is a warning, not a failure."""
    planned = task.planned
    if planned is None or planned.maps is None or record.status == "failed":
        return record
    maps = planned.maps
    map_path = map_paths(maps.stem)[0]
    if record.status == "skipped" and map_path.exists():
        return dataclasses.replace(record, stability_map=str(map_path))
    # Beside its input, a file of that name may be the user's own; a folder of results is ours.
    if map_path.exists() and not overwrite and planned.folder is None:
        warning = f"{map_path} exists and was left as it is; --overwrite replaces it"
        return dataclasses.replace(record, warnings=(*record.warnings, warning))
    try:
        meter = measure_files(maps.results, str(maps.stem))
        save_maps(meter.deviation.mean(2), meter.mean, maps.stem)
    except (CCSRError, OSError) as error:
        return dataclasses.replace(record, warnings=(*record.warnings, f"no stability map: {error}"))
    return dataclasses.replace(record, stability_map=str(map_path))
