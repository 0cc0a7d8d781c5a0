"""Who may do what in a document.

One class answers for the whole server; `VUER_RTC["POLICY"]` names another by dotted path.  It is asked when
a connection joins, in a thread, so it may query the database.
"""

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.utils.module_loading import import_string

from journal.models import Document
from rooms.settings import settings
from vuer_rtc.protocol.session import Right

User = AbstractBaseUser | AnonymousUser
NOTHING: frozenset[Right] = frozenset()


class RoomPolicy:
    """Django's permissions, asked for the app and for the object, so that guardian or rules plug in.

    The owner may do everything, an anonymous visitor what the document's visibility says.  Visitors of a
    public document may do no less when they log in.  A read-only document takes no edits from anybody.
    """

    PERMISSIONS = {
        Right.VIEW: "vuer_journal.view_document",
        Right.EDIT: "vuer_journal.change_document",
        Right.MODERATE: "vuer_journal.moderate_document",
    }
    PUBLIC = {
        "private": NOTHING,
        "public-view": frozenset({Right.VIEW}),
        "public-edit": frozenset({Right.VIEW, Right.EDIT}),
    }

    def rights(self, user: User, document: Document) -> frozenset[Right]:
        """What `user` may do in `document`; without `view`, the document is not even there for them."""
        granted = self.PUBLIC.get(document.visibility, NOTHING) | self.granted(user, document)
        if granted and Right.VIEW not in granted:
            granted |= {Right.VIEW}  # who may edit sees what they edit
        return granted - {Right.EDIT} if document.is_read_only else granted

    def shown_name(self, user: User) -> str | None:
        """What the others in a room are told of who is behind a presence; None: nothing."""
        if user.is_anonymous:
            return None
        full_name = getattr(user, "get_full_name", str)  # a user model of the site's own may lack it
        return full_name() or user.get_username()

    def granted(self, user: User, document: Document) -> frozenset[Right]:
        """What is theirs whatever the document's visibility."""
        if not user.is_active:
            return NOTHING
        if document.owner_id is not None and document.owner_id == user.pk:
            return frozenset(Right)
        has_perm = getattr(user, "has_perm", None)  # with or without Django's PermissionsMixin
        if has_perm is None:
            return NOTHING
        return frozenset(
            right
            for right, permission in self.PERMISSIONS.items()
            if has_perm(permission) or has_perm(permission, document)
        )


def policy() -> RoomPolicy:
    """The site's policy."""
    found: RoomPolicy = import_string(settings.policy)()
    return found
