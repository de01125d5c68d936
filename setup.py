"""The compiled kernels, once for each generation of x86 processors; the package picks one when it runs.

They are optional: without a C++ compiler the package installs and gives the same results, more slowly.
"""

import sys

from setuptools import Extension, setup

sys.path.insert(0, "src")
from invgrad.tangent.kernels.builds import FLAGS, GENERATIONS, KINDS, generations, source_checksum  # noqa: E402

setup(
    # Whatever the times of the files are: after a checkout or a copy they say nothing. And one by one, since the builds of
    # a source are linked from one object file, each from its own version of it.
    options={"build_ext": {"force": True}},
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
