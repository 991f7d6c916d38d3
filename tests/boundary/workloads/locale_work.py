"""Numbers and names as the locale has them."""

import locale

locale.setlocale(locale.LC_ALL, "C.UTF-8")
assert locale.getpreferredencoding().upper().replace("-", "") == "UTF8"
assert locale.format_string("%d", 1234, grouping=True)
