"""Rows of which a column does not hold what it should, written by hand or damaged: they take no list away with them."""

from typing import Any

from django.contrib import messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db import Error
from django.http import HttpRequest

from journal.admin_link import ModelAdmin
from journal.stored_row import tells_damage

NOT_READ = (AttributeError, OverflowError, RecursionError, TypeError, ValueError)
"""What is raised of such a row, the database's own errors apart: no JSON, no time, no key."""


class ReadableList(ChangeList):
    """Leaves out the rows that cannot be read, and says which."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        try:
            self.result_list = list(self.result_list)
        except (*NOT_READ, Error) as error:
            if is_of_the_database(error):
                raise
            self.result_list = self._one_by_one(request)

    def _one_by_one(self, request: HttpRequest) -> list[Any]:
        found: list[Any] = []
        for key in list(self.result_list.values_list("pk", flat=True)):
            try:
                found += self.root_queryset.filter(pk=key)
            except (*NOT_READ, Error) as error:
                if is_of_the_database(error):
                    raise
                messages.error(request, told_unreadable(self.opts.verbose_name, key, error))
        return found


class ReadableAdmin(ModelAdmin):
    """The lists are such; of a row that cannot be read there is no page, but a word."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ReadableList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        try:
            found = super().get_object(request, object_id, from_field)
            if found is None:  # Django's word also for a ValueError
                list(self.get_queryset(request).filter(pk=object_id))
            return found
        except ValidationError:  # no key at all
            return None
        except (*NOT_READ, Error) as error:
            if is_of_the_database(error):
                raise
            messages.error(request, told_unreadable(self.opts.verbose_name, object_id, error))
            return None


def is_of_the_database(error: Exception) -> bool:
    """True for what does not tell of a row."""
    return isinstance(error, Error) and not tells_damage(error)


def told_unreadable(what: Any, key: Any, error: Exception) -> str:
    return f"The {what} {key} cannot be read: {str(error).partition(' with text ')[0][:200]}"
