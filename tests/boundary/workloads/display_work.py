"""Show things richly."""

import base64

import pandas as pd
from IPython.display import HTML, Image, Markdown, clear_output, display

display(HTML("<b>bold</b>"), Markdown("*it*"))
display(pd.DataFrame({"a": [1]}))
handle = display("one", display_id=True)
handle.update("two")
clear_output(wait=True)
Image(
    base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
)
