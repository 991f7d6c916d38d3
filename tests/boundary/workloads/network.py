"""Nothing outside can be reached, and one hears so at once."""

import urllib.error
import urllib.request

try:
    urllib.request.urlopen("http://192.0.2.1/", timeout=5)
except urllib.error.URLError:
    pass
