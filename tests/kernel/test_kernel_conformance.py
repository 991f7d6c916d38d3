"""`jupyter_kernel_test`, Jupyter's own tests of kernels, with ipykernel's answers as what is right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jupyter_kernel_test
import pytest
from jupyter_client.manager import start_new_kernel


class Samples:
    """What the tests ask for; beside ipykernel's own samples (ipykernel's `tests/test_kernel.py`) more of each."""

    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = [
        {"text": "zi", "matches": {"zip"}},
        {"text": "impor", "matches": {"import"}},
        {"text": "%tim", "matches": {"%time", "%timeit", "%%time", "%%timeit"}},
    ]
    complete_code_samples = ["1", "print('hello')", "def f():\n    pass\n", "%time 1", "!ls"]
    incomplete_code_samples = ["print('hello'", "def f():", "for x in y:\n    x", "%%bash\nls"]
    invalid_code_samples = ["import = 7q", "x === 1"]
    code_page_something = "zip?"
    code_generate_error = "raise ValueError('wrong')"
    code_execute_result = [
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
    ]
    code_display_data = [
        {
            "code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))",
            "mime": "text/html",
        },
        {
            "code": "from IPython.display import Math, display; display(Math('\\\\frac{1}{2}'))",
            "mime": "text/latex",
        },
    ]
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"


class TestIsolated(Samples, jupyter_kernel_test.KernelTests):
    """The isolated kernel."""

    kernel_name = "isolated"


class TestStudent(Samples, jupyter_kernel_test.KernelTests):
    """The kernel under the policy `untrusted`: its output has a gutter, and is never LaTeX."""

    kernel_name = "student"
    code_display_data = Samples.code_display_data[:1]
    code_execute_result = [
        {**sample, "result": f"▏{sample['result']}"} for sample in Samples.code_execute_result
    ]


@pytest.mark.parametrize("sample", [*Samples.complete_code_samples, *Samples.incomplete_code_samples])
def test_the_samples_are_what_ipykernel_says(sample: str, plain: Any) -> None:
    plain.is_complete(sample)
    reply = plain.get_shell_msg(timeout=30)
    while reply["msg_type"] != "is_complete_reply":
        reply = plain.get_shell_msg(timeout=30)
    wanted = "complete" if sample in Samples.complete_code_samples else "incomplete"
    assert reply["content"]["status"] == wanted


@pytest.fixture(scope="module")
def plain() -> Iterator[Any]:
    """Give a client of a plain ipykernel."""
    manager, client = start_new_kernel(kernel_name="python3")
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)
