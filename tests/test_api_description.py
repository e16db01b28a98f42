"""The API does what its description says, whatever is sent: requests that schemathesis makes up."""

import contextlib

import pytest

from tests.servers import over_socket, photo

pytest.importorskip("schemathesis", reason="needs schemathesis, which is in the extra dev")

import schemathesis  # isort: skip
from hypothesis import HealthCheck, Phase, given, settings  # isort: skip
from hypothesis.errors import Unsatisfiable  # isort: skip
from schemathesis import checks  # isort: skip
from schemathesis.specs.openapi import checks as described  # isort: skip

CHECKS = [
    checks.not_a_server_error,
    described.status_code_conformance,
    described.content_type_conformance,
    described.response_headers_conformance,
    described.response_schema_conformance,
]


@pytest.fixture(scope="module", params=["full", "empty"])
def server(request, tmp_path_factory):
    with over_socket(tmp_path_factory.mktemp("described") / "g") as opened:
        if request.param == "full":
            for seed, name in enumerate(("Ada", "Bob")):
                assert opened.post("/v1/people", files=[photo(seed)], data={"name": name}).status_code == 201
        yield opened


def operations(opened):
    schema = schemathesis.openapi.from_url(f"{opened.base_url}/openapi.json")
    found = [result.ok() for result in schema.get_all_operations()]
    return [one for one in found if one.path != "/v1/events"]  # its answer never ends


def test_made_up_requests_get_what_the_description_says(server):
    """Each route gets valid and invalid values of its parameters and bodies, the same in every run."""
    asked = []
    for operation in operations(server):
        for mode in schemathesis.GenerationMode:
            strategy = operation.as_strategy(generation_mode=mode)

            @settings(
                max_examples=6,
                derandomize=True,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=strategy)
            def ask(case):
                asked.append(case.operation.label)
                case.call_and_validate(checks=CHECKS, timeout=20)

            with contextlib.suppress(Unsatisfiable):  # a route without parameters has no invalid ones
                ask()
    assert len(set(asked)) > 30


def test_a_method_that_a_path_lacks_is_refused_with_all_that_it_has(server):
    paths = server.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        url = path.replace("{person}", "1").replace("{group}", "1").replace("{face}", "e1")
        answer = server.put(url)
        assert answer.status_code == 405, path
        assert answer.headers["allow"].split(", ") == sorted(method.upper() for method in methods), path
