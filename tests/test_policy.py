"""Policies: what can be said, what is refused, and when one allows more than another."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import os
import pickle
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolate_magic import spawner
from isolate_magic.errors import IsolateError, PolicyError
from isolate_magic.policy import PRESETS, Policy, fields_table
from isolate_magic.settings import ENVIRONMENT

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with a few files the current one."""
    root = Path(os.path.realpath(tmp_path)) / "home"
    for name in ("data/a.parquet", "data/b.parquet", "data/deep/c.parquet", "data/.env", "out/x", "other/y"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    monkeypatch.chdir(root)
    monkeypatch.setenv("HOME", str(root))
    return root


# Values


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        (4096, 4096), (4096.0, 4096), ("512MiB", 512 * MIB), ("1 GiB", 1 << 30), ("64MB", 64_000_000), ("2G", 2 << 30),
        ("1.5GiB", 3 << 29), ("10kB", 10_000), ("10 k", 10_240), ("7B", 7), ("1tib", 1 << 40), (" 1 MiB ", MIB),
    ],
)  # fmt: skip
def test_sizes_are_bytes(text: Any, amount: int) -> None:
    memory = Policy(memory=text).memory
    assert memory == amount
    assert type(memory) is int


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (30, 30.0), (0.25, 0.25), ("30s", 30.0), ("5min", 300.0), ("1.5h", 5400.0), ("250ms", 0.25), ("2 hours", 7200.0),
        ("1d", 86400.0), (timedelta(minutes=2), 120.0),
    ],
)  # fmt: skip
def test_durations_are_seconds(text: Any, seconds: float) -> None:
    cpu = Policy(cpu=text).cpu
    assert cpu == seconds
    assert type(cpu) is float


@pytest.mark.parametrize("field", ["memory", "disk", "output", "output_rate", "cpu", "wall"])
@pytest.mark.parametrize(
    "value",
    [
        0, -1, True, False, "0s", "0MiB", "-5MiB", "-5s", "5 parsecs", "512", "", "MiB", "s", "1e3s", "nan", "infs", [1],
        float("nan"), float("inf"), -0.5, "9" * 5000 + "s", "٣MiB", b"1MiB", 10**40, 1e300, "0.1B", object(),
    ],
)  # fmt: skip
def test_what_is_no_quantity_is_refused_with_an_example(field: str, value: Any) -> None:
    if value == "0.1B" and field in ("cpu", "wall"):
        value = "0.0ms"
    with pytest.raises(PolicyError) as caught:
        Policy(**{field: value})
    text = str(caught.value)
    assert text.startswith(f"{field} = ")
    assert ('"512MiB"' in text) or ('"30s"' in text)
    assert len(text) < 400


@pytest.mark.parametrize("field", ["processes", "threads", "open_files", "nice", "numa"])
@pytest.mark.parametrize("value", [-1, True, "3", 1.5, float("nan"), 10**12, [1], ()])
def test_what_is_no_count_is_refused(field: str, value: Any) -> None:
    with pytest.raises(PolicyError, match=f"^{field} = .*whole number from"):
        Policy(**{field: value})


def test_nice_and_numa_may_be_zero_but_not_the_number_of_processes() -> None:
    assert (Policy(nice=0).nice, Policy(numa=0).numa) == (0, 0)
    with pytest.raises(PolicyError):
        Policy(processes=0)
    with pytest.raises(PolicyError):
        Policy(nice=20)


@pytest.mark.parametrize("field", ["read", "write", "hidden", "imports", "environment", "cpus"])
@pytest.mark.parametrize("value", ["data", b"data", 3, {"a": 1}, [3.5], [None], [""], Path("data"), True])
def test_what_is_no_list_is_refused(folder: Path, field: str, value: Any) -> None:
    with pytest.raises(PolicyError, match=f"^{field} = "):
        Policy(**{field: value})


@pytest.mark.parametrize(
    ("given_", "stored"),
    [
        (["127.0.0.1:9200"], ("127.0.0.1:9200",)),
        (["[0:0::1]:80"], ("[::1]:80",)),
        (["[::ffff:1.2.3.4]:80"], ("1.2.3.4:80",)),
        (["PyPI.org:443", "pypi.org.:443"], ("pypi.org:443",)),
        (["db_1:5432", "b:1", "a:2"], ("a:2", "b:1", "db_1:5432")),
        ([], "none"),
        ("all", "all"),
        ("none", "none"),
    ],
)  # fmt: skip
def test_addresses_have_one_spelling(given_: Any, stored: Any) -> None:
    assert Policy(network=given_).network == stored


@pytest.mark.parametrize(
    "text",
    [
        "a", "a:", ":80", "a:0", "a:65536", "a:080", "a:+1", "a:-1", "a:1:2", "::1:80", "[::1]", "[1.2.3.4]:80", "[::g]:1",
        "256.1.1.1:80", "1.2.3:80", "127.1:80", "0x7f.1:80", "2130706433:80", "a b:80", "-a:80", "a-:80", "a..b:80", ".:1",
        "a:8٣", "http://a:80", "a/b:80", "[fe80::1%eth0]:80", "\N{LATIN SMALL LETTER U WITH DIAERESIS}:80", "a:80\n", "*:80",
        80, None, ("a", 80),
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: Any) -> None:
    with pytest.raises(PolicyError, match=r'^network = .*"127\.0\.0\.1:9200"'):
        Policy(network=[text])


@pytest.mark.parametrize("value", ["some", "ALL", "a:80", 3, None, True])
def test_what_is_no_network_is_refused(value: Any) -> None:
    with pytest.raises(PolicyError, match='^network = .*"all", "none" or'):
        Policy(network=value)


@pytest.mark.parametrize("name", ["", "a-b", "a.", ".a", "a..b", "import", "1a", "a b", "*"])
def test_what_is_no_module_name_is_refused(name: str) -> None:
    with pytest.raises(PolicyError, match="^imports = .*numpy"):
        Policy(imports=[name])


def test_cpus_are_numbers_or_ranges() -> None:
    assert Policy(cpus="0-3, 5").cpus == (0, 1, 2, 3, 5)
    assert Policy(cpus=[5, 1, 1]).cpus == (1, 5)
    for bad in ("", "3-1", "a", "0-99999999", "1,,2", "-1", [], [-1], [True], [9000], 3):
        with pytest.raises(PolicyError, match="^cpus = "):
            Policy(cpus=bad)


@pytest.mark.parametrize("value", [1, 0, "yes", "true", []])
def test_trusted_takes_nothing_but_true_and_false(value: Any) -> None:
    for field in ("trusted",):
        with pytest.raises(PolicyError, match=f"^{field} = .*True or False"):
            Policy(**{field: value})


def test_an_unknown_field_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(PolicyError, match="no field 'memroy'; did you mean 'memory'"):
        Policy(memroy=1)
    with pytest.raises(PolicyError, match=r"no field 'qqq'; the fields are name, read, .*nice"):
        Policy().but(qqq=1)
    assert issubclass(PolicyError, IsolateError)
    assert issubclass(PolicyError, ValueError)


# Paths


def test_paths_are_absolute_and_links_in_them_stay(folder: Path) -> None:
    (folder / "link").symlink_to("data")
    policy = Policy(read=["data", "./out/../out", "~/other", "link", Path("data")], write=["~"])
    assert policy.read == tuple(f"{folder}/{name}" for name in ("data", "link", "other", "out"))
    assert policy.write == (str(folder),)
    assert Policy(read=["//etc"]).read == ("/etc",)


def test_what_does_not_exist_is_refused(folder: Path) -> None:
    with pytest.raises(PolicyError, match=f"^read = '{folder}/nope'.* does not"):
        Policy(read=["nope"])
    with pytest.raises(PolicyError, match=r"^write = .*create it first"):
        Policy(write=["nope"])
    with pytest.raises(PolicyError, match=r"^hidden = .*matches nothing"):
        Policy(hidden=["data/*.csv"])
    with pytest.raises(PolicyError):
        Policy(read=["~nobody-of-this-name/x"])
    for bad in ("a\0b", "", " ", b"data"):
        with pytest.raises(PolicyError, match="^read = "):
            Policy(read=[bad])


def test_patterns_are_kept_and_expanded_when_asked(folder: Path) -> None:
    policy = Policy(read=["data/*.parquet"], write=["out"], hidden=["data/*e*"])
    assert policy.read == (f"{folder}/data/*.parquet",)
    assert policy.readable() == [f"{folder}/data/a.parquet", f"{folder}/data/b.parquet", f"{folder}/out"]
    (folder / "data/new.parquet").touch()
    assert f"{folder}/data/new.parquet" in policy.readable()
    assert policy.writable() == [f"{folder}/out"]
    assert f"{folder}/data/.env" in policy.concealed()
    assert Policy(read=["data/**/c.parquet"]).readable() == [f"{folder}/data/deep/c.parquet"]
    assert Policy(read=["data/**"]).readable() == [f"{folder}/data"]
    assert Policy().readable() == Policy().writable() == ["/"]
    assert Policy().concealed() == []


def test_a_path_that_looks_like_a_pattern_can_be_given_as_a_path(folder: Path) -> None:
    (folder / "data[1]").mkdir()
    (folder / "data[1]/x*").touch()
    policy = Policy(read=[Path("data[1]")])
    assert policy.readable() == [f"{folder}/data[1]"]
    assert policy.refusal("read", "data[1]/x*") is None
    assert Policy.from_toml(policy.to_toml()) == policy
    with pytest.raises(PolicyError, match="give it as a Path"):
        Policy(read=["data[1]"])
    os.chdir(folder / "data[1]")
    assert Policy(read=["x*"]).readable() == [f"{folder}/data[1]/x*"]


def test_a_file_named_like_a_pattern_does_not_uncover_what_the_pattern_hides(folder: Path) -> None:
    policy = Policy(hidden=["data/*.parquet"])
    (folder / "data/*.parquet").touch()
    assert f"{folder}/data/a.parquet" in policy.concealed()
    assert policy.hide("other").refusal("read", "data/a.parquet")


def test_too_many_paths_are_refused(folder: Path) -> None:
    (folder / "many").mkdir()
    for number in range(1001):
        (folder / "many" / str(number)).touch()
    policy = Policy(read=["many/*"])
    with pytest.raises(PolicyError, match="give the folder instead"):
        policy.readable()
    assert policy.but(read=["many"]).readable() == [f"{folder}/many"]


def test_everything_can_be_named(folder: Path) -> None:
    policy = Policy(read=["/"])
    assert policy.readable() == ["/"]
    assert policy.write == ()
    assert policy.refusal("read", "/etc/passwd") is None


# What follows from what


def test_a_plain_policy_restricts_nothing() -> None:
    policy = Policy()
    assert policy.trusted
    assert policy.read is policy.write is policy.imports is policy.memory is policy.environment is None
    assert (policy.network, policy.hidden, policy.name) == ("all", (), "")


def test_naming_what_may_be_read_forbids_writing(folder: Path) -> None:
    assert Policy(read=["data"]).write == ()
    assert Policy(read=["data"], write=["out"]).write == (f"{folder}/out",)
    assert Policy(write=["out"]).read is None


@pytest.mark.parametrize(
    "change", [{"read": ["data"]}, {"write": ["out"]}, {"hidden": ["out"]}, {"network": "none"}]
)
def test_confined_code_is_not_trusted_unless_that_is_said(folder: Path, change: dict[str, Any]) -> None:
    policy = Policy(**change)
    assert not policy.trusted
    assert Policy(**change, trusted=True).trusted
    assert not Policy().but(**change).trusted
    assert Policy(trusted=True).but(**change).trusted
    assert not Policy(trusted=True).but(trusted=None, **change).trusted


def test_limits_leave_code_trusted() -> None:
    assert Policy(memory="1GiB", cpu=1, imports=["math"], nice=3, environment=[]).trusted


def test_policies_are_frozen_equal_by_what_they_say_and_can_be_copied(folder: Path) -> None:
    policy = Policy(name="a", read=["data"], memory="1MiB")
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.memory = 3  # type: ignore[misc]
    same = Policy(name="b", read=[Path("data"), "data"], memory=MIB)
    assert policy == same
    assert hash(policy) == hash(same)
    assert Policy() == Policy(trusted=True) != Policy(trusted=False)
    for twin in (pickle.loads(pickle.dumps(policy)), copy.deepcopy(policy), eval(repr(policy))):
        assert twin == policy
        assert repr(twin) == repr(policy)
    assert repr(Policy()) == "Policy()"


def test_a_copy_still_knows_what_was_given() -> None:
    for policy in (Policy(trusted=True), Policy()):
        twin = pickle.loads(pickle.dumps(policy))
        assert twin.but(network="none").trusted is policy.but(network="none").trusted


def test_its_signature_shows_the_fields() -> None:
    parameters = inspect.signature(Policy).parameters
    assert list(parameters) == [field.name for field in dataclasses.fields(Policy)] + ["extends"]


# Inheritance and the builder


def test_a_policy_inherits_what_it_does_not_say(folder: Path) -> None:
    child = Policy(extends="untrusted", read=["data"], memory="2GiB")
    assert child.changes(PRESETS["untrusted"]).keys() == {"read", "memory"}
    assert child.name == ""
    assert Policy(extends=child, read=None).read is None
    assert Policy(extends=child, memory=None).memory is None


def test_trust_is_inherited_only_if_it_was_given(folder: Path) -> None:
    assert not Policy(extends="trusted", read=["data"]).trusted
    assert Policy(extends="offline", read=["data"]).trusted
    assert not Policy(extends="untrusted", read=None, write=None, network="all").trusted
    assert Policy(extends="untrusted", read=None, write=None, network="all", trusted=None).trusted


def test_allowing_closes_what_was_open_and_adds_to_what_was_closed(folder: Path) -> None:
    open_ = Policy()
    assert open_.allow_read("data").read == (f"{folder}/data",)
    assert open_.allow_read("data").write == ()
    assert open_.allow_write("out").write == (f"{folder}/out",)
    assert open_.allow_write("out").read is None
    assert open_.allow_tcp("a:1").network == ("a:1",)
    assert open_.allow_import("math").imports == ("math",)
    assert open_.hide("out").hidden == (f"{folder}/out",)
    assert open_ == Policy()
    closed = PRESETS["untrusted"].allow_read("data").allow_read("other", Path("out"))
    assert closed.read == tuple(f"{folder}/{name}" for name in ("data", "other", "out"))
    assert PRESETS["untrusted"].allow_tcp("a:1").allow_tcp("b:2", "a:1").network == ("a:1", "b:2")
    assert open_.allow_tcp().network == "none"


def test_allowing_makes_an_open_policy_untrusted_and_leaves_a_given_trust() -> None:
    assert not Policy().allow_tcp("a:1").trusted
    assert PRESETS["offline"].allow_tcp("a:1").trusted
    assert Policy().allow_import("math").trusted


def test_the_builder_refuses_what_the_constructor_refuses(folder: Path) -> None:
    for build in (
        lambda: Policy().allow_read("nope"),
        lambda: Policy().allow_write(["out"]),
        lambda: Policy().allow_tcp("a"),
        lambda: Policy().allow_import("a-b"),
        lambda: Policy().hide("*.nope"),
        lambda: Policy().but(cpu="1"),
    ):
        with pytest.raises(PolicyError):
            build()


def test_what_was_allowed_may_vanish_while_more_is_allowed(folder: Path) -> None:
    policy = Policy(read=["data", "out"])
    (folder / "out/x").unlink()
    (folder / "out").rmdir()
    assert f"{folder}/out" in (policy.allow_read("other").read or ())
    assert policy.readable() == [f"{folder}/data"]


def test_a_changed_preset_does_not_bear_its_name() -> None:
    changed = PRESETS["untrusted"].allow_tcp("a:1")
    assert changed.name == changed.but(nice=3).name == "untrusted, changed"
    assert Policy(name="mine").but(nice=3).name == "mine"
    assert changed.but(name="new").name == "new"


def test_presets_are_what_their_names_say() -> None:
    assert list(PRESETS) == ["trusted", "offline", "untrusted"]
    assert all(policy.name == name for name, policy in PRESETS.items())
    assert PRESETS["trusted"] == Policy()
    assert PRESETS["offline"].changes(Policy()) == {"network": ("none", "all")}
    untrusted = PRESETS["untrusted"]
    assert not untrusted.trusted
    assert untrusted.read == untrusted.write == ()
    limits = "memory cpu wall processes threads open_files disk output output_rate environment nice"
    assert all(getattr(untrusted, name) is not None for name in limits.split())


def test_a_policy_is_found_by_what_stands_for_it(folder: Path) -> None:
    (folder / "class.toml").write_text("memory = '1MiB'")
    assert Policy.of(None) is PRESETS["trusted"]
    assert Policy.of("offline") is PRESETS["offline"]
    assert Policy.of(PRESETS["offline"]) is PRESETS["offline"]
    for thing in ("class.toml", Path("class.toml"), "~/class.toml", str(folder / "class.toml")):
        assert Policy.of(thing).memory == MIB
        assert Policy.of(thing).name == "class"
    with pytest.raises(PolicyError, match="'trusted', 'offline', 'untrusted'; did you mean 'untrusted'"):
        Policy.of("untrused")
    for thing in (3, b"offline", "", Path("offline"), True, ["offline"]):
        with pytest.raises(PolicyError, match="presets"):
            Policy.of(thing)  # type: ignore[arg-type]


# TOML


def test_toml_and_python_say_the_same(folder: Path) -> None:
    text = """
        extends = "untrusted"
        name = "homework"
        read = ["data/*.parquet"]
        write = ["out"]
        network = ["127.0.0.1:9200"]
        memory = "512MiB"
        cpu = "30s"
        cpus = "0-1"
        wall = 2
    """
    policy = Policy(
        extends="untrusted", name="homework", read=["data/*.parquet"], write=["out"], network=["127.0.0.1:9200"],
        memory=512 * MIB, cpu=30, cpus=[0, 1], wall="2s",
    )  # fmt: skip
    read = Policy.from_toml(text)
    assert read == policy
    assert read.name == "homework"


def test_relative_paths_of_a_file_count_from_its_folder(folder: Path) -> None:
    (folder / "out/p.toml").write_text("read = ['../data', 'x']\nextends = '../base.toml'")
    (folder / "base.toml").write_text("write = ['out']\nnice = 4")
    os.chdir("/")
    policy = Policy.load(folder / "out/p.toml")
    assert policy.read == (f"{folder}/data", f"{folder}/out/x")
    assert policy.write == (f"{folder}/out",)
    assert (policy.nice, policy.name) == (4, "p")
    assert Policy.from_toml("read = ['data']", folder=folder).read == (f"{folder}/data",)


def test_a_circle_of_files_is_refused(folder: Path) -> None:
    (folder / "a.toml").write_text("extends = 'b.toml'")
    (folder / "b.toml").write_text("extends = 'c.toml'")
    (folder / "c.toml").symlink_to("a.toml")
    with pytest.raises(PolicyError, match=r"circle: .*a\.toml extends .*b\.toml extends .*a\.toml"):
        Policy.load("a.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("memroy = 1", "'memroy'; did you mean 'memory'"),
        ("[policy]\nmemory = 1", "no field 'policy'"),
        ("memory = ", "no TOML"),
        ("memory = true", "^.*memory = True"),
        ("memory = nan", "memory = nan"),
        ("cpu = inf", "cpu = inf"),
        ("read = ['nope']", "read = "),
        ("read = [['data']]", "read = "),
        ("extends = 'nope'", "presets"),
        ("extends = 3", "presets"),
        ("extends = 'nope.toml'", "nope.toml cannot be read"),
        ("cpu = 1979-05-27", "cpu = "),
        ("a=" + "[" * 5000, "TOML"),
    ],
)
def test_a_bad_file_is_named(folder: Path, text: str, message: str) -> None:
    (folder / "bad.toml").write_text(text)
    with pytest.raises(PolicyError, match=message) as caught:
        Policy.load("bad.toml")
    assert str(folder / "bad.toml") in str(caught.value)
    with pytest.raises(PolicyError, match=message):
        Policy.from_toml(text)


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "binary.toml").write_bytes(b"\xff\xfe")
    for name in ("binary.toml", "missing.toml", "data"):
        with pytest.raises(PolicyError, match=f"{folder}/{name} cannot be read"):
            Policy.load(name)


def test_toml_writes_sizes_as_people_do() -> None:
    assert (
        Policy(memory="512MiB", disk=1001, wall="1min").to_toml()
        == 'memory = "512MiB"\nwall = 60.0\ndisk = 1001\n'
    )
    assert Policy().to_toml() == ""


def test_a_description_can_be_read_where_the_paths_are_out_of_sight(folder: Path) -> None:
    policy = Policy(read=["data/*"], hidden=["other"], network=["a:1"], cpus="1-2", trusted=True)
    told = json.loads(json.dumps(policy.to_dict()))
    assert told["read"] == [f"{folder}/data/*"]
    folder.rename(folder.with_name("elsewhere"))
    assert Policy.from_dict(told) == policy
    with pytest.raises(PolicyError):
        Policy.from_dict({"extends": "offline"})


addresses = st.builds("{}:{}".format, st.sampled_from(["a", "10.0.0.1", "[::1]"]), st.integers(1, 65535))
limits = st.none() | st.integers(1, 1 << 40)
policies = st.builds(
    Policy,
    read=st.none() | st.lists(st.sampled_from(["/", "/etc", "/etc/*", "/usr", "/tmp"]), max_size=3),
    write=st.none() | st.lists(st.sampled_from(["/tmp", "/etc", "/usr"]), max_size=2),
    hidden=st.lists(st.sampled_from(["/etc/passwd", "/usr/*", "/etc"]), max_size=2),
    network=st.sampled_from(["all", "none"]) | st.lists(addresses, max_size=3),
    imports=st.none() | st.lists(st.sampled_from(["math", "os", "os.path", "numpy.linalg"]), max_size=3),
    memory=limits,
    disk=limits,
    cpu=st.none() | st.floats(1e-6, 1e8) | st.integers(1, 10**6),
    processes=st.none() | st.integers(1, 1000),
    environment=st.none() | st.lists(st.sampled_from(["PATH", "LC_*", "LC_ALL", "*", "A?"]), max_size=3),
    cpus=st.none() | st.lists(st.integers(0, 64), min_size=1, max_size=4),
    numa=st.none() | st.integers(0, 3),
    nice=st.none() | st.integers(0, 19),
    trusted=st.none() | st.booleans(),
    name=st.sampled_from(["", "x", 'l\'été "q"']),
)


@given(policies)
def test_a_policy_survives_toml_json_and_repr(policy: Policy) -> None:
    for twin in (
        Policy.from_toml(policy.to_toml()),
        Policy.from_dict(json.loads(json.dumps(policy.to_dict()))),
        eval(repr(policy)),
        policy.but(name=policy.name),
        Policy(extends=policy, name=policy.name),
    ):
        assert twin == policy
        assert repr(twin) == repr(policy)
        assert twin.but(network="none").trusted == policy.but(network="none").trusted


# Comparison


@given(policies, policies, policies)
def test_weaker_is_an_order(one: Policy, two: Policy, three: Policy) -> None:
    assert one.weaker_than(one) == ()
    assert set(one.weaker_than(Policy(trusted=True, environment=["*"]))) <= {"read"}
    assert "read" not in one.weaker_than(Policy())
    for name in ("network", "imports", "memory", "cpu", "cpus", "nice", "environment"):
        if name not in one.weaker_than(two) and name not in two.weaker_than(three):
            assert name not in one.weaker_than(three)
    if not one.weaker_than(two) and not two.weaker_than(one):
        assert one.network == two.network
        assert one.memory == two.memory


@pytest.mark.parametrize(
    ("field", "mine", "theirs", "weaker"),
    [
        ("read", None, ["data"], True),
        ("read", None, ["/"], False),
        ("read", ["data/a.parquet"], ["data"], False),
        ("read", ["data"], ["data/a.parquet"], True),
        ("read", ["data/a.parquet"], ["data/*.parquet"], False),
        ("read", ["data/*.parquet"], ["data"], False),
        ("read", ["data/*.parquet"], ["data/*.parquet"], False),
        ("read", ["data/*.parquet"], ["data/a*"], True),
        ("read", ["data/link"], ["data"], True),
        ("read", ["data/lin*"], ["data"], True),
        ("read", ["data2"], ["data"], True),
        ("read", [], ["data"], False),
        ("write", ["out"], [], True),
        ("write", ["out/x"], ["out"], False),
        ("write", None, ["out"], True),
        ("hidden", [], ["data"], True),
        ("hidden", ["data"], ["data/deep"], False),
        ("hidden", ["data/deep"], ["data"], True),
        ("hidden", ["data/*"], ["data/.env"], False),
        ("hidden", ["data"], [], False),
        ("network", "all", "none", True),
        ("network", "all", ["a:1"], True),
        ("network", ["a:1"], "none", True),
        ("network", ["a:1"], ["a:1", "b:1"], False),
        ("network", ["a:1", "b:1"], ["a:1"], True),
        ("network", "none", ["a:1"], False),
        ("imports", None, ["math"], True),
        ("imports", ["numpy.linalg"], ["numpy"], False),
        ("imports", ["numpy"], ["numpy.linalg"], True),
        ("imports", ["numpyx"], ["numpy"], True),
        ("memory", None, 5, True),
        ("memory", 6, 5, True),
        ("memory", 5, 5, False),
        ("memory", 5, None, False),
        ("wall", "2s", "1s", True),
        ("processes", 2, 1, True),
        ("environment", ["TOKEN"], None, True),
        ("environment", ["LC_ALL", "PATH"], None, False),
        ("environment", None, ["PATH"], True),
        ("environment", None, ["*"], False),
        ("environment", ["LC_*"], ["LC_A*"], True),
        ("environment", ["LC_A*"], ["LC_*"], False),
        ("environment", ["A*"], ["A?*"], True),
        ("environment", ["A[BC]"], ["A*"], True),
        ("cpus", None, [0], True),
        ("cpus", [0], [0, 1], False),
        ("cpus", [0, 2], [0, 1], True),
        ("numa", None, 0, True),
        ("numa", 1, 0, True),
        ("numa", 1, None, False),
        ("nice", None, 5, True),
        ("nice", 4, 5, True),
        ("nice", 5, None, False),
        ("nice", None, 0, False),
        ("trusted", True, False, True),
        ("trusted", False, True, False),
    ],
)  # fmt: skip
def test_each_field_knows_when_it_allows_more(
    folder: Path, field: str, mine: Any, theirs: Any, weaker: bool
) -> None:
    (folder / "data/link").symlink_to("/etc")
    (folder / "data2").mkdir()
    fixed: dict[str, Any] = {"trusted": False}
    one, two = Policy(**fixed | {field: mine}), Policy(**fixed | {field: theirs})
    assert (field in one.weaker_than(two)) is weaker


def test_what_another_may_write_may_be_read(folder: Path) -> None:
    assert not Policy(read=["out"]).weaker_than(Policy(read=["data"], write=["out"]))
    assert Policy(read=["data"]).weaker_than(Policy(read=["data"], trusted=False, write=["out"])) == ()


def test_the_presets_grow_stricter() -> None:
    trusted, offline, untrusted = PRESETS.values()
    assert untrusted.weaker_than(offline) == offline.weaker_than(trusted) == ()
    assert trusted.weaker_than(offline) == ("network",)
    assert {"read", "network", "memory", "trusted", "nice"} <= set(trusted.weaker_than(untrusted))


def test_changes_say_what_needs_a_restart(folder: Path) -> None:
    old = Policy(memory=1, network=["a:1"], read=["data"], name="old")
    new = old.but(memory=2, network=["b:1"], nice=3, imports=["math"], name="new")
    assert old.changes(new) == {
        "memory": (1, 2), "network": (("a:1",), ("b:1",)), "nice": (None, 3), "imports": (None, ("math",)),
    }  # fmt: skip
    assert old.needs_restart(new) == ()
    assert old.needs_restart(new.but(network="none", read=["out"], disk="1MiB")) == (
        "read",
        "network",
        "disk",
    )
    assert old.changes(old.but(name="x")) == {}


# Refusals


def test_a_refusal_names_the_line_and_what_would_allow_it(folder: Path) -> None:
    untrusted = PRESETS["untrusted"]
    assert untrusted.refusal("read", "/etc/shadow") == (
        "policy 'untrusted', read = []: allow_read(\"/etc/shadow\") would allow it"
    )
    assert untrusted.refusal("connect", "1.2.3.4:80") == (
        'policy \'untrusted\', network = "none": allow_tcp("1.2.3.4:80") would allow it'
    )
    assert Policy(imports=["math"]).refusal("import", "os.path") == (
        'the policy\'s imports = ["math"]: allow_import("os.path") would allow it'
    )
    assert Policy(imports=list("abcd")).refusal("import", "e") == (
        'the policy\'s imports = ["a", "b", "c", ...]: allow_import("e") would allow it'
    )
    assert "allow_write" in (untrusted.refusal("write", "out/x") or "")
    with pytest.raises(ValueError, match="'sing'"):
        untrusted.refusal("sing", "x")


def test_what_is_allowed_is_not_refused(folder: Path) -> None:
    (folder / "link").symlink_to("data")
    (folder / "data/away").symlink_to("/etc/passwd")
    policy = Policy(read=["link", "other/*"], write=["out"], network=["A:1"], imports=["os.path"])
    for kind, target in [
        ("read", "data/a.parquet"), ("read", "link/a.parquet"), ("read", "other/y"), ("read", "out/x"),
        ("read", "other/not-yet"), ("write", "out/new/file"), ("connect", "a:1"), ("import", "os"), ("import", "os.path"),
        ("start", "anything"), ("start", f"{folder}/data/tool"),
    ]:  # fmt: skip
        assert policy.refusal(kind, target) is None, (kind, target)
    for kind, target in [
        ("read", "data/away"), ("read", "."), ("read", "other"), ("read", "other/.hidden"), ("write", "data/a.parquet"),
        ("write", "outer"), ("connect", "a:2"), ("connect", "/run/x.sock"), ("import", "sys"), ("import", "os.pathx"),
        ("start", "/usr/bin/true"),
    ]:  # fmt: skip
        assert policy.refusal(kind, target), (kind, target)
    assert policy.refusal("read", "/usr/lib/x", runtime=["/usr"]) is None
    assert policy.refusal("start", "/usr/bin/env", runtime=["/usr"]) is None
    for kind in ("read", "write", "connect", "import", "start"):
        assert Policy().refusal(kind, "/x") is None


def test_hidden_things_are_refused_below_what_may_be_read(folder: Path) -> None:
    policy = Policy(read=["."], write=["out"], hidden=["data/*", "out/x"])
    (folder / "way").symlink_to("data/a.parquet")
    for kind, target in [
        ("read", "data/a.parquet"),
        ("read", "data/.env"),
        ("read", "way"),
        ("write", "out/x"),
    ]:
        assert "hidden = " in (policy.refusal(kind, target) or ""), target
    assert policy.refusal("read", "other/y") is None
    assert Policy(hidden=["out"]).refusal("write", "out/x")
    assert Policy(hidden=["out"]).refusal("read", "data/.env") is None


def test_a_refused_start_says_how_many_processes_there_may_be() -> None:
    assert "processes = 1: but(processes=2)" in (Policy(processes=1).refusal("start", "ls") or "")


@given(st.lists(st.sampled_from(["*", "**", "a", "?b", ".c", "[ab]*"]), min_size=1, max_size=4), st.data())
def test_matching_agrees_with_glob(
    tmp_path_factory: pytest.TempPathFactory, pattern: list[str], data: Any
) -> None:
    root = TREE.setdefault("root", tmp_path_factory.mktemp("tree"))
    for name in ("a/a/a", "a/ab/x", "ab/.c/a", ".c/a", "bb/b", "a/.c/.d"):
        (root / name).mkdir(parents=True, exist_ok=True)
    text = f"{os.path.realpath(root)}/{'/'.join(pattern)}"
    try:
        policy = Policy(read=[text])
    except PolicyError:
        return
    found = policy.readable()
    everything = [f"{os.path.realpath(root)}/{path.relative_to(root)}" for path in root.rglob("*")]
    for path in everything:
        inside = any(path == one or path.startswith(f"{one}/") for one in found)
        assert (policy.refusal("read", path) is None) is inside, (text, path)


TREE: dict[str, Path] = {}


# The table, the list, the weight


def test_every_field_has_a_kind_a_help_and_a_row() -> None:
    rows = fields_table()
    assert [row[0] for row in rows] == [field.name for field in dataclasses.fields(Policy)]
    assert all(type_ and default and help_.endswith(".") for _, type_, default, help_ in rows)
    defaults = {row[0]: row[2] for row in rows}
    assert (defaults["network"], defaults["hidden"], defaults["trusted"]) == ("'all'", "()", "derived")


def test_the_default_environment_is_the_one_that_companions_get() -> None:
    assert spawner.ENVIRONMENT == ENVIRONMENT


def test_a_policy_loads_neither_toml_nor_the_host() -> None:
    code = (
        "import sys, isolate_magic.policy as p; p.Policy.from_dict(p.PRESETS['untrusted'].to_dict());"
        "print(sorted(m for m in sys.modules if 'toml' in m or m.startswith('isolate_magic.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = ["_version", "errors", "patterns", "policy", "quantities", "refusals", "settings"]
    assert done.stdout.strip() == str([f"isolate_magic.{name}" for name in names])
