"""What the admin says of a document's limits."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from journal.models import Document


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ([], "This is no map of names to numbers"),
        ({"node_max": 5}, "node_max is not a limit. Did you mean nodes_max?"),
        ({"zzz": 5}, "zzz is not a limit. There are: byte_burst_max, bytes_per_second_max,"),
        ({"nodes_max": "5"}, "nodes_max is '5', not a number from 0."),
        ({"nodes_max": -1}, "nodes_max is -1, not a number from 0."),
        ({"nodes_max": 1.5}, "nodes_max is 1.5, not a number from 0."),
        ({"nodes_max": True}, "nodes_max is True, not a number from 0."),
    ],
)
def test_what_is_wrong_is_said_at_the_field(limits: Any, said: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        Document(slug="room", limits=limits).clean()
    assert refusal.value.message_dict["limits"][0].startswith(said)


def test_all_faults_are_said_at_once_and_good_limits_pass() -> None:
    with pytest.raises(ValidationError) as refusal:
        Document(slug="room", limits={"nodes_max": -1, "x": 1}).clean()
    assert len(refusal.value.message_dict["limits"]) == 2
    Document(slug="room", limits={"nodes_max": 0, "messages_per_second_max": 0.5}).clean()


def test_the_admin_shows_it(admin_client: Client, document: Document) -> None:
    url = f"/admin/vuer_journal/document/{document.pk}/change/"
    form = {"visibility": "private", "limits": '{"node_max": 5}'}
    assert "Did you mean nodes_max?" in admin_client.post(url, form).content.decode()
    form["limits"] = '{"nodes_max": 5}'
    assert admin_client.post(url, form).status_code == 302
    document.refresh_from_db()
    assert document.limits == {"nodes_max": 5}
