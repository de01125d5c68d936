"""Replication of *Inverting Gradients – How easy is it to break privacy in federated learning?* (NeurIPS 2020).

The names below are for users: `from invgrad import reconstruct, Attack, Shared, GradientClient`. Each is imported when
it is first asked for; `__init__.pyi` has their types. Inside the package, in rules and in notebooks, import from the
modules: code fingerprints follow import statements, and cannot look through these names.
"""

from importlib import import_module

__version__ = "0.1.0"

_MODULES = {
    "attack.options": ("RunOptions",),
    "attack.result": ("Reconstruction",),
    "attack.run": ("reconstruct",),
    "attack.settings": ("Adam", "Analytic", "Attack", "FromImage", "LBFGS", "Normal", "SGD", "Uniform", "Zeros"),
    "clients.settings": ("FederatedAveraging", "GradientClient"),
    "clients.shared": ("Shared",),
    "objective.settings": (
        "AllLayers",
        "Cosine",
        "FirstLayers",
        "L1",
        "LargestLayers",
        "LastLayers",
        "LayerwiseCosine",
        "ListedLayers",
        "Maximum",
        "RandomLayers",
        "SquaredEuclidean",
    ),
    "settings": ("SettingsError",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> object:  # typing takes a while to import
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'invgrad' has no attribute '{name}'")
    return getattr(import_module(f"invgrad.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
