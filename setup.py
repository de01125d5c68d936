"""The compiled kernels, once for each generation of x86 processors; the package picks one when it runs.

They are optional: without a C++ compiler the package installs and gives the same results, more slowly.
"""

import sys
from copy import copy

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, "src")
from invgrad.tangent.kernels.builds import FLAGS, GENERATIONS, KINDS, generations, source_checksum


class SideBySide(build_ext):
    """Builds each extension in a folder of its own, since an object file is named after its source alone."""

    def build_extension(self, extension: Extension) -> None:
        """Build one extension."""
        own = copy(self)
        own.build_temp = f"{self.build_temp}/{extension.name}"
        build_ext.build_extension(own, extension)


setup(
    cmdclass={"build_ext": SideBySide},
    # Whatever the times of the files are: after a checkout or a copy they say nothing.
    options={"build_ext": {"force": True, "parallel": True}},
    ext_modules=[
        Extension(
            f"invgrad.tangent.kernels._{kind}_{generation}",
            [f"src/invgrad/tangent/kernels/_{kind}.cpp"],
            define_macros=[("CHECKSUM", f'"{source_checksum(kind)}"')],
            extra_compile_args=[*FLAGS, *GENERATIONS[generation]],
            extra_link_args=["-fopenmp"],
            optional=True,
        )
        for kind in KINDS
        for generation in generations()
    ],
)
