"""Builds the package; with COMPILE_GATEWAY=1 what every call runs through becomes machine code, by mypyc.

The code is the same and so is its behaviour, within the rules that tests/test_compiled.py holds and
docs/decisions/0011-compiled-request-path.md explains. Without the variable nothing is compiled and no compiler needed.
"""

import os

from setuptools import setup

PATH = {
    "transport": "deadline framing headers lifetime request",
    "transport/h2": "call cutter intake reader sender starts turn_length",
    "identity": "api_keys",
    "rpc": "codec context prompt reply_bytes shedding status",
    "pipeline": "admission cohort draft enforcement flood obligations outputs prediction recorder tally",
    "policy": "cache input keys regorus",
    "serving": "batch_queue lease pace roster signature spec tensors turn",
    "ledger": "accounts batch commitment gathering leaf line merkle short_way store tree writer",
}
MODULES = [f"gateway/{folder}/{name}.py" for folder, names in PATH.items() for name in names.split()]

if __name__ == "__main__":
    modules = []
    if os.environ.get("COMPILE_GATEWAY") == "1":
        from mypyc.build import mypycify

        # mypyc warns of what it makes a list of, and of nothing else; one library holds all modules.
        modules = mypycify(["--config-file=pyproject.toml", *MODULES], group_name="gateway_path")
    setup(ext_modules=modules)
