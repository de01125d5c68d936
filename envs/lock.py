"""Write the versions installed in this Python to requirements.lock (pip) and environment.yaml (conda), both alike."""

import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
# torch names the exact versions of its CUDA libraries itself, and its CPU build needs none of them.
LEFT_OUT = ("pip==", "nvidia", "cuda", "triton")

frozen = subprocess.run(
    [sys.executable, "-m", "pip", "freeze", "--all", "--exclude-editable"],
    capture_output=True,
    encoding="utf-8",
    check=True,
).stdout.splitlines()
pins = [line for line in frozen if not line.startswith(LEFT_OUT)]
notice = "# Versions that were tested together; written by 'make lock'.\n"

(HERE / "requirements.lock").write_text(notice + "".join(f"{pin}\n" for pin in pins), encoding="utf-8")

python = ".".join(platform.python_version_tuple()[:2])
environment = (
    f"name: invgrad\nchannels: [conda-forge, nodefaults]\ndependencies:\n  - python={python}\n  - pip\n  - pip:\n"
)
(HERE / "environment.yaml").write_text(
    notice + environment + "".join(f"      - {pin}\n" for pin in pins), encoding="utf-8"
)
