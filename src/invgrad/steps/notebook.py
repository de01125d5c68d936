"""Step `notebook`: execution of a notebook that is written as a script."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jupytext
import nbformat
import papermill
from papermill.inspection import inspect_notebook

from invgrad.results.files import write
from invgrad.results.fingerprints import code_of_notebook
from invgrad.results.origin import Origin, numbered
from invgrad.results.provenance import Record
from invgrad.settings import SettingsError, unknown

KERNEL = "invgrad"


def execute(
    source: Path,
    parameters: Mapping[str, Any],
    out: Path,
    log: Path,
    reads: Sequence[Path] = (),
    writes: Sequence[Path] = (),
) -> None:
    """Execute the percent script `source` with these parameters in this Python, and write the notebook to `out`.

    `reads`, `writes`: files of the notebook's own, which the record names.

    The notebook is written to `log` while it runs, so that it is there also when a cell fails. Raises `SettingsError`
    for a parameter that the notebook does not have, and for a cell that fails.
    """
    code = code_of_notebook(source)
    record = Record(Origin.of("notebook", dict(parameters), numbered("input", reads), code))
    notebook = jupytext.read(source)
    notebook.metadata["kernelspec"] = {"name": KERNEL, "display_name": "Python 3", "language": "python"}
    log.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        os.environ["JUPYTER_PATH"] = str(_kernel(Path(folder)))
        draft = Path(folder) / "draft.ipynb"
        nbformat.write(_tidied(notebook), draft)
        known = inspect_notebook(str(draft))
        for name in parameters:
            if name not in known:
                raise SettingsError(f"{source}: {unknown('parameter', name, known)}")
        try:
            papermill.execute_notebook(
                str(draft), str(log), parameters=dict(parameters), progress_bar=False, cwd=str(Path.cwd())
            )
        except papermill.PapermillExecutionError as error:
            raise SettingsError(f"{source}: {error.ename}: {error.evalue} (the notebook so far: {log})") from None
    write(out, lambda partial: nbformat.write(_tidied(nbformat.read(log, as_version=4)), partial))
    record.write(out, also=writes)


def run_kernel(connection: Path) -> None:
    """Be the kernel of a notebook, for the process that wrote this connection file."""
    import matplotlib
    from ipykernel.kernelapp import launch_new_instance

    # No backend of the user's, which may need a display. The kernel reads the variable as it imports matplotlib; a warm
    # process has imported it already.
    matplotlib.rcParams["backend"] = os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    launch_new_instance(argv=["-f", str(connection), f"--IPKernelApp.parent_handle={os.getppid()}"])


def _kernel(folder: Path) -> Path:
    """Make a Jupyter path whose only kernel is this Python; none needs to be registered on the machine."""
    spec = {
        "argv": [sys.executable, "-m", "invgrad", "kernel", "--connection", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
    }
    home = folder / "kernels" / KERNEL
    home.mkdir(parents=True)
    (home / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    return folder


def _tidied(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Remove times and random names, so that the same results give the same file."""
    notebook.metadata.pop("papermill", None)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        for key in ("papermill", "execution", "jupyter"):
            cell.metadata.pop(key, None)
    return notebook
