"""Settings that a plan reads import no torch."""

import subprocess
import sys
from types import ModuleType

import pytest

from invgrad.attack import settings as attack_settings
from invgrad.objective import settings as objective_settings


@pytest.mark.parametrize("module", [attack_settings, objective_settings], ids=lambda module: module.__name__)
def test_settings_import_no_torch(module: ModuleType) -> None:
    code = f"import sys; import {module.__name__}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
