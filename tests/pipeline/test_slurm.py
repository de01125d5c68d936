"""A night on a cluster: a real SLURM of one node with two made-up GPUs, and what goes wrong on it."""

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import projects
import pytest
import yaml
from projects import ROOT, done, mini, run
from test_faults import assert_undisturbed, started

from invgrad.experiments.config import CONFIG, load
from invgrad.experiments.plan import Plan
from invgrad.performance.cost import GPU_BENCH, Speed
from invgrad.performance.work import works
from invgrad.settings import read_yaml

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
TOOLS = ROOT / "tests/slurm"
NOT_HERE = 77
"""What `cluster` exits with where SLURM is not installed, or must not be started."""
PROFILES = ("--profile", "slurm", "--profile", str(TOOLS / "profile"))
CANCEL = (
    """squeue --me --noheader --format "%i %Z" | awk -v here="$PWD" '$2 == here {print $1}' | """
    "xargs --no-run-if-empty scancel"
)
FOR_A_SHELL = json.dumps({"resnet*": """there's $(touch bought) `touch bought` no "time"\nat all"""})
"""Settings that a shell on the way would not take literally."""
ON_CLUSTER = ("snakemake", *PROFILES, "--config", "scale=mini", f"left_out={FOR_A_SHELL}")


@contextlib.contextmanager
def cluster(folder: Path, *accounting: str) -> Iterator[None]:
    """A cluster that all commands below find through their environment."""
    start = run(ROOT, TOOLS / "cluster", "start", folder, *accounting)
    if start.returncode == NOT_HERE:
        pytest.skip(start.stderr.strip())
    done(start)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
        yield
    done(run(ROOT, TOOLS / "cluster", "stop", folder))


@pytest.fixture(scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with cluster(tmp_path_factory.mktemp("cluster")):
        yield


def jobs() -> dict[str, dict[str, str]]:
    """Every job that the cluster remembers: what it says of it, by id."""
    lines = done(run(ROOT, "scontrol", "show", "job", "--oneliner")).splitlines()
    words = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines if "JobId" in line]
    return {each["JobId"]: each for each in words}


def running(folder: Path) -> dict[str, str]:
    """The state of the jobs of a project that have not ended, by id."""
    listed = done(run(ROOT, "squeue", "--noheader", "--format", "%i %T %Z", "--states", "RUNNING,PENDING"))
    words = [line.split() for line in listed.splitlines()]
    return {number: state for number, state, place in words if place == str(folder)}


def until(condition: Callable[[], Any], what: str, seconds: float = 400) -> Any:
    """What the condition comes to. The time is long, since other tests run beside this one."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            states = [f"{job['JobName']} {job['JobState']} {job['RunTime']}" for job in jobs().values()]
            pytest.fail("\n".join([f"{what}: not seen in {seconds} s; jobs:", *states]))
        time.sleep(0.3)
    return value


def attacks(folder: Path) -> dict[str, tuple[int, str]]:
    """The attacks of this project that run and have kept a state: by job, the process and what it makes."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text().split("\0")
            here = (process / "cwd").resolve() == folder
            variables = dict(re.findall(r"([A-Z_]+)=([^\0]*)", (process / "environ").read_text()))
        except OSError:
            continue
        job = variables.get("SLURM_JOB_ID")
        if here and job and words[1:4] == ["-m", "invgrad", "--log"] and words[5] == "attack":
            state = folder / words[words.index("--checkpoint") + 1]
            if state.exists():
                found[job] = int(process.name), f"{state.parent.name}/{state.stem}"
    return found


def stopped(folder: Path, number: int, besides: Collection[str] = ()) -> dict[str, tuple[int, str]]:
    """So many attacks of other jobs than these, each stopped once seen, lest it end before the others begin or while a
    test looks at it. Whoever cancels a job, or ends it, wakes it.
    """
    seen: dict[str, tuple[int, str]] = {}

    def enough() -> bool:
        now = attacks(folder)
        for job in [job for job in seen if job not in now]:
            del seen[job]
        for job in [job for job in now if job not in {*seen, *besides}][: number - len(seen)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(now[job][0], signal.SIGSTOP)
                seen[job] = now[job]
        return len(seen) == number

    until(enough, f"{number} attacks at work")
    return seen


def scheduler(record: Path) -> dict[str, str]:
    """What the cluster told the job that wrote this record."""
    told: dict[str, str] = json.loads(record.read_text())["scheduler"]
    return told


def computed(folder: Path) -> list[Path]:
    """The records of what belongs on a GPU, whatever the networks."""
    return [path for part in ("shared", "reconstructions") for path in folder.glob(f"results/mini/{part}/*/*.json")]


def assert_had_a_gpu(records: list[Path], jobs: dict[str, dict[str, str]]) -> None:
    """Each was asked for and given by one of these jobs."""
    assert {job.get("TresPerJob") or job.get("TresPerNode") for job in jobs.values()} == {"gres:gpu:1"}
    for record in records:
        assert scheduler(record)["CUDA_VISIBLE_DEVICES"] in ("0", "1"), record
        assert scheduler(record)["SLURM_JOB_ID"] in jobs, record


def test_every_rule_of_the_profile_exists() -> None:
    """Snakemake ignores a name that it does not know, and the job would get what any job gets."""
    profile = yaml.safe_load((ROOT / "workflow/profiles/slurm/config.yaml").read_text())
    rules = set(done(run(ROOT, "snakemake", "--list-rules", "--quiet", "all", "--config", "scale=paper")).split())
    grouped = {each.split("=")[0] for each in profile["groups"]}
    assert rules >= {*profile["set-resources"], *profile["set-threads"], *grouped}


def test_long_trainings_get_more_than_any_job_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    profile = yaml.safe_load((ROOT / "workflow/profiles/slurm/config.yaml").read_text())
    victims = Plan(load(read_yaml(CONFIG) | {"scale": "paper"})).project.experiments.victims
    long = {f"victim-{name}" for name, each in victims.items() if each.training and each.training.epochs > 20}
    assert "victim-lenet-trained" in long
    long.add("victim-resnet32-10")  # few epochs of a wide network
    assert long <= profile["set-resources"].keys()
    assert long <= profile["set-threads"].keys()


def test_the_longest_attack_ends_before_its_attempts_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the GPU that was timed."""
    monkeypatch.chdir(ROOT)
    profile = yaml.safe_load((ROOT / "workflow/profiles/slurm/config.yaml").read_text())
    runtime = profile["set-resources"]["attack"]["runtime"]
    minutes = [eval(runtime, {"attempt": attempt}) for attempt in range(1, profile["retries"] + 2)]
    gpu = Speed.read(GPU_BENCH)
    longest = max(
        gpu.attack_hours(work) / work.jobs for work in works(Plan(load(read_yaml(CONFIG) | {"scale": "paper"})))
    )
    assert sum(minutes) / 60 > longest
    assert max(minutes) <= 24 * 60, "what most sites allow"


def test_a_group_fits_into_a_partition_of_four_hours() -> None:
    profile = yaml.safe_load((ROOT / "workflow/profiles/slurm/config.yaml").read_text())
    members = dict(each.split("=") for each in profile["group-components"])
    for each in profile["groups"]:
        rule, group = each.split("=")
        assert profile["set-resources"][rule]["runtime"] * int(members[group]) <= 240


def test_the_profile_takes_the_scale_paper_whatever_else_is_configured() -> None:
    """From the root of a clone, by its link."""
    plan = ("snakemake", "--profile", "slurm", "--dry-run", "--config")
    target = "results/paper/reconstructions/resnet20-4-untrained-lbfgs/seed2-shard9.safetensors"
    said = done(run(ROOT, *plan, "memory=1", "--", target))
    assert target in said
    assert "runtime=240" in said
    assert "unknown scale 'tiny'" in run(ROOT, *plan, "scale=tiny", "--", "table1").stderr


@pytest.mark.dvc
@pytest.mark.usefixtures("_cluster")
def test_dvc_and_the_whole_dag_go_to_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From data to figures; whatever computes has a GPU, and short jobs share one."""
    scale = mini("lenet-trained-proposed", shards=2)
    folder = projects.project(tmp_path, "mini", scale, artefacts=["table1"])
    both = [yaml.safe_load((place / "config.yaml").read_text()) for place in (folder / "slurm", TOOLS / "profile")]
    (folder / "cluster").mkdir()
    (folder / "cluster/config.yaml").write_text(yaml.safe_dump(both[0] | both[1]))
    monkeypatch.setenv("SNAKEMAKE_PROFILE", "cluster")
    done(run(folder, "git", "init", "--quiet"))
    done(run(folder, "dvc", "repro"))
    assert "2 epochs: proposed" in (folder / "figures/mini/table1.md").read_text()
    assert "Data and pipelines are up to date" in done(run(folder, "dvc", "status"))

    mine = {number: job for number, job in jobs().items() if job["WorkDir"] == str(folder)}
    assert {job["JobState"] for job in mine.values()} == {"COMPLETED"}
    trained = folder / "results/mini/victims/lenet-trained/seed0.json"
    assert_had_a_gpu([trained, *computed(folder)], mine)
    attacks = {scheduler(path)["SLURM_JOB_ID"] for path in folder.glob("results/mini/reconstructions/*/*.json")}
    assert len(attacks) == 1
    assert not scheduler(folder / "results/mini/metrics/rows/lenet-trained-proposed/seed0.json")


def end_time_of(job: str) -> None:
    """Let a job's time be up. SLURM looks for such jobs every half a minute, and ends them as any other."""
    # A time that is past when SLURM reads it is refused: on a busy machine that may be a second later.
    done(run(ROOT, "scontrol", "update", f"job={job}", "EndTime=now+5"))


def survive_a_night(tmp_path: Path, *options: str) -> None:
    """The submitting process dies; then a job is cancelled, one hangs until its time is up, the node is drained, a job
    is requeued. In the morning there are figures, and the bytes are those of a quiet night.
    """
    often = {"seconds": 60, "iterations": 50}
    scale = mini("lenet-untrained-proposed", shards=3, iterations=700)
    shared = projects.project(tmp_path / "project", "mini", scale, artefacts=["table1"], checkpoint=often)
    night = (*ON_CLUSTER, "--group-components", "short=1", *options, "--", "table1")
    first = started(shared, *night)
    stopped(shared, 2)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert "RUNNING" in running(shared).values(), "jobs outlive the process that submitted them"
    refused = run(shared, *night)
    assert "--unlock" in refused.stdout + refused.stderr
    assert CANCEL in (ROOT / "docs/running.md").read_text()
    done(run(shared, "bash", "-c", CANCEL))
    until(lambda: not running(shared), "no job is left")
    done(run(shared, *ON_CLUSTER, "--unlock"))

    second = started(shared, *night)
    until(lambda: len(running(shared)) == 3, "three jobs")
    at_work = stopped(shared, 2)
    assert sorted(running(shared).values()) == ["PENDING", "RUNNING", "RUNNING"], "there are two GPUs"
    hanging, cancelled = at_work
    node = done(run(ROOT, "sinfo", "--noheader", "--format", "%n")).strip()
    done(run(ROOT, "scontrol", "update", f"node={node}", "state=drain", "reason=test"))
    done(run(ROOT, "scancel", cancelled))
    until(lambda: cancelled not in running(shared), "the cancelled job is gone")
    time.sleep(3)
    assert list(running(shared).values()).count("RUNNING") == 1, "a drained node takes no job"
    end_time_of(hanging)
    done(run(ROOT, "scontrol", "update", f"node={node}", "state=resume"))
    (requeued,) = stopped(shared, 1, besides=at_work)
    done(run(ROOT, "scontrol", "requeue", requeued))
    said, _ = second.communicate()
    assert second.returncode == 0, said

    ended = jobs()
    assert ended[hanging]["JobState"] == "TIMEOUT"
    assert ended[cancelled]["JobState"] == "CANCELLED"
    assert ended[requeued]["Restarts"] == "1"
    for _, reconstruction in at_work.values():
        record = json.loads((shared / f"results/mini/reconstructions/{reconstruction}.json").read_text())
        assert record["resumed"] >= 1
        assert record["scheduler"]["SLURM_JOB_ID"] not in at_work
    assert_had_a_gpu(computed(shared), {number: job for number, job in ended.items() if job["WorkDir"] == str(shared)})
    assert "LeNet (Zhu), untrained: proposed" in (shared / "figures/mini/table1.md").read_text()
    assert_undisturbed(shared, tmp_path)
    assert not list(shared.glob("results/mini/unfinished/*/*/*.safetensors"))
    assert not list(shared.rglob("bought")), "a shell has read a setting"


@pytest.mark.usefixtures("_cluster")
def test_a_night_in_which_everything_goes_wrong(tmp_path: Path) -> None:
    survive_a_night(tmp_path)


@pytest.mark.night
@pytest.mark.usefixtures("_cluster")
def test_a_group_is_one_process_and_goes_on_where_its_time_was_up(tmp_path: Path) -> None:
    """Its jobs follow each other within two seconds, and each is kept as soon as it is done."""
    scale = mini("lenet-untrained-proposed", shards=3, iterations=10_000)  # SLURM looks at times twice a minute
    folder = projects.project(tmp_path / "project", "mini", scale, artefacts=["table1"])
    night = started(folder, *ON_CLUSTER, "--", "metrics")
    until(
        lambda: len(list(folder.glob("results/mini/unfinished/reconstructions/*/*.safetensors"))) == 2,
        "a second attack",
    )
    assert len(list(folder.glob("results/mini/reconstructions/*/*.safetensors"))) == 1
    (stopped_job,) = running(folder)
    end_time_of(stopped_job)
    said, _ = night.communicate()
    assert night.returncode == 0, said

    mine = {number: job["JobState"] for number, job in jobs().items() if job["WorkDir"] == str(folder)}
    assert list(mine.values()) == ["COMPLETED", "TIMEOUT", "COMPLETED"]
    records = [json.loads(path.read_text()) for path in computed(folder)]
    assert {record["scheduler"]["SLURM_JOB_ID"] for record in records} == mine.keys() - {stopped_job}
    assert sum(record.get("resumed", 0) >= 1 for record in records) >= 2, "the finished one and that at work"
    shares = [
        datetime.fromisoformat(json.loads(path.read_text())["started"])
        for path in folder.glob("results/mini/shared/*/*.json")
    ]
    assert (max(shares) - min(shares)).total_seconds() < 2 * (len(shares) - 1)
    assert_undisturbed(folder, tmp_path)
