"""The tree over all events as Python reads and writes it, and keys that sign: what a superuser can do to a log, and what
somebody outside has kept of it. Nothing here asks the server what a hash should be."""

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import helpers_log as h

WIDTH = 256


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def leaf_hash(event_hash):
    return sha256(b"\0", event_hash)


def root(hashes):
    """RFC 6962, section 2.1."""
    hashes = list(hashes)
    if not hashes:
        return sha256()
    while len(hashes) > 1:
        pairs = [sha256(b"\1", *hashes[n:n + 2]) for n in range(0, len(hashes) - 1, 2)]
        hashes = pairs + hashes[len(hashes) // 2 * 2:]
    return hashes[0]


# ---------------------------------------------------------------------------------------------------------------------
# Keys and notes

class Key:
    """An Ed25519 key of signed-note; type 1 signs a text, type 4 cosigns it with a time."""

    def __init__(self, name, kind, seed=None):
        self.name, self.kind = name, kind
        self.private = Ed25519PrivateKey.from_private_bytes(seed) if seed else Ed25519PrivateKey.generate()
        self.public = bytes([kind]) + self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.id = sha256(name.encode(), b"\n", self.public)[:4]

    @property
    def vkey(self):
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(self.public).decode()}"

    def line(self, text, time=None):
        if self.kind == 1:
            signature = self.private.sign(text.encode())
        else:
            signature = time.to_bytes(8, "big") + self.private.sign(f"cosignature/v1\ntime {time}\n{text}".encode())
        return f"\u2014 {self.name} {base64.b64encode(self.id + signature).decode()}\n"


def log_key(conn):
    """The log's own key, as a superuser can read it."""
    secret, = conn.execute("SELECT s.secret FROM immutable.log_secrets s JOIN immutable.log_keys k USING (vkey) "
                           "ORDER BY k.created_at DESC LIMIT 1").fetchone()
    name, _, blob = secret.removeprefix("PRIVATE+KEY+").split("+", 2)
    return Key(name, 1, base64.b64decode(blob)[1:])


def text_of(origin, size, root):
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def sign(key, origin, size, root):
    text = text_of(origin, size, root)
    return f"{text}\n{key.line(text)}"


def checkpoint(conn):
    """What somebody outside keeps: a checkpoint with the log's signature."""
    return conn.execute("CALL immutable.checkpoint()").fetchone()[0]


def size_of(note):
    return int(note.split("\n")[1])


def cosign(note, witness, time):
    """The note with a witness's line."""
    return note + witness.line(note.split("\n\n")[0] + "\n", time)


def store_cosignature(conn, note, witness, time):
    """As add_cosignature() does."""
    origin, size = note.split("\n")[:2]
    line = witness.line(note.split("\n\n")[0] + "\n", time)
    with h.behind_triggers(conn):
        conn.execute("INSERT INTO immutable.tree_cosignatures (origin, size, vkey, witness, cosigned_at, line) "
                     "VALUES (%s, %s, %s, %s, to_timestamp(%s), %s)", [origin, size, witness.vkey, witness.name, time, line])


def trust(conn, witness):
    with h.behind_triggers(conn):
        conn.execute("INSERT INTO immutable.witnesses VALUES (%s, %s, now(), 'x')", [witness.vkey, witness.name])


# ---------------------------------------------------------------------------------------------------------------------
# The stored tree

class Tree:
    """What the tables say."""

    def __init__(self, conn):
        (self.origin, self.size, self.root), = conn.execute("SELECT origin, size, root FROM immutable.tree").fetchall()
        self.runs = [list(run) for run in conn.execute(
            "SELECT first_index, tenant_id, lane, first_seq, count FROM immutable.tree_runs ORDER BY first_index")]
        stored = conn.execute("SELECT hashes FROM immutable.tree_tiles WHERE level = 0 ORDER BY number").fetchall()
        stored += conn.execute("SELECT hashes FROM immutable.tree_chunks ORDER BY first_index").fetchall()
        stored = b"".join(hashes for hashes, in stored)
        self.leaves = [stored[n:n + 32] for n in range(0, len(stored), 32)]

    def places(self):
        """(tenant, lane, seq) of each index."""
        return [(tenant, lane, seq) for _, tenant, lane, first, count in self.runs for seq in range(first, first + count)]


def check_tree(conn):
    """The stored tree is the one of the events, hash for hash."""
    tree, log = Tree(conn), h.Log(conn)
    assert len(tree.leaves) == tree.size
    assert [leaf_hash(bytes.fromhex(log.hash(*place))) for place in tree.places()] == tree.leaves
    assert root(tree.leaves) == tree.root
    return tree


def write(conn, tree, *, size=None, tables=("tree_tiles", "tree_chunks", "tree_runs", "tree")):
    """Puts this tree in place of the stored one, whole and consistent in itself."""
    leaves = tree.leaves
    size = len(leaves) if size is None else size
    with h.behind_triggers(conn):
        for table in tables:
            conn.execute(f"DELETE FROM immutable.{table}" if table != "tree" else "SELECT")
        with conn.cursor() as cursor:
            if "tree_tiles" in tables:
                level, hashes = 0, leaves
                while len(hashes) >= WIDTH:
                    full = [hashes[n:n + WIDTH] for n in range(0, len(hashes) // WIDTH * WIDTH, WIDTH)]
                    roots = [root(tile) for tile in full]
                    cursor.executemany("INSERT INTO immutable.tree_tiles (level, number, hashes, root) VALUES (%s, %s, %s, %s)",
                                       [(level, n, b"".join(tile), top) for n, (tile, top) in enumerate(zip(full, roots))])
                    level, hashes = level + 1, roots
            if "tree_chunks" in tables:
                first = len(leaves) // WIDTH * WIDTH
                if first < len(leaves):
                    cursor.execute("INSERT INTO immutable.tree_chunks (first_index, hashes) VALUES (%s, %s)",
                                   [first, b"".join(leaves[first:])])
            if "tree_runs" in tables:
                cursor.executemany("INSERT INTO immutable.tree_runs VALUES (%s, %s, %s, %s, %s)", tree.runs)
            if "tree" in tables:
                cursor.execute("UPDATE immutable.tree SET size = %s, root = %s", [size, root(leaves[:size])])


def from_rows(conn, tree):
    """The tree that a superuser makes of the rows that are there, in the order of these runs."""
    log = h.Log(conn)
    tree.leaves = [leaf_hash(bytes.fromhex(log.hash(*place))) for place in tree.places()]
    return tree
