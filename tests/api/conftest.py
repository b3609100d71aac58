"""One server for the tests of a module: they tell their jobs and configs apart by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.server import ApiServer, settings_for


@pytest.fixture(scope="module")
def server(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    made = ApiServer(settings_for(kafka, tmp_path_factory.mktemp("api")))
    yield made
    made.close()
