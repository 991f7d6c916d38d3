"""Values of other libraries, one module each, imported only when the library is seen (both sides)."""
