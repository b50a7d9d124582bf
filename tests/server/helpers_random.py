"""Random events: everything a caller may write, from a seeded generator. JSON is made as text, so that no library
touches its numbers."""

import datetime
import ipaddress
import json
import random
import unicodedata

import helpers_log as h
from helpers_log import python_format

ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz ABCXYZ 0123456789 .,-_/",
    "".join(map(chr, range(1, 32))),
    "\x7f" + "".join(map(chr, range(0x80, 0xa0))),
    "\"\\/'`${}[]:,%_*",
    "äöüßÄÖÜéèñçøåÆœ",
    "e\u0301a\u0308o\u0302u\u0323\u0307n\u0303",
    "\u0627\u0644\u0639\u05d0\u05d1\u200e\u200f\u202a\u202e\u2066\u2069",
    "漢字仮名交じり文한국어กขค",
    "\u2028\u2029\ufeff\u200b\u200d\u00ad\u0600\ufffc\ufffd\ufffe\uffff",
    "\ue000\uf8ff\U000f0000\U0010ffff\U0010fffe",
    "😀👩\u200d👩\u200d👧🏽𝒳𐐷🂡",
    "\U00010000\ud7ff\ue000\uffee\uff5e",
    "İıſKÅ",
]
# Sorted by UTF-8 they come in another order than by UTF-16.
CONTRARY = ["\uff5e", "\U00010000", "\ue000", "\ufb33", "😀", "\r", "1", "\u0080", "ö", "€"]
KEYS = ["", ".", "a.b", "metadata.a", "metadata.", "targets.0", "actor_id", "reason", "a", "A", "0", "-0", "01", "10",
        "9", "\"", "\\", "\n", "\u001f", "é", "e\u0301", "null", "v", "__proto__", *CONTRARY]
NUMBERS = ["0", "-0", "0.0", "-0.00", "0e5", "0E-7", "1", "-1", "1.0", "1.10", "1.100", "100", "1e2", "1E+2", "1e-2",
           "123456789012345678901234567890", "-0.1234567890123456789012345678901234567890", "9007199254740993",
           "1e400", "-1E-400", "1.7976931348623157e308", "5e-324", "1e21", "1e-7", "333333333.33333329",
           "18446744073709551616", "4.50", "2e-3", "0.000000000000000000000000001", "1e4000", "1.5e-4000"]
IPS = ["203.0.113.7", "203.0.113.7/32", "10.0.0.0/8", "10.1.2.3/8", "0.0.0.0", "0.0.0.0/0", "255.255.255.255", "::",
       "::/0", "::1", "::1/128", "::1.2.3.4", "::ffff:1.2.3.4", "::ffff:1.2.3.4/96", "::ffff:0:1.2.3.4", "2001:db8::",
       "2001:DB8::A", "2001:db8:0:0:1:0:0:1", "2001:db8::/32", "fe80::1", "64:ff9b::192.0.2.33", "1:2:3:4:5:6:7:8",
       "1:0:3:4:5:6:7:8", "0:0:1::"]
TENANTS = ["", "acme", "Acme", "globex", "Ünïcode", "U\u0308nicode", "😀", "x" * 255, " ", "'; --", "null"]


class Random(random.Random):
    def maybe(self, make, share=0.7):
        return make() if self.random() < share else None

    def text(self, most_bytes=255, empty=True):
        length = self.choice((0 if empty else 1, 1, 2, self.randint(3, 40), self.randint(3, 40), most_bytes))
        letters = []
        room = most_bytes
        alphabet = self.choice(ALPHABETS)
        for _ in range(length):
            if self.random() < 0.1:
                alphabet = self.choice(ALPHABETS)
            letter = self.choice(alphabet)
            room -= len(letter.encode())
            if room < 0:
                break
            letters.append(letter)
        text = "".join(letters)
        form = self.choice((None, None, "NFC", "NFD"))
        normal = unicodedata.normalize(form, text) if form else text
        return normal if len(normal.encode()) <= most_bytes and (normal or empty) else text

    def key(self):
        return self.choice((self.choice(KEYS), self.choice(CONTRARY) + self.choice(CONTRARY), self.text(60)))

    def number(self):
        digits = "".join(self.choices("0123456789", k=self.randint(1, 30)))
        whole = self.choice(("0", self.choice("123456789") + digits))
        fraction = self.choice(("", "." + digits[::-1]))
        exponent = self.choice(("", "", self.choice("eE") + self.choice(("", "+", "-")) + str(self.randint(0, 60))))
        return self.choice((self.choice(NUMBERS), self.choice(("", "-")) + whole + fraction + exponent))

    def value(self, depth):
        """The JSON text of any value."""
        kind = self.randrange(10 if depth else 6)
        if kind == 0:
            return self.choice(("null", "true", "false"))
        if kind <= 2:
            return self.number()
        if kind <= 5:
            return self.quoted(self.text(self.choice((60, 60, 2000))))
        if kind <= 7:
            return self.object(depth - 1, self.choice((0, 1, 2, 3)))
        return "[" + ",".join(self.value(depth - 1) for _ in range(self.choice((0, 1, 2, 3)))) + "]"

    def quoted(self, text):
        return json.dumps(text, ensure_ascii=self.random() < 0.5)

    def object(self, depth, size):
        keys = {self.key() for _ in range(size)}
        space = self.choice(("", " ", "\n\t"))
        return "{" + f",{space}".join(f"{self.quoted(key)}:{space}{self.value(depth)}" for key in keys) + "}"

    def metadata(self):
        if self.random() < 0.02:
            levels = self.randint(40, 63)
            return '{"deep":' + '[{"":' * (levels // 2) + self.value(0) + "}]" * (levels // 2) + "}"
        return self.object(self.randint(0, 5), self.choice((0, 1, 2, 3, 5, 8, 20)))

    def target(self, types):
        members = {"type": self.quoted(self.choice(types))}
        if self.random() < 0.7:
            members["id"] = self.choice(("null", self.quoted(self.choice(CONTRARY)), self.quoted(self.text(512))))
        if self.random() < 0.5:
            members["name"] = self.choice(("null", self.quoted(self.text(1024))))
        if self.random() < 0.4:
            members["metadata"] = self.choice(("null", "{}", self.object(3, self.randint(0, 4))))
        pairs = list(members.items())
        self.shuffle(pairs)
        return "{" + ",".join(f'"{key}":{value}' for key, value in pairs) + "}"

    def targets(self):
        types = [self.choice(CONTRARY), "user", self.text(255, empty=False)]
        made = [self.target(types) for _ in range(self.choice((0, 0, 1, 2, 3, 5, 12, self.choice((3, 100)))))]
        if made and self.random() < 0.4:
            made += self.choices(made, k=min(2, 100 - len(made)))  # the same once more
        self.shuffle(made)
        return "[" + ",".join(made) + "]"

    def address(self):
        return self.choice((
            self.choice(IPS),
            str(ipaddress.IPv4Address(self.getrandbits(32))),
            str(ipaddress.IPv4Address(self.getrandbits(32))) + f"/{self.randint(0, 32)}",
            str(ipaddress.IPv6Address(self.getrandbits(self.choice((32, 48, 64, 128))))),
            str(ipaddress.IPv6Address(self.getrandbits(128))) + f"/{self.randint(0, 128)}"))

    def time(self):
        first, last = datetime.datetime.min, datetime.datetime.max
        microseconds = (last - first) // datetime.timedelta(microseconds=1)
        time = self.choice((
            first, last, first.replace(microsecond=1),
            datetime.datetime(2024, 2, 29, 23, 59, 59, self.choice((0, 1, 100000, 999999))),
            datetime.datetime(1999, 12, 31, 23, 59, 59, 999999), datetime.datetime(1969, 12, 31, 23, 59, 59, 999999),
            first + datetime.timedelta(microseconds=self.randrange(microseconds))))
        return time.isoformat(timespec=self.choice(("microseconds", "auto"))) + "Z"

    def event(self, number):
        """{column: text}: what a caller gives; JSON as text, None for NULL."""
        return {
            "tenant_id": self.choice(TENANTS),
            "actor_id": self.text(512, empty=False),
            "actor_name": self.maybe(lambda: self.text(1024)),
            "actor_type": self.maybe(self.text),
            "action": self.text(255, empty=False),
            "action_category": self.maybe(self.text),
            "resource_type": self.maybe(self.text),
            "resource_id": self.maybe(lambda: self.text(512)),
            "resource_name": self.maybe(lambda: self.text(1024)),
            "targets": self.targets(),
            "metadata": self.metadata(),
            "session_id": self.maybe(lambda: self.text(500)),
            "idempotency_key": self.maybe(lambda: f"{number} {self.text(400)}", 0.3),
            "ip_address": self.maybe(self.address),
            "ip_country": self.maybe(self.text),
            "ip_city": self.maybe(self.text),
            "user_agent": self.maybe(lambda: self.text(4096)),
            "version": self.maybe(lambda: self.choice((0, 1, -1, 2 ** 31 - 1, -2 ** 31, self.randrange(10 ** 6)))),
            "occurred_at": self.maybe(self.time),
        }


def payload(event):
    """The event as the JSON text that track() takes."""
    members = []
    for column, value in event.items():
        if value is not None:
            name = "resource" if column == "resource_type" else column
            members.append(f'"{name}":{value if column in ("targets", "metadata") else json.dumps(value)}')
    return "{" + ",".join(members) + "}"


# What the server must make of the JSON it is given. Decimal arithmetic would round; text is moved about instead.

def plain_number(text):
    """A number as jsonb prints it: no exponent, and nothing lost but the sign of a zero."""
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    mantissa, _, exponent = digits.lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    shift = int(exponent or 0)
    if shift >= 0:
        whole, fraction = whole + fraction[:shift].ljust(shift, "0"), fraction[shift:]
    else:
        padded = whole.rjust(-shift + 1, "0")
        whole, fraction = padded[:shift], padded[shift:] + fraction
    whole = whole.lstrip("0") or "0"
    if not (whole + fraction).strip("0"):
        sign = ""
    return python_format.Number(sign + whole + ("." + fraction if fraction else ""))


def stored_json(value):
    if isinstance(value, python_format.Number):
        return plain_number(value)
    if isinstance(value, list):
        return [stored_json(item) for item in value]
    if isinstance(value, dict):
        return {key: stored_json(item) for key, item in value.items()}
    return value


def stored_targets(text):
    """Null members dropped, sorted by type, id (none first) and canonical text, by their UTF-8 bytes."""
    targets = [{key: value for key, value in target.items() if value is not None}
               for target in stored_json(h.python_format.parse(text))]
    return sorted(targets, key=lambda target: (
        target["type"].encode(), "id" in target, target.get("id", "").encode(),
        python_format.canonical(target).encode()))
