"""The tables of the tree as a Python model fills them, and what the second implementation says about what the server
gives out. Nothing here asks the server for a hash of the tree."""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))
import immutable_evidence as evidence  # noqa: E402
import immutable_tlog as tlog  # noqa: E402

import helpers_log as h  # noqa: E402

ORIGIN = "immutable.example/7f3e1c52-9d0b-4a86-b6f4-2f8f5d1c0e9a"
# Seeds for tests alone.
LOG = tlog.SignerKey(ORIGIN, bytes(range(32)))
W1 = tlog.SignerKey("witness.example/w1", bytes(range(32, 64)), tlog.COSIGNATURE)
W2 = tlog.SignerKey("witness.example/w2", bytes(range(64, 96)), tlog.COSIGNATURE)
STRANGER = tlog.SignerKey("witness.example/stranger", bytes(range(96, 128)), tlog.COSIGNATURE)


def policy(*witnesses, log=LOG):
    """All of these witnesses must have cosigned; without any, none has to."""
    lines = [f"log {log.verifier}"]
    lines += [f"witness w{n} {key.verifier}" for n, key in enumerate(witnesses)]
    if witnesses:
        lines += ["group all all " + " ".join(f"w{n}" for n in range(len(witnesses))), "quorum all"]
    else:
        lines += ["quorum none"]
    return tlog.read_policy("".join(f"{line}\n" for line in lines).encode())


class Model:
    """The tree of a database. `append` puts events into it in runs, and `sign` keeps a checkpoint."""

    def __init__(self, conn, key=LOG):
        self.conn = conn
        self.key = key
        self.tree = tlog.Tree()
        self.runs = []
        self.covered = {}
        with h.behind_triggers(conn):
            conn.execute("INSERT INTO immutable.log_keys (vkey, created_at, signs_since, overlap_days) VALUES (%s, now(), now(), 0)",
                         [str(key.verifier)])

    @property
    def size(self):
        return len(self.tree)

    def checkpoint(self, size=None):
        size = self.size if size is None else size
        return tlog.Checkpoint(self.key.verifier.name, size, self.tree.root(size))

    def append(self, most=2 ** 62):
        """Appends what is new of every lane, at most `most` events of each."""
        rows = self.conn.execute("SELECT tenant_id, lane, seq, event_hash FROM immutable.events "
                                 "ORDER BY tenant_id, lane, seq").fetchall()
        for tenant, lane, seq, hash_ in rows:
            after = self.covered.get((tenant, lane), 0)
            if seq <= after:
                continue
            run = self.runs[-1] if self.runs else None
            if run is None or run[1:3] != [tenant, lane] or run[5] is not rows:
                run = [self.size, tenant, lane, seq, 0, rows]
                self.runs.append(run)
            if run[4] < most:
                self.tree.append(tlog.leaf_hash(hash_))
                run[4] += 1
                self.covered[tenant, lane] = seq
        return self

    def index(self, tenant, lane, seq):
        return next(first + seq - begin for first, of, number, begin, count, _ in self.runs
                    if (of, number) == (tenant, lane) and begin <= seq < begin + count)

    def store(self, pieces=3):
        """Writes the tables from nothing. The unfinished tile is in that many chunks."""
        leaves = self.tree.levels[0]
        with h.behind_triggers(self.conn):
            for table in ("tree", "tree_runs", "tree_tiles", "tree_chunks"):
                self.conn.execute(f"DELETE FROM immutable.{table}")
            self.conn.execute(
                "INSERT INTO immutable.tree (origin, size, root, log_id, begun_at) "
                "SELECT %s, %s, %s, log_id, now() FROM immutable.log",
                [self.key.verifier.name, self.size, self.tree.root()])
            with self.conn.cursor() as cursor:
                cursor.executemany("INSERT INTO immutable.tree_runs VALUES (%s, %s, %s, %s, %s)",
                                   [run[:5] for run in self.runs])
                for level, full, _ in tlog.tile_widths(self.size):
                    of, above = self.tree.levels[8 * level], self.tree.levels[8 * level + 8] if full else []
                    cursor.executemany(
                        "INSERT INTO immutable.tree_tiles (level, number, root, hashes) VALUES (%s, %s, %s, %s)",
                        [(level, n, above[n], b"".join(of[256 * n:256 * n + 256])) for n in range(full)])
            begin = self.size // 256 * 256
            step = max(1, -(-(self.size - begin) // pieces))
            for at in range(begin, self.size, step):
                self.conn.execute("INSERT INTO immutable.tree_chunks VALUES (%s, %s)",
                                  [at, b"".join(leaves[at:min(at + step, self.size)])])
        return self

    def note(self, size=None):
        text = self.checkpoint(size).text()
        return text + "\n" + self.key.sign(text)

    def sign(self, size=None):
        """Keeps the signed checkpoint, and gives its size."""
        size = self.size if size is None else size
        with h.behind_triggers(self.conn):
            self.conn.execute("INSERT INTO immutable.tree_notes (origin, size, root, signed_at, note) "
                              "VALUES (%s, %s, %s, now(), %s)",
                              [self.key.verifier.name, size, self.tree.root(size), self.note(size)])
        return size

    def cosigned(self, witness=W1, size=None, at=None):
        """A witness's answer for the checkpoint."""
        return witness.sign(self.checkpoint(size).text(), int(time.time()) if at is None else at)

    def cosign(self, witness=W1, size=None):
        """Makes the witness known, and stores its cosignature."""
        self.conn.execute("SELECT immutable.add_witness(%s) WHERE NOT EXISTS "
                          "(SELECT FROM immutable.witnesses WHERE vkey = %s)", [str(witness.verifier)] * 2)
        size = self.size if size is None else size
        assert self.conn.execute("SELECT immutable.add_cosignature(%s, %s)",
                                 [size, self.cosigned(witness, size)]).fetchone() == (1,)
        return size


def value(conn, function, *arguments, **named):
    """What a function of the schema returns."""
    given = ", ".join(["%s"] * len(arguments) + [f"{name} => %s" for name in named])
    return conn.execute(f"SELECT immutable.{function}({given})", [*arguments, *named.values()]).fetchone()[0]
