"""Lists of the admin: rows of which a column does not hold what it should, written by hand or damaged, take none away;
and none is passed over by the hundred thousand."""

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import Error
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.functional import cached_property

from journal.admin_link import ModelAdmin, address
from journal.stored_row import tells_damage

if TYPE_CHECKING:
    _Paginator = Paginator[Any]
else:
    _Paginator = Paginator

NOT_READ = (AttributeError, OverflowError, RecursionError, TypeError, ValueError)
"""What is raised of such a row, the database's own errors apart: no JSON, no time, no key."""

PAGES_MAX = 200
"""Pages of a list that are shown: for the last of 9000 the database would read all the rows before it."""


class ReadableList(ChangeList):
    """Leaves out the rows that cannot be read, and says which."""

    def get_results(self, request: HttpRequest) -> None:
        if self.page_num > PAGES_MAX:
            self.page_num = PAGES_MAX
            messages.warning(request, f"This is page {PAGES_MAX}, the last that is shown. Filter, or search.")
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


class NearPaginator(_Paginator):
    """Has no page far behind the first ones."""

    @cached_property
    def num_pages(self) -> int:
        return min(super().num_pages, PAGES_MAX)


class ReadableAdmin(ModelAdmin):
    """The lists are such; of a row that cannot be read there is no page, but a word."""

    paginator = NearPaginator

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ReadableList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        try:
            return super().get_object(request, object_id, from_field)
        except (*NOT_READ, Error) as error:
            if is_of_the_database(error):
                raise
            return None

    def _get_obj_does_not_exist_redirect(
        self, request: HttpRequest, opts: Any, object_id: str
    ) -> HttpResponse:
        try:
            list(self.get_queryset(request).filter(pk=unquote(object_id)))
        except (*NOT_READ, Error) as error:
            if is_of_the_database(error):
                raise
            messages.error(request, told_unreadable(opts.verbose_name, object_id, error))
            return HttpResponseRedirect(address("index"))
        except ValidationError:  # no key at all
            pass
        return super()._get_obj_does_not_exist_redirect(request, opts, object_id)  # type: ignore[misc,no-any-return]


def is_of_the_database(error: Exception) -> bool:
    """True for what does not tell of a row."""
    return isinstance(error, Error) and not tells_damage(error)


def told_unreadable(what: Any, key: Any, error: Exception) -> str:
    return f"The {what} {key} cannot be read: {str(error).partition(' with text ')[0][:200]}"
