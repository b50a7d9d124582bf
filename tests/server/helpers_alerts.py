"""Alerts: events at chosen times, and a plain model of the rules."""

import datetime
import zoneinfo
from fnmatch import fnmatchcase

from helpers_log import behind_triggers
from psycopg.types.json import Jsonb

START = datetime.datetime(2026, 3, 2, 12, tzinfo=datetime.timezone.utc)
DEFAULTS = {
    "new_country": {"action_pattern": "*"},
    "high_volume_destructive": {"action_pattern": ["*.deleted", "*.removed"], "threshold": 10, "window_minutes": 10},
    "ingestion_spike": {"action_pattern": "*", "threshold": 1000, "window_minutes": 5},
    "repeated_action": {"action_pattern": "*", "threshold": 10, "window_minutes": 10},
    "off_hours": {"action_pattern": "*", "timezone": "UTC", "start_hour": 8, "end_hour": 18},
}


def at(minutes=0, **more):
    return START + datetime.timedelta(minutes=minutes, **more)


class Event:
    """An event as a test wants it: its name is its idempotency_key."""

    numbers = 0

    def __init__(self, when, action="a.b", actor="ann", tenant="t", country=None):
        Event.numbers += 1
        self.at, self.action, self.actor, self.tenant, self.country = when, action, actor, tenant, country
        self.name = f"event {Event.numbers}"


def record(conn, events):
    """Records the events in this order, as if it were their time."""
    conn.execute(
        "INSERT INTO immutable.events (tenant_id, actor_id, action, ip_country, idempotency_key) "
        "SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[])",
        [[getattr(event, name) for event in events] for name in ("tenant", "actor", "action", "country", "name")])
    set_times(conn, events)


def set_times(conn, events):
    with behind_triggers(conn):
        conn.execute("UPDATE immutable.events e SET created_at = n.at FROM unnest(%s::text[], %s::timestamptz[]) n(name, at) "
                     "WHERE e.idempotency_key = n.name", [[event.name for event in events], [event.at for event in events]])


def rule(conn, rule_type, name=None, tenant=None, **conditions):
    """Makes a rule that looks at events of any time; gives its id."""
    made, = conn.execute("SELECT immutable.create_alert_rule(%s, %s, %s, %s)",
                         [name or rule_type, rule_type, Jsonb(conditions), tenant]).fetchone()
    conn.execute("UPDATE immutable.alert_rules SET since = '2000-01-01 UTC' WHERE id = %s", [made["id"]])
    return made["id"]


def maintain(conn):
    """What the step of the alerts did."""
    did, = conn.execute("CALL immutable.run_maintenance(NULL)").fetchone()
    assert did["alerts"] is None or "error" not in did["alerts"], did["alerts"]
    return did["alerts"]


def alerts(conn):
    """(rule, event) of every alert, sorted."""
    return sorted(conn.execute("SELECT a.rule_name, e.idempotency_key FROM immutable.alerts a "
                               "JOIN immutable.events e ON e.id = a.event_id AND e.tenant_id = a.tenant_id").fetchall())


def evaluated(conn, *events):
    """Records events, and gives the names of those that have an alert by now."""
    if events:
        record(conn, events)
    maintain(conn)
    return [event for _, event in alerts(conn)]


class Model:
    """The rules, in the plainest way: for each event in the order of time, everything before it is looked at."""

    def __init__(self, name, rule_type, tenant=None, **conditions):
        self.name, self.rule_type, self.tenant = name, rule_type, tenant
        self.conditions = {**DEFAULTS[rule_type], **conditions}

    def counts(self, event):
        patterns = self.conditions["action_pattern"]
        patterns = [patterns] if isinstance(patterns, str) else patterns
        own = event.action.startswith("immutable.")
        return self.tenant in (None, event.tenant) and any(
            fnmatchcase(event.action, pattern.replace("[", "[[]").replace("?", "[?]"))
            and (not own or pattern.startswith("immutable.")) for pattern in patterns)

    def alerts(self, events):
        counted = sorted(filter(self.counts, events), key=lambda event: event.at)
        raised = getattr(self, self.rule_type)(counted)
        return sorted((self.name, event.name) for event in raised)

    def new_country(self, events):
        known = {}
        for event in events:
            if event.country:
                countries = known.setdefault((event.tenant, event.actor), [])
                if countries and event.country not in countries:
                    yield event
                countries.append(event.country)

    def burst(self, events, counted_by, alerted_by):
        window, last = datetime.timedelta(minutes=self.conditions["window_minutes"]), {}
        for event in events:
            count = sum(counted_by(other) == counted_by(event) and event.at - window < other.at <= event.at
                        for other in events)
            key = alerted_by(event)
            if count >= self.conditions["threshold"] and (key not in last or event.at - last[key] >= window):
                last[key] = event.at
                yield event

    def high_volume_destructive(self, events):
        return self.burst(events, lambda event: (event.tenant, event.actor), lambda event: (event.tenant, event.actor))

    def ingestion_spike(self, events):
        return self.burst(events, lambda event: event.tenant, lambda event: event.tenant)

    def repeated_action(self, events):
        return self.burst(events, lambda event: (event.tenant, event.actor, event.action),
                          lambda event: (event.tenant, event.actor))

    def off_hours(self, events):
        start, end = self.conditions["start_hour"], self.conditions["end_hour"]
        zone, seen = zoneinfo.ZoneInfo(self.conditions["timezone"]), set()
        for event in events:
            local = event.at.astimezone(zone)
            works = start <= local.hour < end if start < end else local.hour >= start or local.hour < end
            if not works:
                day = local.date() if local.hour >= end else local.date() - datetime.timedelta(days=1)
                key = event.tenant, event.actor, day
                if key not in seen:
                    seen.add(key)
                    yield event
