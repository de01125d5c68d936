"""Clones of the project at scales made for tests."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from invgrad.data.registry import PACKAGED
from invgrad.settings import read_yaml

if TYPE_CHECKING:
    from invgrad.experiments.plan import Plan

ROOT = Path(__file__).parents[1]
FILES = [
    *("Snakefile", "params.yaml", "dvc.yaml", ".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore"),
    *("src", "workflow", "config", "notebooks", "envs", "local", "slurm", "profiles"),
    *("data/datasets.yaml", "data/paper_values.csv", "data/open_details.yaml", "data/victims"),
]
TINY: dict[str, Any] = {
    "about": "tiny scale: for tests",
    "sources": {name: ["packaged"] for name in ("cifar10", "cifar100", "imagenet64", "photos10")},
    "victims": {
        "lenet-trained": {"dataset": "photos10", "training": {"epochs": 2}},
        "lenet-trained-half-loss": {"training": {"epochs": 0}},
        "resnet20-4-*": {"network": {"width": 4}},
        "resnet20-4-trained": {"training": {"epochs": 0}},
        "resnet18-*": {"network": {"width": 2}},
        "resnet18-trained": {"training": {"epochs": 0}},
        "convnet*": {"network": {"width": 2}},
        "resnet32-10": {"network": {"width": 2}, "training": {"epochs": 0}},
        "defences-*": {"training": {"epochs": 0}},
        "imagenet-*": {"dataset": "imagenet64", "network": {"weights": None}},
        "efficientnet-lite0": {"dataset": "imagenet64", "network": {"weights": None}},
    },
    "clients": {
        "*": {"seeds": [0], "targets": {"count": 1}},
        "lenet-untrained": {"seeds": [0, 1], "targets": {"count": 3}, "clients_per_shard": 2},
        "lenet-trained": {"targets": {"count": 2}},
        "*-others": {"targets": {"start": 0}},
        "imagenet-*": {"targets": {"every": 1}},
        "imagenet-resnet18-notebooks": {"targets": {"indices": [2]}},
        "efficientnet-lite0": {"targets": {"indices": [2]}},
        "imagenet-resnet152-owl": {"targets": {"indices": [2]}},
        "resnet32-10": {"targets": {"start": 0, "images_per_client": 6}},
        "defences-*-images16": {"targets": {"images_per_client": 6}},
    },
    "cells": {
        "[!p]*": {"attack": {"iterations": 4, "restarts": 1}},  # not of Proposition 3.1, which is solved at once
        "imagenet-*": {"attack": {"iterations": 1}},
        "efficientnet-*": {"attack": {"iterations": 1}},
        "*-convergence": {"attack": {"restarts": 2, "snapshots": 3}},
    },
    "artefacts": {
        "fig1": {"cells": ["imagenet-resnet18-notebooks", "efficientnet-lite0-tv1"]},
        "table1": {"cells": ["lenet-untrained-lbfgs", "lenet-untrained-proposed", "lenet-trained-proposed"]},
        "fig2": {"cells": ["lenet-untrained-proposed", "lenet-trained-proposed"]},
        "seeds": {"cells": ["lenet-untrained-proposed", "lenet-trained-proposed"]},
        "more-cifar": {"cells": ["lenet-untrained-proposed", "lenet-trained-proposed"]},
        "activation-error": {"cells": ["lenet-untrained-proposed", "lenet-trained-proposed"]},
        "prop1": {"cells": ["prop1-n1", "prop1-n2"]},
        "more-imagenet": {"cells": ["imagenet-resnet18-notebooks"]},
        "fig5": {"cells": ["resnet18-w16-untrained-proposed"]},
        "fig6": {"cells": ["convnet-steps5-lr1e-1"]},
        "table2": {"cells": ["fedavg-e1-n4-b2"]},
        "table2-images": {"cells": ["fedavg-e1-n4-b2"]},
        "ablation": {"cells": ["ablation-proposed", "ablation-euclidean"]},
        "tv-sweep": {"cells": ["lenet-untrained-tv1e-6", "lenet-untrained-tv1e-2"]},
        "variants": {"cells": ["lenet-untrained-tv1e-2", "lenet-untrained-unboxed"]},
        "training-curve": {"cells": ["lenet-epoch1", "lenet-last-epoch"]},
        "defences": {"cells": ["defences-untrained-none", "defences-untrained-sign", "defences-trained-none"]},
        "convergence": {"cells": ["lenet-untrained-convergence"]},
    },
}
"""Every artefact, as little of it as can be."""


def configuration(**changes: Any) -> dict[str, Any]:
    """What params.yaml says, with these changes; at a scale of the tests' own if they name none."""
    ours = {} if "scale" in changes else {"scale": "example", "scales": str(ROOT / "tests/scales")}
    return read_yaml(ROOT / "params.yaml") | ours | changes


def mini(*cells: str, shards: int = 1, iterations: int = 4) -> dict[str, Any]:
    """A scale of these cells of Table 1 alone, of as many images as shards; to be run with the artefacts table1 or
    fig2.
    """
    shown = {"cells": list(cells)}
    return TINY | {
        "about": "mini scale: for tests",
        "clients": TINY["clients"]
        | {
            "lenet-untrained": {"targets": {"count": shards}, "clients_per_shard": 1},
            "lenet-untrained-baseline": {"seeds": [0], "targets": {"count": shards}, "clients_per_shard": 1},
            "lenet-trained": {"targets": {"count": shards}, "clients_per_shard": 1},
        },
        "cells": {"[!p]*": {"attack": {"iterations": iterations, "restarts": 1}}},
        "artefacts": TINY["artefacts"] | {"table1": shown, "fig2": shown},
    }


def project(folder: Path, scale: str, content: dict[str, Any], **parameters: Any) -> Path:
    """A copy of the project in `folder`, with a scale of this name and content, chosen in params.yaml together with
    other parameters. Photographs to train on are few, since each is cut out of a large one.
    """
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir() and not (ROOT / name).is_symlink():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
    add_scale(folder, scale, content)
    choose(folder, scale=scale, **parameters)
    define(folder, photos10=packaged("photos10") | {"images": {"train": 50, "validation": 200}})
    return folder


def add_scale(folder: Path, scale: str, content: dict[str, Any]) -> None:
    """Write a scale of this name."""
    (folder / f"config/scales/{scale}.yaml").write_text(yaml.safe_dump(content))


def choose(folder: Path, **parameters: Any) -> None:
    """Change params.yaml."""
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | parameters))


def packaged(dataset: str) -> dict[str, Any]:
    """What the package says of a data set."""
    entry: dict[str, Any] = read_yaml(PACKAGED)["datasets"][dataset]
    return entry


def define(folder: Path, **datasets: dict[str, Any]) -> Path:
    """Write the data sets of the project's own, which take the place of the package's, and return the file."""
    registry = folder / "data/datasets.yaml"
    registry.write_text(yaml.safe_dump({"datasets": datasets}))
    return registry


def run(folder: Path, *command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command of the environment in the project."""
    how = {"cwd": folder, "env": environment(), "capture_output": True, "text": True, "check": False}
    return subprocess.run(command, **how | options)


def recorded(plan: "Plan", result: Path) -> None:
    """Write the record that a plan expects beside a file, as if all that the file was made from were gone."""
    from invgrad.experiments.expected import expected
    from invgrad.results.files import sha256, write_json
    from invgrad.results.provenance import record_path

    wanted = {each.path: each for each in expected(plan)}
    lineage: dict[str, Any] = {}

    def facts(path: Path) -> dict[str, Any]:
        each, inputs = wanted[path], {}
        for part, source in each.inputs.items():
            inputs[part] = sha256(source) if source.exists() else str(source)
            if source in wanted and not source.exists():
                lineage[str(source)] = facts(source)
        about = {"file": path.name, "step": each.step, "settings": json.loads(each.settings())}
        run = {"device": "cpu: fast", "seconds": 1.0, "commit": "0" * 40, "uncommitted_changes": False, "versions": {}}
        return about | {"code": each.fingerprint, "inputs": inputs} | run

    also = {path.name: sha256(path) for path in wanted[result].also}
    about = facts(result) | {"sha256": sha256(result), "also": also, "lineage": lineage}
    write_json(record_path(result), about)


def invgrad(*arguments: str | Path) -> None:
    """The command line, in this process."""
    from invgrad.cli.main import main

    sys.argv = ["invgrad", *map(str, arguments)]
    main()


def environment() -> dict[str, str]:
    """Of the tests' own, activated."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def done(result: subprocess.CompletedProcess[str]) -> str:
    """What a command that must succeed said."""
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def planned(folder: Path, *config: str, target: str = "all") -> set[str]:
    """Names of the rules that `snakemake all`, or another target, would run."""
    changes = ("--config", *config) if config else ()
    said = done(run(folder, "snakemake", "--cores", "2", target, "--dry-run", "--quiet", "rules", *changes))
    return rules_in(said, target)


def rules_in(said: str, target: str) -> set[str]:
    """Names of the rules that a dry run would run, but for its target."""
    table = said.split("Job stats:")
    lines = table[1].split("total")[0].splitlines()[3:] if len(table) > 1 else []
    return {line.split()[0] for line in lines if line.strip()} - {target}
