"""Texts that a schema names by their format alone, and bodies that it does not describe."""

import schemathesis
from hypothesis import strategies as st

schemathesis.openapi.format("uri", st.sampled_from(["https://example.com/events", "https://hooks.example.org/a?b=c"]))
schemathesis.openapi.format("cel", st.sampled_from(["duration == 300", "message.role == 'user'", "event != null"]))

# Here an empty object counts as absent, for the sake of one client; the schema does not say so.
NAMES = {"model", "voice_id", "speaker", "language"}


def holds_empty_name(value):
    if isinstance(value, list):
        return any(map(holds_empty_name, value))
    if isinstance(value, dict):
        return any(member == {} and name in NAMES or holds_empty_name(member) for name, member in value.items())
    return False


# Without a provider these blocks have the first one. The schema requires it: clients choose the alternative by it.
BLOCKS = {"voice", "language_model", "transcriber"}


def lacks_provider(value):
    if isinstance(value, list):
        return any(map(lacks_provider, value))
    if isinstance(value, dict):
        return any(
            (name in BLOCKS and isinstance(member, dict) and member.get("provider") is None) or lacks_provider(member)
            for name, member in value.items()
        )
    return False


@schemathesis.hook
def filter_case(context, case):
    return not (holds_empty_name(case.body) or lacks_provider(case.body))
