"""The evidence of a database, read from its tables by the second implementation."""

import helpers_log as h
from helpers_witness import tlog


class Evidence:
    """The tree over the events of a database, and what is signed of it."""

    def __init__(self, database):
        self.conn = database.conn
        self.recorded = 0

    def checkpoint(self):
        return self.conn.execute("CALL immutable.checkpoint(NULL)").fetchone()[0]

    def one(self, statement, *arguments):
        """The one value of a statement."""
        return self.conn.execute(statement, arguments).fetchone()[0]

    def size(self):
        """Of the last checkpoint."""
        return self.one("SELECT size FROM immutable.tree")

    def witness_request(self, old):
        return self.one("SELECT immutable.witness_request(%s)", old).encode("utf-8")

    def newest_note(self):
        """The last checkpoint with its cosignatures."""
        return self.one("SELECT note FROM immutable.checkpoints ORDER BY size DESC LIMIT 1").encode("utf-8")

    def unguarded(self, change):
        """What a superuser does who switches the guard off."""
        h.unguard(self.conn)
        change(self.conn)

    def verifier_key(self):
        return self.conn.execute("SELECT immutable.verifier_key()").fetchone()[0]

    def leaves_of_rows(self):
        """The leaves that the rows of the events have, in the order of the tree."""
        rows = self.conn.execute(
            "SELECT e.event_hash FROM immutable.tree_runs r JOIN immutable.events e ON e.tenant_id = r.tenant_id "
            "AND e.lane = r.lane AND e.seq >= r.first_seq AND e.seq < r.first_seq + r.count "
            "ORDER BY r.first_index + e.seq - r.first_seq").fetchall()
        return [tlog.leaf_hash(hash_) for hash_, in rows]

    def full_tiles(self):
        """{(level, number): (root, hashes)}"""
        rows = self.conn.execute("SELECT level, number, root, hashes FROM immutable.tree_tiles").fetchall()
        return {(level, number): (root, hashes) for level, number, root, hashes in rows}

    def stored_leaves(self):
        tiles = self.full_tiles()
        hashes = b"".join(tiles[place][1] for place in sorted(tiles) if place[0] == 0)
        for first, piece in self.conn.execute("SELECT first_index, hashes FROM immutable.tree_chunks ORDER BY 1"):
            assert first * 32 == len(hashes)
            hashes += piece
        return [hashes[at:at + 32] for at in range(0, len(hashes), 32)]

    def stored_tiles(self, size):
        """{path: bytes} as c2sp.org/tlog-tiles serves them: full tiles as they are stored, and of the others the hashes
        that are stored elsewhere."""
        full, files = self.full_tiles(), {}
        leaves = self.stored_leaves()
        assert len(leaves) == size
        for level, count, width in tlog.tile_widths(size):
            below = leaves if level == 0 else [
                full[place][0] for place in sorted(full) if place[0] == level - 1]
            assert len(below) == count * tlog.TILE + width
            for number in range(count):
                files[tlog.tile_path(level, number)] = full[level, number][1]
            if width:
                files[tlog.tile_path(level, count, width)] = b"".join(below[count * tlog.TILE:])
        assert len(full) == sum(count for _, count, _ in tlog.tile_widths(size))
        return files
