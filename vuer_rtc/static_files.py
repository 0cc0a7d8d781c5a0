"""The admin's style sheets, where no web server hands them out."""

from typing import Any

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.exceptions import SuspiciousFileOperation
from django.http import Http404, HttpRequest


class StaticFiles(ASGIStaticFilesHandler):
    """A path that leads out of the folders is no file; Django's own fails, with a traceback in the log for each."""

    def serve(self, request: HttpRequest) -> Any:
        try:
            return super().serve(request)
        except SuspiciousFileOperation as error:
            raise Http404("no such file") from error
