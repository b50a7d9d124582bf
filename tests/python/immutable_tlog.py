"""Transparency-log formats, implemented a second time and independently of the extension: RFC 6962 trees, and C2SP's
signed notes, checkpoints, cosignatures, proof files, requests to a witness, policies and tiles.

It is written from the specifications (c2sp.org: signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof,
tlog-witness, tlog-policy, tlog-tiles) and shares no code with the server. Python 3.9 or newer, standard library and
`cryptography` (Ed25519) alone.

Two things can be wrong with a text, and they stay apart: it is not of its format at all (FormatError), or it is, and
what it says does not hold (NotValid).
"""

import base64
import binascii
import hashlib
import re
from typing import NamedTuple, Optional

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAX_SIZE = 2 ** 63 - 1
MAX_PROOF = 63
MAX_SIGNATURES = 100
ED25519, COSIGNATURE = 0x01, 0x04


class FormatError(ValueError):
    """A text that is not of the format."""


class NotValid(Exception):
    """A text of the format that does not hold."""


def _need(condition, what):
    if not condition:
        raise FormatError(what)


# ---------------------------------------------------------------------------------------------------------------------
# The tree: RFC 6962, section 2.1

EMPTY_ROOT = hashlib.sha256().digest()


def leaf_hash(entry):
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(count):
    """The largest power of two below the count."""
    return 1 << ((count - 1).bit_length() - 1)


class Tree:
    """All hashes of a tree, from which any smaller tree is proved as well."""

    def __init__(self, leaves=()):
        self.levels = [[]]
        for leaf in leaves:
            self.append(leaf)

    def __len__(self):
        return len(self.levels[0])

    def append(self, hash_):
        for level in self.levels:
            level.append(hash_)
            if len(level) % 2:
                return
            hash_ = node_hash(level[-2], level[-1])
        self.levels.append([hash_])

    def _range(self, low, high):
        count = high - low
        if count & (count - 1) == 0:
            return self.levels[count.bit_length() - 1][low // count]
        middle = low + _split(count)
        return node_hash(self._range(low, middle), self._range(middle, high))

    def root(self, size=None):
        size = len(self) if size is None else size
        return self._range(0, size) if size else EMPTY_ROOT

    def inclusion(self, index, size):
        """PATH of section 2.1.1"""
        assert 0 <= index < size <= len(self)

        def path(low, high):
            if high - low == 1:
                return []
            middle = low + _split(high - low)
            if index < middle:
                return path(low, middle) + [self._range(middle, high)]
            return path(middle, high) + [self._range(low, middle)]
        return path(0, size)

    def consistency(self, old, size):
        """PROOF of section 2.1.2"""
        assert 0 <= old <= size <= len(self)

        def subproof(low, high, whole):
            if old == high:
                return [] if whole else [self._range(low, high)]
            middle = low + _split(high - low)
            if old <= middle:
                return subproof(low, middle, whole) + [self._range(middle, high)]
            return subproof(middle, high, False) + [self._range(low, middle)]
        return subproof(0, size, True) if old else []


class Frontier:
    """The right edge of a tree that only grows: its root in little memory."""

    def __init__(self):
        self.size = 0
        self.nodes = []  # of full subtrees, the largest first

    def append(self, hash_):
        ones = self.size
        while ones & 1:
            hash_ = node_hash(self.nodes.pop(), hash_)
            ones >>= 1
        self.nodes.append(hash_)
        self.size += 1

    def root(self):
        if not self.nodes:
            return EMPTY_ROOT
        root = self.nodes[-1]
        for node in reversed(self.nodes[:-1]):
            root = node_hash(node, root)
        return root


def check_inclusion(leaf, index, size, proof, root):
    """RFC 9162, section 2.1.3.2. Raises NotValid."""
    if index >= size:
        raise NotValid("the index is not in the tree")
    at, last, hash_ = index, size - 1, leaf
    for other in proof:
        if last == 0:
            raise NotValid("the inclusion proof is too long")
        if at & 1 or at == last:
            hash_ = node_hash(other, hash_)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            hash_ = node_hash(hash_, other)
        at, last = at >> 1, last >> 1
    if last:
        raise NotValid("the inclusion proof is too short")
    if hash_ != root:
        raise NotValid("the inclusion proof leads to another root")


def check_consistency(old, size, proof, old_root, root):
    """RFC 9162, section 2.1.4.2. Raises NotValid."""
    if old > size:
        raise NotValid("the old tree is larger")
    if (old == 0 and old_root != EMPTY_ROOT) or (size == 0 and root != EMPTY_ROOT):
        raise NotValid("the root of an empty tree is another")
    if old in (0, size):
        if proof:
            raise NotValid("the consistency proof is too long")
        if old and old_root != root:
            raise NotValid("two roots of one size")
        return
    proof = ([] if old & (old - 1) else [old_root]) + list(proof)
    if not proof:
        raise NotValid("the consistency proof is too short")
    at, last = old - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = proof[0]
    for other in proof[1:]:
        if last == 0:
            raise NotValid("the consistency proof is too long")
        if at & 1 or at == last:
            first, second = node_hash(other, first), node_hash(other, second)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = node_hash(second, other)
        at, last = at >> 1, last >> 1
    if last:
        raise NotValid("the consistency proof is too short")
    if first != old_root:
        raise NotValid("the consistency proof leads to another old root")
    if second != root:
        raise NotValid("the consistency proof leads to another root")


# ---------------------------------------------------------------------------------------------------------------------
# Tiles: c2sp.org/tlog-tiles

TILE = 256


def tile_widths(size):
    """[(level, full tiles, width of the partial one or 0)] of a tree"""
    widths, level = [], 0
    while size >> 8 * level:
        count = size >> 8 * level
        widths.append((level, count // TILE, count % TILE))
        level += 1
    return widths


def tile_path(level, number, width=TILE):
    """`level` is a number, or "entries"."""
    path = f"{number % 1000:03}"
    while number >= 1000:
        number //= 1000
        path = f"x{number % 1000:03}/{path}"
    return f"tile/{level}/{path}" + (f".p/{width}" if width < TILE else "")


def tiles(tree, size):
    """{path: bytes} of all tiles of hashes that a tree of this size has, full and partial"""
    files = {}
    for level, full, width in tile_widths(size):
        hashes = tree.levels[8 * level][:full * TILE + width]
        for number in range(full):
            files[tile_path(level, number)] = b"".join(hashes[number * TILE:(number + 1) * TILE])
        if width:
            files[tile_path(level, full, width)] = b"".join(hashes[full * TILE:])
    return files


def entry_bundle(entries):
    """Entries as tile/entries/ has them: each behind its length."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def monitoring_path(origin):
    """Where a witness shows its last checkpoint of a log."""
    return hashlib.sha256(origin.encode("utf-8")).hexdigest() + "/checkpoint"


# ---------------------------------------------------------------------------------------------------------------------
# Texts

# Unicode's White_Space; what it has below U+0020 is no text of a note anyway
_SPACE = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
_CONTROL = re.compile("[\0-\x09\x0b-\x1f]")
_DECIMAL = re.compile("0|[1-9][0-9]*")
_BASE64 = re.compile("(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def encode(data):
    return base64.b64encode(data).decode("ascii")


def decode(text, what):
    """Standard base64 with padding, and no other text of the same bytes."""
    _need(_BASE64.fullmatch(text), f"{what}: not base64")
    try:
        data = base64.b64decode(text)
    except binascii.Error:
        raise FormatError(f"{what}: not base64") from None
    _need(encode(data) == text, f"{what}: base64 with bits behind the end")
    return data


def decimal(text, what, most=MAX_SIZE):
    _need(_DECIMAL.fullmatch(text), f"{what}: not a decimal number")
    _need(len(text) <= 20 and int(text) <= most, f"{what}: too large")
    return int(text)


def hash_of(text, what):
    data = decode(text, what)
    _need(len(data) == 32, f"{what}: not 32 bytes")
    return data


def _text(data):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError("not UTF-8") from None


def check_name(name):
    _need(name, "an empty key name")
    _need(not _SPACE.search(name) and not _CONTROL.search(name), "a space or control character in a key name")
    _need("+" not in name, "a plus in a key name")
    _need(not re.search("[\ud800-\udfff]", name), "a key name that is not UTF-8")
    return name


# ---------------------------------------------------------------------------------------------------------------------
# Keys: c2sp.org/signed-note

_PRIME = 2 ** 255 - 19
# y coordinates of the points whose order divides 8: with such a key, signatures of any text can be made
_SMALL_ORDER = {0, 1, _PRIME - 1} | {int.from_bytes(bytes.fromhex(each), "little") for each in (
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")}


class VerifierKey(NamedTuple):
    name: str
    type: int
    public: bytes

    @property
    def id(self):
        return hashlib.sha256(self.name.encode("utf-8") + b"\n" + bytes([self.type]) + self.public).digest()[:4]

    def __str__(self):
        return f"{self.name}+{self.id.hex()}+{encode(bytes([self.type]) + self.public)}"


def read_vkey(text):
    """The key of a text `name+id+base64`; of the types there are, only Ed25519's two are known here."""
    parts = text.split("+", 2)
    _need(len(parts) == 3, "a key is not of three parts")
    name, id_, rest = check_name(parts[0]), parts[1], decode(parts[2], "a key")
    _need(re.fullmatch("[0-9a-f]{8}", id_), "a key id is not 8 digits")
    _need(rest and rest[0] in (ED25519, COSIGNATURE), "a key of another type")
    _need(len(rest) == 33, "a public key is not 32 bytes")
    y = int.from_bytes(rest[1:], "little") & (2 ** 255 - 1)
    _need(y < _PRIME and y not in _SMALL_ORDER, "a public key that everybody can sign for")
    key = VerifierKey(name, rest[0], rest[1:])
    _need(key.id.hex() == id_, "a key id is of another key")
    return key


class SignerKey:
    """A key that signs, for tests and vectors."""

    def __init__(self, name, seed, type_=ED25519):
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.seed = seed
        self.verifier = VerifierKey(check_name(name), type_, self._key.public_key().public_bytes_raw())

    def skey(self):
        """The private key as Go's note package writes it."""
        return (f"PRIVATE+KEY+{self.verifier.name}+{self.verifier.id.hex()}+"
                f"{encode(bytes([self.verifier.type]) + self.seed)}")

    def sign(self, text, time=None):
        """The signature line of a note with this text."""
        if self.verifier.type == COSIGNATURE:
            blob = time.to_bytes(8, "big") + self._key.sign(cosigned_message(text, time))
        else:
            blob = self._key.sign(text.encode("utf-8"))
        return f"\u2014 {self.verifier.name} {encode(self.verifier.id + blob)}\n"


def cosigned_message(text, time):
    """c2sp.org/tlog-cosignature, Ed25519"""
    return f"cosignature/v1\ntime {time}\n{text}".encode("utf-8")


def check_signature(key, text, blob):
    """The time of a cosignature, None of another signature. Raises NotValid."""
    time, message, signature = None, text.encode("utf-8"), blob
    if key.type == COSIGNATURE:
        time, signature = int.from_bytes(blob[:8], "big"), blob[8:]
        if len(blob) != 72 or not 0 < time <= MAX_SIZE:
            raise NotValid("a cosignature without a time")
        message = cosigned_message(text, time)
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise NotValid("a signature does not verify") from None
    return time


# ---------------------------------------------------------------------------------------------------------------------
# Signed notes: c2sp.org/signed-note


class Signature(NamedTuple):
    name: str
    id: bytes
    blob: bytes


class Note(NamedTuple):
    text: str
    signatures: list


class Verified(NamedTuple):
    key: VerifierKey
    time: Optional[int]


def read_note(data):
    """bytes -> Note, of which nothing is verified"""
    content = _text(data)
    _need(not _CONTROL.search(content), "a control character")
    end = content.rfind("\n\n")
    _need(end >= 0, "no empty line before the signatures")
    text, lines = content[:end + 1], content[end + 2:]
    _need(lines, "no signature")
    _need(lines.endswith("\n"), "the last line is cut off")
    lines = lines[:-1].split("\n")
    _need(len(lines) <= MAX_SIGNATURES, f"more than {MAX_SIGNATURES} signatures")
    return Note(text, [_signature_line(line) for line in lines])


def _signature_line(line):
    _need(line.startswith("\u2014 "), "not a signature line")
    name, space, blob = line[2:].partition(" ")
    _need(space, "a signature line without a signature")
    check_name(name)
    blob = decode(blob, "a signature")
    _need(len(blob) > 4, "a signature is too short")
    return Signature(name, blob[:4], blob[4:])


def open_note(note, keys):
    """[Verified] of the lines whose key is known. One bad line of a known key spoils the whole note."""
    known = {(key.name, key.id): key for key in keys}
    _need(len(known) == len(keys), "two keys of one name and id")
    verified = []
    for line in note.signatures:
        key = known.get((line.name, line.id))
        if key is None:
            continue
        if any(other.key == key for other in verified):
            raise NotValid("two signatures of one key")
        verified.append(Verified(key, check_signature(key, note.text, line.blob)))
    if not verified:
        raise NotValid("no signature of a known key")
    return verified


# ---------------------------------------------------------------------------------------------------------------------
# Checkpoints: c2sp.org/tlog-checkpoint


class Checkpoint(NamedTuple):
    origin: str
    size: int
    root: bytes
    extensions: tuple = ()

    def text(self):
        return "".join(f"{line}\n" for line in (self.origin, self.size, encode(self.root), *self.extensions))


def read_checkpoint(text):
    """The text of a note, to its last newline -> Checkpoint"""
    _need(text.endswith("\n"), "the checkpoint is cut off")
    lines = text[:-1].split("\n")
    _need(len(lines) >= 3, "a checkpoint has three lines")
    _need(not _CONTROL.search(text), "a control character")
    _need(all(lines[3:]), "an empty extension line")
    return Checkpoint(check_name(lines[0]), decimal(lines[1], "size"), hash_of(lines[2], "root"), tuple(lines[3:]))


# ---------------------------------------------------------------------------------------------------------------------
# Proof files and requests: c2sp.org/tlog-proof, c2sp.org/tlog-witness

PROOF_HEADER = "c2sp.org/tlog-proof@v1"


class Proof(NamedTuple):
    index: int
    hashes: list
    note: bytes
    extra: Optional[bytes] = None

    def text(self):
        extra = "" if self.extra is None else f"extra {encode(self.extra)}\n"
        hashes = "".join(f"{encode(hash_)}\n" for hash_ in self.hashes)
        return f"{PROOF_HEADER}\n{extra}index {self.index}\n{hashes}\n".encode("utf-8") + self.note


class Request(NamedTuple):
    old: int
    hashes: list
    note: bytes

    def text(self):
        hashes = "".join(f"{encode(hash_)}\n" for hash_ in self.hashes)
        return f"old {self.old}\n{hashes}\n".encode("utf-8") + self.note


def _before_note(data):
    """The lines in front of the first empty one, and the note behind it."""
    end = data.find(b"\n\n")
    _need(end >= 0, "no empty line before the checkpoint")
    return _text(data[:end]).split("\n"), data[end + 2:]


def _hashes(lines):
    _need(len(lines) <= MAX_PROOF, f"more than {MAX_PROOF} hashes")
    return [hash_of(line, "a hash of the proof") for line in lines]


def _word(line, word):
    _need(line.startswith(word + " "), f"no line {word}")
    return line[len(word) + 1:]


def read_proof(data):
    """bytes -> Proof, of which nothing is verified; its note is read with read_note()"""
    lines, note = _before_note(data)
    _need(lines.pop(0) == PROOF_HEADER, "not a proof of version 1")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = decode(_word(lines.pop(0), "extra"), "extra")
    _need(lines, "no line index")
    index = decimal(_word(lines.pop(0), "index"), "index")
    hashes = _hashes(lines)
    read_checkpoint(read_note(note).text)
    return Proof(index, hashes, note, extra)


def read_request(data):
    """The body of add-checkpoint."""
    lines, note = _before_note(data)
    old = decimal(_word(lines.pop(0), "old"), "old")
    hashes = _hashes(lines)
    read_checkpoint(read_note(note).text)
    return Request(old, hashes, note)


# ---------------------------------------------------------------------------------------------------------------------
# Policies: c2sp.org/tlog-policy


class Policy(NamedTuple):
    logs: list  # of VerifierKey
    witnesses: dict  # name in the policy: VerifierKey
    groups: dict  # name: (how many, [name])
    quorum: Optional[str]

    def met(self, names):
        """Whether the quorum is met if the witnesses of these names cosigned."""
        def witnessed(name):
            if name in self.witnesses:
                return name in names
            count, members = self.groups[name]
            return sum(map(witnessed, members)) >= count
        return self.quorum is None or witnessed(self.quorum)


def read_policy(data):
    """bytes -> Policy. Names are octets to the format; here they are texts of the same bytes."""
    _need(not re.search(b"[\0-\x08\x0b-\x1f\x7f]", data), "a control character")
    policy, quorum, members = Policy([], {}, {}, None), [], set()
    for line in data.split(b"\n"):
        words = [word.decode("utf-8", "surrogateescape") for word in re.split(b"[ \t]+", line.strip(b" \t"))]
        if words[0].startswith("#") or words == [""]:
            continue
        kind, words = words[0], words[1:]
        if kind == "log":
            _need(len(words) in (1, 2), "a log line has a key and perhaps a URL")
            policy.logs.append(_policy_key(words[0], ED25519, policy))
        elif kind == "witness":
            _need(len(words) in (2, 3), "a witness line has a name, a key and perhaps a URL")
            key = _policy_key(words[1], COSIGNATURE, policy)
            policy.witnesses[_new_name(words[0], policy)] = key
        elif kind == "group":
            _need(len(words) >= 3, "a group line has a name, a number and members")
            name = _new_name(words[0], policy)
            for member in words[2:]:
                _need(member in policy.witnesses or member in policy.groups, "a member is not defined before")
                _need(member not in members, "a member twice")
                members.add(member)
            policy.groups[name] = (_how_many(words[1], len(words) - 2), words[2:])
        elif kind == "quorum":
            _need(len(words) == 1, "a quorum line has one name")
            _need(words[0] == "none" or words[0] in policy.witnesses or words[0] in policy.groups,
                  "the quorum is not defined before")
            quorum.append(None if words[0] == "none" else words[0])
        else:
            raise FormatError("an unknown line")
    _need(len(quorum) == 1, "not one quorum line")
    return policy._replace(quorum=quorum[0])


def _policy_key(text, type_, policy):
    key = read_vkey(text)
    _need(key.type == type_, "a key of the wrong type")
    _need(all(key.public != other.public for other in [*policy.logs, *policy.witnesses.values()]), "a key twice")
    return key


def _new_name(name, policy):
    _need(name != "none", "the name none is taken")
    _need(name not in policy.witnesses and name not in policy.groups, "a name twice")
    return name


def _how_many(text, members):
    count = {"any": 1, "all": members}.get(text) or decimal(text, "the number of a group")
    _need(1 <= count <= members, "the number of a group is not from 1 to its members")
    return count


# ---------------------------------------------------------------------------------------------------------------------
# A checkpoint under a policy


class Confirmed(NamedTuple):
    """A checkpoint that a log of the policy signed."""

    checkpoint: Checkpoint
    log: VerifierKey
    cosigned: list  # (name in the policy, time), in the policy's order
    at: Optional[int]  # from when on enough witnesses had cosigned, in seconds since 1970; None if not enough have
    doubt: Optional[str]  # why nothing from outside of the log confirms it; None if something does


def confirm(data, policy):
    """bytes of a note -> Confirmed, by a witness's word or at least by the log's. Raises FormatError and NotValid."""
    note = read_note(data)
    checkpoint = read_checkpoint(note.text)
    verified = open_note(note, [*policy.logs, *policy.witnesses.values()])
    logs = [each.key for each in verified if each.key in policy.logs and each.key.name == checkpoint.origin]
    if not logs:
        raise NotValid("no signature of a log of the policy")
    times = {each.key: each.time for each in verified}
    cosigned = [(name, times[key]) for name, key in policy.witnesses.items() if key in times]
    if policy.quorum is None:
        # The log's own signature says which log it is. Whoever has the log's key can sign anything.
        return Confirmed(checkpoint, logs[0], cosigned, None, "the policy asks for no cosignature")
    for time in sorted(time for _, time in cosigned):
        if policy.met({name for name, other in cosigned if other <= time}):
            return Confirmed(checkpoint, logs[0], cosigned, time, None)
    return Confirmed(checkpoint, logs[0], cosigned, None, "the quorum is not met")
