"""What installs and starts the server program: its Debian package, its unit, its image, and `make serve`."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tomllib

import httpx
import pytest
from conftest import ROOT
from test_packaging import VERSION, run

# They build, and wait for whoever builds in the same directory.
pytestmark = pytest.mark.timeout(600)

NAME = "immutable-server"
CHANNEL = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]


@pytest.fixture(scope="module")
def package():
    """The files of the Debian package, unpacked."""
    place = pathlib.Path(os.environ["IMMUTABLE_STATE"]) / "out" / f"package-of-server-{os.getpid()}"
    shutil.rmtree(place, ignore_errors=True)
    deb = ROOT / run("make", "-s", "--no-print-directory", "-C", ROOT, "deb-server").split()[-1]
    run("dpkg-deb", "--raw-extract", deb, place)
    yield deb, place
    shutil.rmtree(place)


def test_the_package_has_the_program_its_page_its_unit_and_its_configuration(package):
    deb, place = package
    assert deb.name == f"{NAME}_{VERSION}-1_{run('dpkg', '--print-architecture').strip()}.deb"
    names = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()} - {"DEBIAN/control", "DEBIAN/md5sums"}
    assert names == {"DEBIAN/conffiles", "etc/immutable/server.toml", f"usr/bin/{NAME}", f"usr/lib/systemd/system/{NAME}.service",
                     f"usr/share/man/man1/{NAME}.1.gz", f"usr/share/doc/{NAME}/changelog.gz", f"usr/share/doc/{NAME}/copyright"}
    assert (place / "DEBIAN/conffiles").read_text() == "/etc/immutable/server.toml\n"
    for line in run("dpkg-deb", "--contents", deb).splitlines():
        assert re.match(r"-rwxr-xr-x root/root " if line.endswith(f"/bin/{NAME}") else r"(-rw-r--r--|drwxr-xr-x) root/root ", line), line
    assert run(place / f"usr/bin/{NAME}", "--version").split() == [NAME, VERSION]


def test_the_configuration_that_is_installed_starts_the_program(package, db, program, tmp_path):
    """As it is, but for the address and the database."""
    _, place = package
    configuration = (place / "etc/immutable/server.toml").read_text()
    configuration = re.sub(r"^#(?=\S+ = )", "", configuration, flags=re.M)
    assert "public-url" in tomllib.loads(configuration)
    file = tmp_path / "server.toml"
    file.write_text(configuration)
    assert program(config=file).get("/readyz").status_code == 200


def test_systemd_takes_the_unit(package, tmp_path):
    """systemd-analyze looks for the program and for its manual page."""
    if not shutil.which("systemd-analyze"):
        pytest.fail("systemd-analyze is missing: run scripts/setup test")
    unit = (ROOT / "packaging/immutable-server.service").read_text()
    assert "DynamicUser=yes" in unit and "NoNewPrivileges=yes" in unit
    file = tmp_path / f"{NAME}.service"
    file.write_text(unit.replace("/usr/bin/immutable-server", str(package[1] / f"usr/bin/{NAME}"))
                    .replace("Documentation=man:immutable-server(1)\n", ""))
    done = subprocess.run(["systemd-analyze", "verify", "--recursive-errors=no", file], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0 and done.stdout == "", done.stdout


def test_the_image_is_small_has_no_root_and_builds_with_the_compiler_of_the_project():
    run(pathlib.Path(sys.executable).parent / "hadolint", "--failure-threshold", "info", ROOT / "Containerfile")
    text = (ROOT / "Containerfile").read_text()
    assert f"rust:{CHANNEL}-" in text
    last = text[text.rindex("\nFROM"):]
    assert "distroless" in last and re.search(r"^USER (\d+):\1$", last, re.M)
    build = re.search(r"^RUN (cargo build .*)$", text, re.M)[1]
    assert build in (ROOT / "Makefile").read_text()
    assert re.search(r"COPY --from=build /src/(\S+)", last)[1] == f"target/program/{NAME}"


def test_what_the_image_is_built_from_is_complete(tmp_path):
    """What .containerignore leaves is enough for the build."""
    left_out = (ROOT / ".containerignore").read_text().split()
    shutil.copytree(ROOT, tmp_path / "src", ignore=lambda _, names: [
        name for name in names if name in left_out or f"**/{name}" in left_out or name == "__pycache__"])
    command = next(re.findall(r"^RUN (cargo) build --profile program (.*)$", (ROOT / "Containerfile").read_text(), re.M).__iter__())
    assert command == ("cargo", f"--locked -p {NAME}")
    run("cargo", "metadata", "--locked", "--offline", "--format-version=1", cwd=tmp_path / "src")
    # Everything that the program takes into itself is there.
    for path in (ROOT / "crates/server/viewer").rglob("*"):
        assert (tmp_path / "src" / path.relative_to(ROOT)).exists()


def test_make_serve_prints_what_a_script_needs_and_ends_without_a_trace(server):
    """It serves a log of its own, which is gone with it."""
    serve = subprocess.Popen([ROOT / "scripts/serve"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                             start_new_session=True)
    try:
        said = {}
        for line in serve.stdout:
            name, _, value = line.rstrip("\n").partition(": ")
            said[name] = value
            if name == "viewer":
                break
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", said["base_url"]) and said["api_key"].startswith("imk_"), said
        key = {"Authorization": f"Bearer {said['api_key']}"}
        sent = httpx.post(said["base_url"] + "/api/v1/events", headers=key, json={"actor_id": "u1", "action": "document.created"})
        assert sent.status_code == 202, sent.text
        token = said["viewer"].partition("token=")[2]
        seen = httpx.get(said["base_url"] + "/api/v1/events", headers={"Authorization": f"Bearer {token}"}).json()
        assert "document.created" in [event["action"] for event in seen["data"]]
        assert httpx.get(said["viewer"]).status_code == 200
    finally:
        os.killpg(serve.pid, signal.SIGINT)
        serve.wait(60)
        serve.stdout.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(said["base_url"] + "/healthz")
    assert not list(pathlib.Path(os.environ["IMMUTABLE_CLUSTERS"]).glob("*-serve"))
