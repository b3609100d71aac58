"""All pages, as routers that the application includes."""

from __future__ import annotations

from api.dashboard import jobs, others, session, starting

PAGES = (session.router, jobs.router, starting.router, others.router)
