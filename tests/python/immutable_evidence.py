#!/usr/bin/env python3
"""Receipts, checkpoints and exports under a checkpoint of `immutable`, verified a second time and independently of the
extension. Python 3.9 or newer, standard library and `cryptography` alone.

    immutable_evidence.py receipt FILE... --policy POLICY         what immutable.receipt() gave
    immutable_evidence.py checkpoint NOTE... --policy POLICY      a checkpoint with its cosignatures
    immutable_evidence.py export EXPORT... --tree TREE --checkpoint NOTE --policy POLICY [--heads HEADS]
                                   what immutable.export_events() and immutable.export_tree() gave, plain or gzip

POLICY is a file of the format c2sp.org/tlog-policy: the log's key, the witnesses that the auditor trusts, and how many
of them must have cosigned. It comes from the auditor and never from the log. Each command prints a summary as JSON, one
line for each receipt or note, and exits with

    0   VALID: it holds, and a witness of the policy, from outside, confirms it
    1   NOT VALID: something does not hold
    2   the input cannot be read, or is not what belongs together
    3   consistent, not anchored: it holds, and the log has signed it, but too few witnesses confirm it, or the policy
        asks for none
"""

import argparse
import collections
import contextlib
import datetime
import json
import sys

import immutable_format as fmt
import immutable_tlog as tlog
from immutable_format import NOT_ANCHORED, NOT_VALID, STATUS, VALID, InputError

RECEIPT_HEADER = b"immutable-receipt/v1"


def _time(seconds):
    """RFC 3339, or the number of seconds where no calendar has the year."""
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _evidence(confirmed):
    """What a summary says of a checkpoint that its log signed."""
    checkpoint, at = confirmed.checkpoint, confirmed.at
    return {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex(),
            "cosigned_by": [name for name, _ in confirmed.cosigned], "cosigned_at": None if at is None else _time(at)}


def _verdict(confirmed):
    return {"verdict": NOT_ANCHORED, "reason": confirmed.doubt} if confirmed.doubt else {"verdict": VALID}


# ---------------------------------------------------------------------------------------------------------------------
# Checkpoints and receipts


def check_checkpoint(data, policy):
    """The summary of a note. Raises FormatError if it is none."""
    try:
        confirmed = tlog.confirm(data, policy)
    except tlog.NotValid as reason:
        return {"verdict": NOT_VALID, "reason": str(reason)}
    return {**_verdict(confirmed), **_evidence(confirmed)}


def receipt(line, proof):
    """The file of a receipt: an export's line of the event, and a tlog.Proof."""
    return b"\n".join([RECEIPT_HEADER, line.encode("utf-8"), proof.text()])


def read_receipt(data):
    """bytes -> (fmt.Event, tlog.Proof). Raises FormatError."""
    header, _, rest = data.partition(b"\n")
    tlog._need(header == RECEIPT_HEADER, "not a receipt of version 1")
    line, end, proof = rest.partition(b"\n")
    tlog._need(end, "the receipt is cut off")
    try:
        text = line.decode("utf-8")
        tlog._need(text.startswith('{"document":'), "not the line of an event")
        event = fmt.read_event(text, selected=True)
    except UnicodeDecodeError:
        raise tlog.FormatError("the event: not UTF-8") from None
    except fmt.ExportError as error:
        raise tlog.FormatError(f"the event: {error}") from None
    proof = tlog.read_proof(proof)
    tlog._need(proof.extra is None, "a receipt has no extra data")
    return event, proof


def check_receipt(data, policy):
    """The summary of a receipt. Raises FormatError if it is none."""
    event, proof = read_receipt(data)
    try:
        if event.recomputed is None or event.recomputed != event.stored:
            raise tlog.NotValid("the document does not hash to event_hash" if event.recomputed is not None
                                else "the disclosures are not those of the document")
        confirmed = tlog.confirm(proof.note, policy)
        tlog.check_inclusion(tlog.leaf_hash(bytes.fromhex(event.recomputed)), proof.index, confirmed.checkpoint.size,
                             proof.hashes, confirmed.checkpoint.root)
    except tlog.NotValid as reason:
        return {"verdict": NOT_VALID, "reason": str(reason)}
    return {**_verdict(confirmed), "event_id": event.id, "tenant_id": event.tenant_id, "lane": event.lane,
            "seq": event.seq, "event_hash": event.stored, "disclosed": event.disclosed, "not_disclosed": len(event.erased),
            "index": proof.index, **_evidence(confirmed)}


# ---------------------------------------------------------------------------------------------------------------------
# The tree beside an export


def tree_lines(leaves, covered, origin, log_id):
    """The lines of immutable.export_tree(). `covered`: {(tenant_id, lane): last seq}"""
    def text(value):
        return fmt.canonical(value, None)
    yield f'{{"immutable_tree":1,"log_id":{text(log_id)},"origin":{text(origin)},"size":{len(leaves)}}}'
    for (tenant, lane), seq in sorted(covered.items(), key=lambda item: (item[0][0].encode("utf-8"), item[0][1])):
        yield f'{{"lane":[{text(tenant)},{lane}],"covered":{seq}}}'
    for number in range(0, -(-len(leaves) // tlog.TILE)):
        hashes = b"".join(leaves[number * tlog.TILE:(number + 1) * tlog.TILE])
        yield f'{{"tile":{number},"hashes":"{tlog.encode(hashes)}"}}'
    yield f'{{"immutable_tree_end":1,"tiles":{-(-len(leaves) // tlog.TILE)},"lanes":{len(covered)}}}'


class TreeExport:
    """Reads what immutable.export_tree() wrote, line by line; line() and finish() raise ExportError."""

    def __init__(self):
        self.log_id = self.origin = self.size = None
        self.covered = {}
        self.leaves = collections.Counter()
        self.frontier = tlog.Frontier()
        self.tiles = 0
        self.before = None
        self.ended = False

    def line(self, line):
        try:
            text = line.decode("utf-8")
            value = json.loads(text, object_pairs_hook=fmt._object)
        except (ValueError, RecursionError):  # also a FormatError
            raise fmt.ExportError("not JSON") from None
        fmt._need(isinstance(value, dict), "no object")
        fmt._need(not self.ended, "a line behind the end line")
        members = list(value)
        if self.size is None:
            fmt._need(members == ["immutable_tree", "log_id", "origin", "size"], "a tree begins with its header")
            self._begin(value)
            again = f'{{"immutable_tree":1,"log_id":{_quoted(self.log_id)},"origin":{_quoted(self.origin)},' \
                    f'"size":{self.size}}}'
        elif members == ["lane", "covered"]:
            tenant, lane, seq = self._lane(value)
            again = f'{{"lane":[{_quoted(tenant)},{lane}],"covered":{seq}}}'
        elif members == ["tile", "hashes"]:
            number, hashes = self._tile(value)
            again = f'{{"tile":{number},"hashes":"{tlog.encode(hashes)}"}}'
        else:
            fmt._need(members == ["immutable_tree_end", "tiles", "lanes"], "not a line of a tree")
            self._end(value)
            again = f'{{"immutable_tree_end":1,"tiles":{self.tiles},"lanes":{len(self.covered)}}}'
        fmt._need(again == text, "not written as a tree's lines are")

    def finish(self):
        fmt._need(self.ended, "the tree is cut off: it has no end line")

    def _begin(self, value):
        fmt._need(value["immutable_tree"] == 1, "of another version than 1")
        fmt._need(fmt._is_hex(value["log_id"], fmt._UUID), "no log_id")
        try:
            tlog._need(isinstance(value["origin"], str), "no text")
            self.origin = tlog.check_name(value["origin"])
        except tlog.FormatError as error:
            raise fmt.ExportError(f"origin: {error}") from None
        self.log_id, self.size = value["log_id"], _natural(value["size"], 0, tlog.MAX_SIZE)

    def _lane(self, value):
        fmt._need(not self.tiles, "a lane behind the tiles")
        fmt._need(isinstance(value["lane"], list) and len(value["lane"]) == 2 and isinstance(value["lane"][0], str),
                  "not a lane")
        tenant, lane = value["lane"][0], _natural(value["lane"][1], 0, 2 ** 15 - 1)
        fmt._need(not fmt._SURROGATE.search(tenant), "lone surrogate")
        place = (tenant.encode("utf-8"), lane)
        fmt._need(self.before is None or self.before < place, "lanes out of order")
        self.before = place
        self.covered[tenant, lane] = seq = _natural(value["covered"], 1, tlog.MAX_SIZE)
        return tenant, lane, seq

    def _tile(self, value):
        fmt._need(_natural(value["tile"], 0, tlog.MAX_SIZE) == self.tiles, "tiles out of order")
        self.tiles += 1
        try:
            tlog._need(isinstance(value["hashes"], str), "no text")
            hashes = tlog.decode(value["hashes"], "hashes")
        except tlog.FormatError as error:
            raise fmt.ExportError(str(error)) from None
        fmt._need(len(hashes) == 32 * min(tlog.TILE, self.size - self.frontier.size) > 0, "not as many hashes as the size says")
        for start in range(0, len(hashes), 32):
            self.leaves[hashes[start:start + 32]] += 1
            self.frontier.append(hashes[start:start + 32])
        return self.tiles - 1, hashes

    def _end(self, value):
        fmt._need(self.frontier.size == self.size, "not as many hashes as the size says")
        fmt._need(value["immutable_tree_end"] == 1, "of another version than 1")
        fmt._need(value["tiles"] == self.tiles and value["lanes"] == len(self.covered), "the end line counts otherwise")
        self.ended = True


def _quoted(text):
    return fmt.canonical(text)


def _natural(value, least, most):
    fmt._need(isinstance(value, int) and not isinstance(value, bool) and least <= value <= most, "a number out of range")
    return value


class AnchoredExport(fmt.Export):
    """An export of the whole log that must be exactly what the leaves of a tree say.

    Which lane has how many leaves (`covered`) is the database's word, and nothing depends on it: the events up to there
    must be all the leaves, each once. A lane that the database shortens leaves leaves over.
    """

    NOWHERE = dict.fromkeys(("tenant_id", "lane", "seq", "event_id", "expected", "actual"))

    def __init__(self, tree, checkpoint, heads=()):
        super().__init__(heads)
        self.tree, self.left = tree, tree.leaves
        self.seen = {}
        self.summary.update(events_covered=0, events_not_covered=0)
        if (tree.origin, tree.frontier.root()) != (checkpoint.origin, checkpoint.root):
            self._report({"type": "checkpoint_mismatch", **self.NOWHERE, "expected": checkpoint.root.hex(),
                          "actual": tree.frontier.root().hex()})

    def _begin(self, header):
        fmt._need(not header["filters"], "a tree is compared with an export without filters")
        fmt._need(not self.summary["exports"], "a tree is compared with one export")
        fmt._need(header["log_id"] in (None, self.tree.log_id), "a tree of another log")
        super()._begin(header)

    def _event(self, event):
        super()._event(event)
        place = (event.tenant_id, event.lane)
        self.seen[place] = max(event.seq, self.seen.get(place, 0))
        if event.seq > self.tree.covered.get(place, 0):
            self._count("events_not_covered")
            return
        hash_ = event.recomputed or event.stored
        leaf = tlog.leaf_hash(bytes.fromhex(hash_)) if hash_ else None
        if self.left[leaf]:
            self.left[leaf] -= 1
            self._count("events_covered")
        else:
            self._report(event.broken("checkpoint_mismatch", actual=hash_))

    def _end(self, events, lanes):
        super()._end(events, lanes)
        for (tenant, lane), covered in self.tree.covered.items():
            seen = self.seen.get((tenant, lane), 0)
            if seen < covered:
                self._report({"type": "missing_event", **self.NOWHERE, "tenant_id": tenant, "lane": lane, "seq": seen + 1})
        # Leaves may be left over only in place of what was reported already.
        if any(self.left.values()) and not self.summary["breaks"]:
            self._report({"type": "checkpoint_mismatch", **self.NOWHERE})


def read_tree(name, lines):
    tree = TreeExport()
    number = 0
    try:
        for number, line in enumerate(lines, 1):
            tree.line(line[:-1] if line.endswith(b"\n") else line)
        tree.finish()
    except fmt.ExportError as error:
        raise InputError(f"{name}, line {number}: {error}") from None
    return tree


def check_export(files, tree, note, policy, heads=()):
    """`files`: (name, lines of bytes); a TreeExport; bytes of a note. Gives the summary; raises InputError, FormatError."""
    try:
        confirmed = tlog.confirm(note, policy)
    except tlog.NotValid as reason:
        return {"verdict": NOT_VALID, "reason": str(reason)}
    if tree.size != confirmed.checkpoint.size:
        raise InputError(f"the tree has {tree.size} leaves, the checkpoint {confirmed.checkpoint.size}: "
                         f"export the tree again, with immutable.export_tree({confirmed.checkpoint.size})")
    export = AnchoredExport(tree, confirmed.checkpoint, heads)
    summary = fmt.check_export(files, export=export)
    summary = {**fmt.judged(summary, export.events_confirmed, 0 if confirmed.doubt else summary["events_covered"]),
               **_evidence(confirmed)}
    if summary["verdict"] == NOT_ANCHORED:
        summary["reason"] = confirmed.doubt or "the checkpoint is of an empty log"
    return summary


# ---------------------------------------------------------------------------------------------------------------------
# Command line


def _bytes(name):
    with fmt._open(name) as file:
        return file.read()


def _each(names, check, policy):
    for name in names:
        try:
            yield {"file": name, **check(_bytes(name), policy)}
        except tlog.FormatError as error:
            raise InputError(f"{name}: {error}") from None


def _export(options, policy):
    heads = fmt.read_heads(_bytes(options.heads).decode("utf-8")) if options.heads else ()
    with contextlib.ExitStack() as files:
        tree = read_tree(options.tree, files.enter_context(fmt._open(options.tree)))
        try:
            return check_export([(name, files.enter_context(fmt._open(name))) for name in options.files], tree,
                                _bytes(options.checkpoint), policy, heads)
        except tlog.FormatError as error:
            raise InputError(f"{options.checkpoint}: {error}") from None


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("receipt", "receipts"), ("checkpoint", "checkpoints with their cosignatures"),
                       ("export", "an export of the whole log, with the tree over it and a checkpoint")):
        command = commands.add_parser(name, help=f"verify {what}")
        command.add_argument("files", nargs="+", metavar="FILE")
        command.add_argument("--policy", required=True, help="whom to trust, in the format of c2sp.org/tlog-policy")
        if name == "export":
            command.add_argument("--tree", required=True, help="what immutable.export_tree() gave")
            command.add_argument("--checkpoint", required=True, metavar="NOTE", help="a checkpoint with cosignatures")
            command.add_argument("--heads", metavar="FILE", help="heads saved earlier, a JSON array")
    options = parser.parse_args(arguments)
    try:
        try:
            policy = tlog.read_policy(_bytes(options.policy))
        except tlog.FormatError as error:
            raise InputError(f"{options.policy}: {error}") from None
        if options.command == "export":
            summaries = [_export(options, policy)]
        else:
            summaries = list(_each(options.files, check_receipt if options.command == "receipt" else check_checkpoint,
                                   policy))
    except (InputError, OSError, EOFError, UnicodeDecodeError) as error:
        print(f"immutable_evidence.py: {error}", file=sys.stderr)
        return 2
    for summary in summaries:
        print(json.dumps(summary))
    # One that does not hold outweighs one that nobody confirms.
    return min((STATUS[summary["verdict"]] for summary in summaries), key=[1, 3, 0].index)


if __name__ == "__main__":
    sys.exit(main())
