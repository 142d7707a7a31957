"""Every compiled kernel of the package lowers for TPUs and for CUDA, without compiling it.

The examples of the docstrings are run while every module-level `jax.jit` function is replaced by
a stand-in that lowers it for both platforms and answers with ones. So a kernel is lowered with
arguments that it gets in use, nothing of it is compiled or run, and a kernel that no example
reaches is named.
"""

from __future__ import annotations

import contextlib
import doctest
import functools
import importlib
import pkgutil
import sys

import jax
import jax.numpy as jnp

PLATFORMS = ("tpu", "cuda")
LENSES = ("spectra", "bounds", "memory", "inversion", "geometry")
JITTED = type(jax.jit(abs))


class Standin:
    """In place of a kernel: lowers it once, and answers with ones of the right shapes."""

    def __init__(self, kernel, name, found):
        self.kernel, self.name, self.found = kernel, name, found
        functools.update_wrapper(self, kernel)

    def __call__(self, *args, **options):
        if any(isinstance(v, jax.core.Tracer) for v in jax.tree.leaves((args, options))):
            self.found.setdefault(self.name, None)  # lowered in the kernel that calls it
            return self.kernel(*args, **options)
        traced = self.kernel.trace(*args, **options)
        if self.found.get(self.name) is None:
            self.found[self.name] = _failure(traced)
        return jax.tree.map(_ones, traced.out_info)

    def __getattr__(self, name):
        return getattr(self.kernel, name)


def _failure(traced):
    for platform in PLATFORMS:
        try:
            traced.lower(lowering_platforms=(platform,))
        except Exception as error:
            return f"{platform}: {type(error).__name__}: {error}"[:500]
    return ""


def _ones(leaf):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.split(jax.random.key(0), leaf.shape)
    return jnp.ones(leaf.shape, leaf.dtype)


def kernels(package):
    """Module-level jitted functions of a package, by their full names."""
    found = {}
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            if isinstance(value, JITTED) and value.__module__ == info.name:
                found[f"{info.name}.{name}"] = value
    return found


@contextlib.contextmanager
def replaced(standins):
    """Stand-ins, by the id of the kernel, wherever a module of the package holds the kernel."""
    kept = []
    for module in [m for n, m in sys.modules.items() if n.split(".")[0] == "jaxact"]:
        for name, value in list(vars(module).items()):
            if id(value) in standins and isinstance(value, JITTED):
                kept.append((module, name, value))
                setattr(module, name, standins[id(value)])
    try:
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)


def examples(package):
    """The sources of the docstrings' examples of a package, with the names that they may use."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        for test in finder.find(importlib.import_module(info.name)):
            if test.examples:
                yield test.name, test.globs, [e.source for e in test.examples]


def lowered(package):
    """Kernel -> "" or why it does not lower; kernels that were not reached are left out."""
    found = {}
    standins = {id(v): Standin(v, n, found) for n, v in kernels(package).items()}
    with replaced(standins):
        for _, globs, sources in examples(package):
            with contextlib.suppress(Exception):
                for source in sources:
                    exec(compile(source, "<example>", "exec"), globs)  # ones end some early
    return found


if __name__ == "__main__":
    import time

    for lens in sys.argv[1:]:
        t = time.process_time()
        package = importlib.import_module(f"jaxact.{lens}")
        found = lowered(package)
        print(
            lens,
            time.process_time() - t,
            {k: v for k, v in found.items() if v},
            sorted(set(kernels(package)) - set(found)),
            [k for k, v in found.items() if v is None],
            flush=True,
        )
