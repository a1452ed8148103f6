"""LLVM IR of functions of a card -> PTX text -> assembled, where there is what does it."""

from __future__ import annotations

import glob
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import llvmlite.binding as llvm
import pytest

from hybrid.backends.cuda.function import GpuFunction
from hybrid.backends.cuda.machine.assemblers import assembler
from hybrid.core.errors import BackendError

TRIPLE = "nvptx64-nvidia-cuda"
# the system's CUDA toolkit, or the nvidia-cuda-nvcc wheel
PLACES = ["/usr/local/cuda*/bin/ptxas", f"{sysconfig.get_path('purelib')}/nvidia/**/bin/ptxas"]
FOUND = sorted(path for place in PLACES for path in glob.glob(place, recursive=True))
PTXAS = shutil.which("ptxas") or next(iter(FOUND), None)


def ptx_of(text: str, arch: str = "sm_90") -> str:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(TRIPLE).create_target_machine(cpu=arch, opt=3)
    head = f'target triple = "{TRIPLE}"\ntarget datalayout = "{machine.target_data}"\n'
    module = llvm.parse_assembly(head + text, llvm.create_context())
    module.verify()
    return str(machine.emit_assembly(module))


def assemble(ptx: str, folder: Path, arch: str = "sm_90") -> dict[str, int]:
    """What ptxas says of the kernel: registers, stack, spills.  Where only nvJitLink is there the
    kernel is assembled by it, which says nothing; the test is skipped where neither is."""
    if PTXAS is None:
        try:
            assembler()(ptx, arch)
        except BackendError as error:
            if "nothing here that assembles" not in str(error):
                raise
            pytest.skip("neither ptxas nor nvJitLink is installed")
        return {"registers": 0, "stack": 0, "spills": 0}
    source = folder / "k.ptx"
    source.write_text(ptx)
    done = subprocess.run(
        [PTXAS, f"-arch={arch}", "-v", str(source), "-o", str(folder / "k.cubin")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr + ptx
    found = {
        "registers": r"Used (\d+) registers",
        "stack": r"(\d+) bytes stack frame",
        "spills": r"(\d+) bytes spill stores",
    }
    matches = {name: re.search(pattern, done.stderr) for name, pattern in found.items()}
    return {name: int(match.group(1)) if match else 0 for name, match in matches.items()}


def checked_ptx(functions: list[GpuFunction], folder: Path) -> list[str]:
    """PTX of functions, assembled; nothing is approximated, flushed, foreign or spilled."""
    texts = []
    for function in functions:
        ptx = ptx_of(function.text)
        assert function.symbol in ptx and ".extern .func" not in ptx
        assert not re.search(r"\.ftz|\.approx|\.full|mad\.rn", ptx), ptx
        assert assemble(ptx, folder)["spills"] == 0
        texts.append(ptx)
    return texts
