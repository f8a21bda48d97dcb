"""Texts that a schema names by their format alone."""

import schemathesis
from hypothesis import strategies as st

schemathesis.openapi.format("uri", st.sampled_from(["https://example.com/events", "https://hooks.example.org/a?b=c"]))
schemathesis.openapi.format("cel", st.sampled_from(["duration == 300", "message.role == 'user'", "event != null"]))
