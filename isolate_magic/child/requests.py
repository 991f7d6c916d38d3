"""What Jupyter asks of a kernel whose cells all run here, answered as ipykernel would answer (companion)."""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

from IPython.core.error import UsageError
from jupyter_client.jsonutil import json_default

from isolate_magic.child import comms
from isolate_magic.child import kernel as kernels
from isolate_magic.child.faults import CellError
from isolate_magic.child.leaving import leave


class Requests:
    """Be the part of the service that answers for a kernel.

    Attributes:
        kernel: the kernel of this companion.
    """

    kernel: Any
    _begun = False

    def fulfil(self, code: str, number: int, request: str) -> str:
        """Run a cell and return the JSON of the reply's content.

        Args:
            code: the source.
            number: the prompt number.
            request: the JSON of the arguments of `do_execute` beside the code.

        Raises:
            CellError: around a KeyboardInterrupt, about which the host knows more.
        """
        shell, session = self.kernel.shell, self.kernel.session
        if not self._begun:
            self._begun = True
            if "" not in sys.path:
                sys.path.insert(0, "")  # modules beside the notebook, as every kernel finds them
        shell.lines_before = 0
        session.error, session.hide_result = None, False
        kernels.count_to(shell, number)
        reply = kernels.finish(self.kernel.do_execute(code, **json.loads(request)))
        result, shell.outcome, shell.last_execution_result = shell.outcome, None, None
        error = result.error_before_exec or result.error_in_exec
        if isinstance(error, KeyboardInterrupt):
            raise CellError(error, tuple(reply["traceback"]))
        # An error in the use of a magic is text on stderr. Of any other IPython may have failed to make one.
        reply["shown"] = session.error is not None or not isinstance(error, UsageError)
        return json.dumps(reply, default=json_default)

    def is_complete(self, code: str) -> str:
        """Return the JSON of two things: whether a cell is whole, and how far its next line is indented."""
        status, indent = self.kernel.shell.input_transformer_manager.check_complete(code)
        return json.dumps([status, indent])

    def leave(self) -> NoReturn:
        """End this process in good order; see `isolate_magic.child.leaving`."""
        leave(self.kernel.shell.user_ns)

    def comm(self, number: int, kind: str, message: str, buffers: Any) -> Any:
        """Serve a comm message of the notebook; see `isolate_magic.child.comms`."""
        return comms.take(self.kernel, number, kind, message, buffers)
