"""What pyproject.toml cannot say: the template goes into the wheel, and ``python setup.py build`` makes the executable.

pip never comes to the second part, and never needs cx_Freeze: it calls other commands.
"""

import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

TEMPLATE = Path("template")
EXECUTABLE_COMMANDS = {"build", "build_exe", "bdist_msi", "bdist_mac", "bdist_dmg"}


class BuildWithTemplate(build_py):
    """Copies the template beside the modules; an editable installation finds it in the clone."""

    def run(self):
        super().run()
        if not self.editable_mode:
            shutil.rmtree(self._target(), ignore_errors=True)  # a file removed from the template may lie in build/
            for source in self._template_files():
                target = self._target() / source.relative_to(TEMPLATE)
                target.parent.mkdir(parents=True, exist_ok=True)
                self.copy_file(str(source), str(target))

    def get_source_files(self):
        return super().get_source_files() + [str(path) for path in self._template_files()]

    def get_outputs(self, include_bytecode=1):
        made = [str(self._target() / path.relative_to(TEMPLATE)) for path in self._template_files()]
        return super().get_outputs(include_bytecode) + ([] if self.editable_mode else made)

    def _target(self):
        return Path(self.build_lib) / "gridcompute" / "template"

    def _template_files(self):
        return [path for path in sorted(TEMPLATE.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]


if EXECUTABLE_COMMANDS & set(sys.argv[1:]):
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from admin.executable import build

    build.run()
else:
    setup(cmdclass={"build_py": BuildWithTemplate})
