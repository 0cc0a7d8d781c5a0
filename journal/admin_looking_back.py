"""The page on which a document's past is read: a state, what led to it, what differs, labels (rules J30 to J32)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.conf import settings as django_settings
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive, make_aware

from journal.admin_link import list_url
from journal.admin_replay import refuse_long, refuse_long_way, refuse_unfinished
from journal.admin_text import command_line, local
from journal.admin_told import told_difference, told_entries, told_state
from journal.difference import compared, difference
from journal.entry import Entry
from journal.error import CorruptJournal, JournalError, OutOfReach
from journal.history import (
    Reach,
    entries_between,
    graph_at,
    reach_length,
    reach_of,
    readable_part,
    replay_length,
    seq_at,
)
from journal.label import graph_of_label, label_named, label_rows
from journal.models import Document, Snapshot
from vuer_rtc.crdt.graph import Graph

AROUND = 8
"""Messages listed before a point and after it."""
LABELS_MAX = 100
DIFFERING_COST = 3
"""To look at what a message changed takes as long as to replay so many."""
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"


class MomentField(forms.DateTimeField):
    """A time that every zone can tell: years 2 to 9998.  Where clocks are set back, of an hour that comes twice the
    first one; where they are set forward, as if they had not been yet: as commands read it."""

    def to_python(self, value: Any) -> datetime | None:
        try:
            moment = super().to_python(_in_zone(value))
        except OverflowError:
            moment = datetime.max
        if moment is not None and not datetime.min.year < moment.year < datetime.max.year:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        return moment


def _in_zone(value: Any) -> Any:
    """A time without an offset in the site's time zone, where Django refuses those that come twice, or never."""
    try:
        moment = parse_datetime(str(value).strip())
    except ValueError:
        return value
    return make_aware(moment) if moment and is_naive(moment) and django_settings.USE_TZ else value


class PointForm(forms.Form):
    """Which state; of several fields the first one that is filled in counts."""

    label = forms.CharField(required=False, widget=forms.HiddenInput)
    at = MomentField(
        required=False,
        label="time",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local", "step": 1}, format=TIME_FORMAT),
    )
    seq = forms.IntegerField(required=False, min_value=0, label="sequence")
    since = forms.IntegerField(required=False, min_value=0, label="compare with sequence")
    since_at = MomentField(required=False, label="compare with time")


@dataclass(frozen=True, slots=True)
class Point:
    """A state somebody asked for."""

    seq: int
    graph: Graph
    label: Snapshot | None = None


def looking_back_page(document: Document, query: Any) -> dict[str, Any]:
    """What the page shows; `problem` says why it cannot show more."""
    form = PointForm(query)
    page: dict[str, Any] = {"form": form}
    try:
        page |= labels_of(document)
        refuse_unfinished(document)
        refuse_long(reach_length(document.pk), "look_back", document)
        reach = reach_of(document.pk)
        page |= {"reach": reach}
        if not form.is_valid():
            return page | {"problem": "That is no sequence and no time."}
        try:
            page |= _told(document, form.cleaned_data, reach)
        except CorruptJournal as damage:
            reach = readable_part(document.pk, reach)
            page |= {"reach": reach, "damage": str(damage)}
            page |= _told(document, form.cleaned_data, reach)
        since = form.cleaned_data["since"]
        if form.cleaned_data["since_at"] is not None:
            since = seq_at(document.pk, form.cleaned_data["since_at"])
        if since is not None:
            page |= {"difference": _difference(document, since, page["point"])}
    except JournalError as error:
        page |= {"problem": str(error)}
    return page


def _told(document: Document, wanted: dict[str, Any], reach: Reach) -> dict[str, Any]:
    """The state that was asked for, and what stands around it."""
    point = find_point(document, wanted, reach)
    around = _around(document, point, reach)
    return {"point": point, **around, "state": told_state(point.graph, document.pk)}


def find_point(document: Document, wanted: dict[str, Any], reach: Reach) -> Point:
    """The state that was asked for; without any wish, the newest that can be told.

    Raises: ReplayTooLong, OutOfReach; CorruptJournal, JournalUnavailable.
    """
    if wanted.get("label"):
        return labelled(document, wanted["label"])
    seq = wanted.get("seq")
    if wanted.get("at") is not None:
        seq = seq_at(document.pk, wanted["at"])
    seq = reach.head_seq if seq is None else seq
    refuse_long_way(document, seq, None, "look_back", seq=seq)
    return Point(seq, graph_at(document.pk, seq))


def labelled(document: Document, name: str) -> Point:
    """The state of a label.  Raises: OutOfReach; CorruptJournal, JournalUnavailable."""
    graph = graph_of_label(document.pk, name)
    return Point(graph.head_seq, graph, label_named(document.pk, name))


def labels_of(document: Document) -> dict[str, Any]:
    """The labels, newest state first; where there are more, also where all are."""
    rows = label_rows(document.pk, LABELS_MAX + 1)
    labels = [
        {"name": row.label, "seq": row.seq, "author": row.author, "created_at": row.created_at}
        for row in rows[:LABELS_MAX]
    ]
    if len(rows) <= LABELS_MAX:
        return {"labels": labels}
    url = list_url("vuer_journal_snapshot", document=document.pk, reason__exact=Snapshot.Reason.LABEL.value)
    command = command_line("label_document", document.slug)
    return {"labels": labels, "more_labels": {"url": url, "command": command}}


def _around(document: Document, point: Point, reach: Reach) -> dict[str, Any]:
    """The messages before and after the point, as far as they are retained, newest first."""
    if point.seq not in reach:
        return {"messages_around": []}
    first, last = max(reach.oldest_seq, point.seq - AROUND), min(reach.head_seq, point.seq + AROUND)
    entries: list[Entry] = entries_between(document.pk, first, last)
    told = told_entries(entries, document.pk)
    own = next((line for line in told if line["seq"] == point.seq), None)
    return {
        "messages_around": told[::-1],
        "message": own,
        "at_input": local(own["at"]).strftime(TIME_FORMAT) if own and own["at"] else "",
        "earlier_seq": point.seq - 1 if point.seq > reach.oldest_seq else None,
        "later_seq": point.seq + 1 if point.seq < reach.head_seq else None,
    }


def _difference(document: Document, since: int, point: Point) -> dict[str, Any]:
    """Between two sequences with who did it; from or to a label that is out of reach, without."""
    first, last = sorted((since, point.seq))
    if length := replay_length(document.pk, first, last):
        length += (DIFFERING_COST - 1) * (last - first)
    refuse_long(length, "look_back", document, since=first, seq=last)
    try:
        found = difference(document.pk, first, last)
    except OutOfReach:
        if point.label is None:
            raise
        refuse_long_way(document, since, None, "look_back", seq=since)
        other = graph_at(document.pk, since)
        graphs = (other, point.graph) if since <= point.seq else (point.graph, other)
        found = compared(*graphs)
    return told_difference(found, document.pk)
