"""All targets, by name."""

from collections.abc import Mapping

from tests.fuzz import (
    bodies,
    content_codings,
    event_streams,
    exchanges,
    http_requests,
    http_responses,
    json_messages,
)
from tests.fuzz.hunt import Target

TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        json_messages.TARGET,
        event_streams.TARGET,
        content_codings.TARGET,
        bodies.TARGET,
        http_requests.TARGET,
        http_responses.TARGET,
        exchanges.TARGET,
    )
}
