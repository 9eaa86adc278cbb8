"""Owns virtual environments: which Python can make one, and what goes into it.

    python tools/environment.py --check        # is this Python good enough? says why not
    python tools/environment.py FOLDER         # make FOLDER from this Python, or bring it up to date

Runs on the bare Python that an environment is made from, so it imports nothing but the standard library.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
OLDEST = (3, 11)
GROUPS = ("dist", "lint")
PIP = "pip>=25.1"  # the first that installs dependency groups


def shortcoming() -> str:
    """Say what this Python lacks to build and test aionvme; nothing if it will do."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if sys.version_info < OLDEST:
        return f"{version} is older than {'.'.join(map(str, OLDEST))}"
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return f"it cannot make virtual environments (on Debian: apt-get install python{version}-venv)"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return f"it has no C headers (on Debian: apt-get install python{version}-dev)"
    return ""


def make(folder: Path) -> None:
    """Make the environment, with aionvme as an editable install; what is there already is kept.

    An environment of another version of Python, or of one that is gone, is made anew.
    """
    python = folder / "bin/python"
    if not _is_of_this_version(python):
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
    _pip(python, PIP)
    # Without build isolation, so that later builds in place use the same Cython and find all up to date.
    _pip(python, *_build_requirements())
    groups = [word for group in GROUPS for word in ("--group", group)]
    _pip(python, "--no-build-isolation", "--editable", ".[test]", *groups)


def _is_of_this_version(python: Path) -> bool:
    if not python.exists():
        return False
    code = "import sys; print(sys.version_info[:3])"
    answer = subprocess.run([python, "-c", code], check=False, capture_output=True, text=True)
    return answer.stdout.strip() == str(sys.version_info[:3])


def _build_requirements() -> list[str]:
    import tomllib  # new in 3.11, and `shortcoming` has to run on what is older

    requires = tomllib.loads((REPO / "pyproject.toml").read_text())["build-system"]["requires"]
    return [str(requirement) for requirement in requires]


def _pip(python: Path, *arguments: str) -> None:
    _run(str(python), "-m", "pip", "install", "--quiet", *arguments)


def _run(*command: str) -> None:
    print("environment:", " ".join(command), flush=True)
    settings = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    subprocess.run(command, cwd=REPO, check=True, env=os.environ | settings, stdin=subprocess.DEVNULL)


def main() -> int:
    """Do what the command line says and return an exit status."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    if problem := shortcoming():
        print(f"{sys.executable}: {problem}", file=sys.stderr)
        return 1
    if sys.argv[1] != "--check":
        make(Path(sys.argv[1]).absolute())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"environment: FAILED: {error}")
