"""The Dockerfile's steps in a new environment, as far as they need no container: install, refuse, serve, be healthy."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8")).splitlines()


def steps(kind: str) -> list[str]:
    return [line.removeprefix(f"{kind} ") for line in LINES if line.startswith(f"{kind} ")]


def copies() -> list[str]:
    """Those from this folder, and not from another stage."""
    return [step for step in steps("COPY") if not step.startswith("--from=")]


def test_a_change_of_the_source_leaves_the_layer_with_torch() -> None:
    (torch,) = (at for at, line in enumerate(LINES) if line.startswith("RUN pip install") and line.endswith(" torch"))
    before = [line for line in LINES[:torch] if line.startswith("COPY ")]
    assert before == ["COPY constraints.txt ./"]


def test_the_image_is_the_environment_alone_and_its_user_a_number() -> None:
    last = LINES[max(at for at, line in enumerate(LINES) if line.startswith("FROM ")) :]
    venv = shlex.split(steps("RUN")[0])[-1]
    assert [line for line in last if line.startswith("COPY ")] == [f"COPY --from=build {venv} {venv}"]
    (user,) = steps("USER")
    assert re.fullmatch(r"([1-9]\d*):\1", user)
    (made,) = (line for line in last if line.startswith("RUN "))
    assert f"chown {user} /data" in made
    assert f"--uid {user.partition(':')[0]} " in made


def test_the_labels_are_the_package_s() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    labels = dict(word.split("=", 1) for word in shlex.split(steps("LABEL")[0]))
    told = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    assert (told["title"], told["licenses"], told["version"]) == (known["name"], known["license"], known["version"])


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {name.removeprefix("./") for step in copies() for name in step.split()[:-1]}
    assert copied == kept
    assert all((ROOT / name).exists() for name in copied)


def test_the_command_is_one_of_ours() -> None:
    import json

    from ccsr.cli.serve import parser
    from ccsr.serve.settings import ServeSettings

    (command,) = steps("CMD")
    words = json.loads(command)
    assert words[:2] == ["ccsr", "serve"]
    arguments = vars(parser().parse(words[2:]))
    settings = {name: value for name, value in arguments.items() if name in ServeSettings.__dataclass_fields__}
    assert not ServeSettings.from_mapping({**settings, "token": "x"}).is_local
    assert f"{ServeSettings().port}" in steps("EXPOSE")[0]


@pytest.mark.slow
def test_its_steps_in_a_new_environment(tmp_path: Path) -> None:
    app = tmp_path / "app"
    for step in copies():
        *sources, target = step.split()
        for source in sources:
            place = app / target / source if target.endswith("/") else app / target
            place.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, place)
    # What is heavy is taken from this environment: the steps then find it there, in the tested versions.
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    here = Path(__import__("torch").__file__).parents[1]
    (packages / "tested.pth").write_text(f"{here}\n")
    home = tmp_path / "data"
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("CCSR_", "PYTHON"))},
        "PATH": f"{tmp_path / 'venv' / 'bin'}:{os.environ['PATH']}",
        "CCSR_HOME": str(home), "CCSR_OFFLINE": "1",
    }  # fmt: skip
    installs = [step for step in steps("RUN") if step.startswith("pip install")]
    assert len(installs) == 2
    for step in installs:
        # The index is another for each machine; setuptools comes from this environment, too.
        words = shlex.split(step.replace('--extra-index-url "$TORCH_INDEX"', ""))
        if words[-1].startswith("."):
            words[-1:] = ["--no-build-isolation", words[-1]]
        done = subprocess.run(words, cwd=app, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    where = subprocess.run(["python", "-c", "import ccsr; print(ccsr.__file__)"], cwd=tmp_path, env=environment,
                           capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert where.startswith(str(packages))
    serve = [str(tmp_path / "venv" / "bin" / "ccsr"), "serve", "--host", "0.0.0.0", "--data", str(home / "serve")]  # noqa: S104
    refused = subprocess.run(serve, env=environment, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "which needs a token" in refused.stderr
    server = subprocess.Popen([*serve, "--port", "0"], env={**environment, "CCSR_TOKEN": "secret"},
                              stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert server.stderr is not None
        port = re.search(r":(\d+) in a browser", server.stderr.readline())[1]  # type: ignore[index]
        (check,) = (line for line in LINES if line.startswith("HEALTHCHECK"))
        script = re.search(r'"-c", "(.*)"\]', check)[1].replace("8765", port)  # type: ignore[index]
        while True:
            healthy = subprocess.run(["python", "-c", script], env=environment, capture_output=True, text=True)
            if healthy.returncode == 0 or server.poll() is not None:
                break
            time.sleep(0.5)
        assert healthy.returncode == 0, healthy.stderr
    finally:
        server.terminate()
        server.wait()
