"""Seeds side by side: the same bits, killed or not, and what they tell."""

from __future__ import annotations

import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pubmedbert.errors import InputError
from pubmedbert.finetune import workers
from pubmedbert.finetune.loop import News
from pubmedbert.finetune.run import finetune
from pubmedbert.model.config import ModelError
from tests.finetune.conftest import FAST, content, job


def test_an_error_in_a_worker_is_told(own: Path, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="freeze = 7: the model has 2 layers"):
        finetune(job(own, tiny, workers=2, recipe=replace(FAST, freeze=7)), tmp_path / "run")


def start(own: Path, tiny: Path, folder: Path, workers: int) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from pathlib import Path; from tests.finetune.conftest import job;"
        "from pubmedbert.finetune import loop; from pubmedbert.finetune.run import finetune\n"
        "if __name__ == '__main__':\n"
        "    loop.CHECKPOINT_SECONDS = 0\n"
        f"    given = job(Path({str(own)!r}), Path({str(tiny)!r}), workers={workers})\n"
        f"    finetune(given, Path({str(folder)!r}))"
    )
    script = folder.parent / "script.py"
    script.write_text(code)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL, env=environment)


def test_a_run_killed_at_random_moments_ends_as_if_it_never_was(
    finished: Path, own: Path, tiny: Path, tmp_path: Path
) -> None:
    folder, draw = tmp_path / "run", random.Random(0)
    for kill in range(4):
        process = start(own, tiny, folder, workers=1)
        deadline = time.monotonic() + 60
        while not list(folder.glob(".seed-*/*/checkpoint")) and not list(folder.glob("seed-*")):
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(draw.random() * 0.3)
        process.send_signal(signal.SIGKILL if kill % 2 else signal.SIGTERM)
        process.wait(60)
    finetune(job(own, tiny), folder)
    assert content(folder) == content(finished)


def test_workers_end_with_their_parent_and_not_before(own: Path, tiny: Path, tmp_path: Path) -> None:
    process = start(own, tiny, tmp_path / "run", workers=2)
    deadline = time.monotonic() + 60
    children: list[int] = []
    while len(children) < 2 and time.monotonic() < deadline and process.poll() is None:
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        children = [int(child) for child in listed if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
        time.sleep(0.01)
    assert len(children) == 2
    for child in children:
        os.kill(child, signal.SIGINT)
    time.sleep(0.3)
    assert all(Path(f"/proc/{child}").exists() for child in children), "Ctrl-C is the parent's to answer"
    process.kill()
    process.wait(60)
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "a worker outlives its parent"
        time.sleep(0.05)


def test_workers_side_by_side_give_the_same_bits(finished: Path, own: Path, tiny: Path, tmp_path: Path) -> None:
    finetune(job(own, tiny, workers=2), tmp_path / "run")
    assert content(tmp_path / "run") == content(finished)


def test_what_workers_tell_arrives_whole_and_in_order() -> None:
    told: queue.Queue[News | str] = queue.Queue()
    gathered = workers._Gathered(told)  # type: ignore[arg-type]
    for step in range(4):
        gathered(News(f"update {step}", 0.25))
    gathered(News("epoch 1 done", event=True))
    gathered(News("update 4", 0.25))
    gathered.flush()
    gathered.flush()
    assert [told.get_nowait() for _ in range(told.qsize())] == [
        News("update 3", 1.0),
        News("epoch 1 done", event=True),
        News("update 4", 0.25),
    ]


@pytest.mark.parametrize("count", [1, 2])
def test_a_log_says_how_far_a_run_is(
    own: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    finetune(job(own, tiny, workers=count), tmp_path / "run")
    epochs = 2 * FAST.epochs
    assert f"fine-tuning run: {epochs}/{epochs} epochs" in capsys.readouterr().err


def test_a_killed_worker_is_noticed_while_others_have_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_LOOK_SECONDS", 0.0)

    class Worker:
        exitcode: int | None = None

        def is_alive(self) -> bool:
            return self.exitcode is None

    class Busy:
        def get(self, timeout: float) -> News:
            crew[1].exitcode = -9
            return News("seed 0: epoch 1/4", 0.1)

    crew = [Worker(), Worker()]
    with pytest.raises(InputError, match="a worker was killed"):
        for _, _ in zip(workers._until_done(crew, Busy()), range(3), strict=False):  # type: ignore[arg-type]
            pass


def test_what_a_kill_left_beside_a_finished_run_is_cleared_away(
    finished: Path, own: Path, tiny: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / ".seed-0" / "attempt-0" / "checkpoint").mkdir(parents=True)
    finetune(job(own, tiny), folder)
    assert not (folder / ".seed-0").exists()
    assert content(folder) == content(finished)


def test_a_damaged_model_leaves_nothing(own: Path, tiny: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny, tmp_path / "model")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError):
        finetune(job(own, model), tmp_path / "run")
    assert not (tmp_path / "run").exists()
