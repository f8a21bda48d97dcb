"""Sends webhooks signed by the official `standardwebhooks` package, to see what a receiver makes of them.

Usage: webhooks_check.py URL SECRET

Sends, in this order: an event; the same again; the same with one byte changed after it was signed; one without a
signature; a call of the tool `price`; an event as a GET, whose query is signed.
Prints one line of JSON, {"answers": [[status, body], ...]}; exits 0 if every request was answered.
"""

import json
import sys
import urllib.error
import urllib.request
from datetime import datetime, timezone

from standardwebhooks.webhooks import Webhook

SECONDS = 30
EVENT = {
    "id": "evt_1",
    "event": "message:sent",
    "sequence": 7,
    "conversation": {"id": "cnv_1"},
    "data": {"message": {"role": "user", "content": "Goodbye!", "interrupted": False}},
}
CALL = {
    "id": "evt_2",
    "event": "function_call:triggered",
    "sequence": 8,
    "conversation": {"id": "cnv_1"},
    "data": {"function": {"id": "call_1", "name": "price", "arguments": {"of": "cake"}}},
}
QUERY = "event=conversation%3Aduration&id=evt_3&sequence=9&conversation_id=cnv_1&duration=12"


def signed(secret, name, content):
    """The headers for what is signed now."""
    now = datetime.now(tz=timezone.utc)
    return {
        "webhook-id": name,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(name, now, content),
        "content-type": "application/json",
    }


def send(url, body, headers):
    # A proxy of the environment has no business on loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with opener.open(request, timeout=SECONDS) as answer:
            return [answer.status, answer.read().decode()]
    except urllib.error.HTTPError as error:
        return [error.code, error.read().decode()]


def main(url, secret):
    event, call = json.dumps(EVENT), json.dumps(CALL)
    changed = event.replace("Goodbye!", "Goodbye?")
    answers = [
        send(url, event.encode(), signed(secret, "evt_1_0", event)),
        send(url, event.encode(), signed(secret, "evt_1_0", event)),
        send(url, changed.encode(), signed(secret, "evt_1_1", event)),
        send(url, event.encode(), {"webhook-id": "evt_1_2", "content-type": "application/json"}),
        send(url, call.encode(), signed(secret, "evt_2_0", call)),
        send(f"{url}?{QUERY}", None, signed(secret, "evt_3_0", QUERY)),
    ]
    print(json.dumps({"answers": answers}))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
