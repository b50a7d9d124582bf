"""The packages: an installable tree, Debian packages, `make install`, and META.json. Nothing of the system's own
PostgreSQL or dpkg database is touched."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tomllib

import pytest
from conftest import ROOT
from helpers_catalog import released

# They build, and wait for whoever builds in the same directory.
pytestmark = pytest.mark.timeout(600)

VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
SCRIPTS = {f"immutable--{version}.sql" for version in {*released(), VERSION}} | {path.name for path in (ROOT / "sql/upgrade").glob("*.sql")}
EXTENSION = SCRIPTS | {"immutable.control"}
PROGRAMS = {"immutable-nightly", "immutable-cosign"}


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options)
    assert done.returncode == 0, f"{command} ended with status {done.returncode}:\n{done.stdout}"
    return done.stdout


def make(target, **variables):
    return run("make", "-s", "--no-print-directory", "-C", ROOT, target, f"PG_CONFIG={os.environ['IMMUTABLE_PG_CONFIG']}",
               *(f"{name}={value}" for name, value in variables.items()))


def files(directory):
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def public(tmp_path):
    """A directory that other users may enter: pytest's own are closed, and the checkout may be."""
    place = pathlib.Path(os.environ["IMMUTABLE_STATE"]) / "out" / f"packaging-{os.getpid()}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    yield place
    shutil.rmtree(place)


def test_the_tree_has_what_an_installation_needs(server):
    tree = ROOT / make("package").strip()
    assert tree.name == f"immutable-{VERSION}-pg{server.major}"
    assert files(tree / "lib") == {"immutable.so"} and files(tree / "extension") == EXTENSION
    assert files(tree / "bin") == PROGRAMS and all(os.access(tree / "bin" / name, os.X_OK) for name in PROGRAMS)
    assert {"LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", "docs/runbook.md", "docs/design/seams.md",
            "docs/pictures/chain.svg"} <= files(tree / "doc")
    control = (tree / "extension/immutable.control").read_text()
    assert f"default_version = '{VERSION}'" in control


def test_the_debian_package(server, public):
    deb = ROOT / make("deb").split()[-1]
    package = f"postgresql-{server.major}-immutable"
    assert deb.name == f"{package}_{VERSION}-1_{run('dpkg', '--print-architecture').strip()}.deb"
    fields = dict(re.findall(r"^(\S+): (.*)", run("dpkg-deb", "--field", deb), re.M))
    assert fields["Package"] == package and fields["Version"] == f"{VERSION}-1" and fields["Section"] == "database"
    assert re.fullmatch(rf"postgresql-{server.major}, libc6 \(>= 2\.\d+\)(, libgcc-s1)?", fields["Depends"])
    assert re.fullmatch(r".+ <\S+@\S+>", fields["Maintainer"]) and int(fields["Installed-Size"]) > 1000
    # root owns everything, and nobody else may write it, whoever built it.
    for line in run("dpkg-deb", "--contents", deb).splitlines():
        program = line.endswith(tuple(f"/bin/{name}" for name in PROGRAMS))
        assert re.match(r"-rwxr-xr-x root/root " if program else r"(-rw-r--r--|drwxr-xr-x) root/root ", line), line

    # dpkg itself installs and removes it, below its own root, without the packages that it depends on.
    root = public / "root"
    (root / "var/lib/dpkg/info").mkdir(parents=True)
    (root / "var/lib/dpkg/updates").mkdir()
    (root / "var/lib/dpkg/status").touch()
    dpkg = ["dpkg", f"--root={root}", "--force-depends", "--force-not-root", "--force-script-chrootless", f"--log={public}/log"]
    path = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    run(*dpkg, "--install", deb, env=path)
    assert "install ok installed" in (root / "var/lib/dpkg/status").read_text()
    extension = root / f"usr/share/postgresql/{server.major}/extension"
    library = root / f"usr/lib/postgresql/{server.major}/lib/immutable.so"
    assert files(extension) == EXTENSION
    for name in PROGRAMS:
        assert "Exit status" in run(root / f"usr/lib/postgresql/{server.major}/bin/{name}", "--help")
    with server.connect() as conn:
        assert conn.info.server_version // 10000 == server.major
        # Stripped, but complete: a session loads it and knows its settings.
        conn.execute(f"LOAD '{library}'")
        assert conn.execute("SHOW immutable.lanes").fetchone()[0] == "1024"
    assert run(*dpkg, "--verify", package, env=path) == ""
    run(*dpkg, "--remove", package, env=path)
    assert [path for path in files(root / "usr")] == []


def test_make_install_into_a_destdir(public):
    make("install", DESTDIR=public)
    installed = {pathlib.Path(path).name for path in files(public)}
    assert installed == EXTENSION | PROGRAMS | {"immutable.so"}
    assert all(path.stat().st_mode & 0o022 == 0 for path in public.rglob("*"))


def test_make_install_as_a_user_into_a_postgresql_of_its_own(public):
    """PG_CONFIG says where; nothing else is written, and neither root nor cargo is needed once it is built."""
    home = public / "home"
    home.mkdir()
    real = os.environ["IMMUTABLE_PG_CONFIG"]
    pg_config = public / "pg_config"
    pg_config.write_text(f'#!/bin/sh\ncase $1 in --pkglibdir) echo "{home}/lib" ;; --sharedir) echo "{home}/share" ;; '
                         f'--bindir) echo "{home}/bin" ;; '
                         f'*) exec "{real}" "$@" ;; esac\n')
    pg_config.chmod(0o755)
    # The checkout may be closed to that user: what `make` has built, in a copy.
    make("package", PG_CONFIG=real)
    major = re.search(r"\d+", run(real, "--version"))[0]
    checkout = public / "checkout"
    stage = checkout / f"target/pg{major}/stage"
    shutil.copytree(ROOT / f"target/pg{major}/stage", stage)
    for name in ("Makefile", "Cargo.toml", "Cargo.lock", "immutable.control"):
        shutil.copy2(ROOT / name, checkout)
    for name in ("src", "crates", "sql", "scripts"):
        shutil.copytree(ROOT / name, checkout / name)
    os.utime(stage)
    command = ["make", "-s", "-C", checkout, "install", f"PG_CONFIG={pg_config}"]
    if os.geteuid() == 0:
        for directory, _, names in os.walk(public):
            os.chmod(directory, 0o755)
        run("chown", "postgres:", home)
        command = ["runuser", "-u", "postgres", "--", "env", "PATH=/usr/bin:/bin", *command]
    run(*command)
    assert files(home) == ({"lib/immutable.so"} | {f"bin/{name}" for name in PROGRAMS}
                           | {f"share/extension/{name}" for name in EXTENSION})


LICENSES = {"agpl_3", "apache_1_1", "apache_2_0", "artistic_1", "artistic_2", "bsd", "freebsd", "gfdl_1_2", "gfdl_1_3", "gpl_1",
            "gpl_2", "gpl_3", "lgpl_2_1", "lgpl_3_0", "mit", "mozilla_1_0", "mozilla_1_1", "openssl", "perl_5", "postgresql",
            "qpl_1_0", "ssleay", "sun", "zlib", "open_source", "restricted", "unrestricted", "unknown"}
SEMVER = r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)([a-zA-Z][-0-9A-Za-z]*|-[-.0-9A-Za-z]+)?"
TERM = r"[^\s/\\\x00-\x1f]{2,}"


def meta_errors(meta):
    """What PGXN would refuse: its meta spec 1.0.0."""
    errors = [f"{field} is missing" for field in ("abstract", "license", "maintainer", "meta-spec", "name", "provides", "version")
              if not meta.get(field)]
    if errors:
        return errors
    if unknown := {key for key in meta if not key.lower().startswith("x_")} - {
            "abstract", "description", "generated_by", "license", "maintainer", "meta-spec", "name", "no_index", "prereqs",
            "provides", "release_status", "resources", "tags", "version"}:
        errors.append(f"unknown fields {unknown}")
    if not re.fullmatch(SEMVER, meta["version"]):
        errors.append("version")
    if not re.fullmatch(TERM, meta["name"]):
        errors.append("name")
    licenses = meta["license"] if isinstance(meta["license"], list) else [meta["license"]]
    if not (isinstance(meta["license"], dict) or set(licenses) <= LICENSES):
        errors.append("license")
    if meta["meta-spec"].get("version") != "1.0.0":
        errors.append("meta-spec")
    if meta.get("release_status", "stable") not in ("stable", "testing", "unstable"):
        errors.append("release_status")
    for name, provided in meta["provides"].items():
        if not re.fullmatch(TERM, name) or not re.fullmatch(SEMVER, provided.get("version", "")):
            errors.append(f"provides {name}")
        errors += [f"{field} of {name} is no file" for field in ("file", "docfile")
                   if field in provided and not (ROOT / provided[field]).is_file()]
        if "file" not in provided:
            errors.append(f"provides {name} has no file")
    for phase, relations in meta.get("prereqs", {}).items():
        if phase not in ("configure", "runtime", "build", "test", "develop"):
            errors.append(f"prereqs {phase}")
        for relation, wanted in relations.items():
            if relation not in ("requires", "recommends", "suggests", "conflicts"):
                errors.append(f"prereqs {phase} {relation}")
            errors += [f"prereqs {name}" for name, version in wanted.items()
                       if version != 0 and not re.fullmatch(rf"((==|!=|>=|<=|>|<)?\s*{SEMVER}(\s*,\s*)?)+", str(version))]
    errors += [f"tag {tag}" for tag in meta.get("tags", []) if not tag or len(tag) > 255 or re.search(r"[/\\\x00-\x1f]", tag)]
    return errors


def test_meta_json_is_what_pgxn_takes():
    meta = json.loads((ROOT / "META.json").read_text())
    assert meta_errors(meta) == []
    for change in ({"version": "1.0"}, {"name": "a/b"}, {"license": "none"}, {"release_status": "done"}, {"maintainer": ""}, {"extra": 1},
                   {"provides": {"immutable": {"version": "1.0.0", "file": "nowhere.sql"}}}, {"tags": ["a/b"]},
                   {"prereqs": {"runtime": {"requires": {"PostgreSQL": "fifteen"}}}}):
        assert meta_errors({**meta, **change}), f"{change} passed"


@pytest.mark.parametrize("verb", ["all", "install", "package", "deb", "installcheck"])
def test_a_wrong_pg_config_gets_one_error_message(verb):
    done = subprocess.run(["make", "-s", "--no-print-directory", "-C", ROOT, verb, "PG_CONFIG=/nope"], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    told = [line for line in done.stdout.splitlines() if not line.startswith("make: ***")]
    assert done.returncode != 0 and len(told) == 1 and "/nope not found: set PG_CONFIG" in told[0]
