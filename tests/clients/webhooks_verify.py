"""Verifies webhooks with the official `standardwebhooks` package.

Usage: webhooks_verify.py FILE SECRET...

FILE has a JSON list of requests, {"headers": {...}, "content": "..."}: the content is a body, or the query of a GET.
Prints one line of JSON, for each request and each secret whether it is verified, also after one byte of the content
was changed: [[[true, false], ...], ...].
"""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def verified(secret, content, headers):
    try:
        Webhook(secret).verify(content, headers)
    except WebhookVerificationError:
        return False
    except json.JSONDecodeError:
        # The signature is right: only then is the content read, and a query is no JSON.
        return True
    return True


def changed(content):
    middle = len(content) // 2
    return content[:middle] + ("y" if content[middle] == "x" else "x") + content[middle + 1 :]


def main(file, *secrets):
    with open(file, encoding="utf-8") as requests:
        requests = json.load(requests)
    print(
        json.dumps(
            [
                [
                    [verified(secret, content, request["headers"]) for content in (text, changed(text))]
                    for secret in secrets
                ]
                for request in requests
                for text in [request["content"]]
            ]
        )
    )


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
