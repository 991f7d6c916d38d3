"""Packages with compiled parts, of many makers."""

import msgspec
import nh3
import PIL.Image
import rpds
import sympy

assert nh3.clean("<script>x</script>ok") == "ok"
assert msgspec.json.decode(b"[1]") == [1]
PIL.Image.new("RGB", (20, 20)).save("i.jpg")
assert PIL.Image.open("i.jpg").size == (20, 20)
assert sympy.integrate(sympy.Symbol("x"))
assert rpds.HashTrieMap({1: 2})
