"""Checks the simulated carrier with the official `twilio` client: what that client accepts is Twilio enough.

Usage: twilio_check.py CARRIER_URL ACCOUNT_SID AUTH_TOKEN

Prints one line of JSON, {"ok": bool, "checks": {name: true or what was wrong}}; exits 0 only if all is well.
"""

import json
import queue
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

BUSY, NO_ANSWER, REFUSED = "+14155550150", "+14155550151", "+14155550152"
OWNED, ON_SALE = "+14155550199", "+14155550290"
CUSTOMER, CUSTOMER_TOKEN = "AC" + "1" * 32, "sandbox-customer-token"
CUSTOMER_NUMBER = "+14155550190"
TWIML = "<Response><Hangup/></Response>"
EVENTS = ["initiated", "ringing", "answered", "completed"]
SECONDS = 10


class Rewriting(TwilioHttpClient):
    """Sends what is meant for api.twilio.com to the carrier under test."""

    def __init__(self, base):
        super().__init__(timeout=SECONDS)
        self.base = base.rstrip("/")
        # A proxy of the environment has no business between two loopback ports.
        self.session.trust_env = False

    def request(self, method, url, *args, **kwargs):
        prefix = "https://api.twilio.com"
        assert url.startswith(prefix), url
        return super().request(method, self.base + url[len(prefix):], *args, **kwargs)


class Receiver:
    """Receives status callbacks and validates each with the official validator."""

    def __init__(self, token):
        self.callbacks = queue.Queue()
        receiver, validator = self, RequestValidator(token)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body, keep_blank_values=True).items()}
                url = f"http://{self.headers['Host']}{self.path}"
                signature = self.headers["X-Twilio-Signature"]
                forged = {**form, "CallStatus": "forged"}
                valid = validator.validate(url, form, signature) and not validator.validate(url, forged, signature)
                receiver.callbacks.put((valid, form))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/status?tenant=a%20b"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, sid, last):
        """The callbacks of a call up to this status."""
        seen = []
        while not seen or seen[-1]["CallStatus"] != last:
            valid, form = self.callbacks.get(timeout=SECONDS)
            assert valid, f"a callback's signature is wrong: {form}"
            if form["CallSid"] == sid:
                seen.append(form)
        return seen


def refused(code, attempt):
    try:
        attempt()
    except TwilioRestException as error:
        assert error.code == code, f"code {error.code}, not {code}"
        return error
    raise AssertionError(f"no error, where {code} was due")


def main(base, account, token):
    client = Client(account, token, http_client=Rewriting(base))
    receiver = Receiver(token)
    # Others may buy numbers at the same time.
    owned = client.incoming_phone_numbers.list(phone_number=OWNED)
    number = owned[0].phone_number
    calls = {}

    def create(to, **more):
        return client.calls.create(to=to, from_=number, twiml=TWIML, **more)

    def owns_its_number():
        assert len(owned) == 1 and owned[0].capabilities["voice"] is True and owned[0].phone_number == OWNED

    def numbers_are_on_sale():
        found = client.available_phone_numbers("US").local.list(contains="555*29", voice_enabled=True, limit=3)
        assert ON_SALE in [offer.phone_number for offer in found], found
        assert found[0].iso_country == "US" and found[0].capabilities["voice"] is True and found[0].postal_code

    def a_number_is_bought_wired_and_released():
        bought = client.incoming_phone_numbers.create(
            phone_number=ON_SALE, friendly_name="mine", voice_url=receiver.url, status_callback=receiver.url
        )
        calls["number"] = bought.sid
        assert bought.sid.startswith("PN") and bought.voice_url == receiver.url, bought
        assert bought.date_created is not None and bought.account_sid == account
        refused(21422, lambda: client.incoming_phone_numbers.create(phone_number=ON_SALE))
        changed = client.incoming_phone_numbers(bought.sid).update(voice_url="", status_callback="")
        assert (changed.voice_url, changed.friendly_name) == ("", "mine")
        assert client.incoming_phone_numbers(bought.sid).fetch().phone_number == ON_SALE
        assert client.incoming_phone_numbers(bought.sid).delete() is True
        refused(20404, lambda: client.incoming_phone_numbers(bought.sid).fetch())

    def the_customers_account_is_another():
        customer = Client(CUSTOMER, CUSTOMER_TOKEN, http_client=Rewriting(base))
        assert [each.phone_number for each in customer.incoming_phone_numbers.list()] == [CUSTOMER_NUMBER]
        refused(20404, lambda: customer.calls(calls["busy"]).fetch())
        refused(21210, lambda: customer.calls.create(to=BUSY, from_=number, twiml=TWIML))

    def busy_is_reported():
        call = create(BUSY, status_callback=receiver.url, status_callback_event=EVENTS)
        calls["busy"] = call.sid
        assert call.status == "queued" and call.direction == "outbound-api" and call.date_created is not None
        seen = receiver.of(call.sid, "busy")
        assert [form["CallStatus"] for form in seen] == ["initiated", "busy"], seen
        assert [form["SequenceNumber"] for form in seen] == ["0", "1"], seen
        assert seen[-1]["SipResponseCode"] == "486" and seen[-1]["To"] == BUSY

    def busy_is_fetched():
        call = client.calls(calls["busy"]).fetch()
        assert (call.status, call.to, call._from) == ("busy", BUSY, number)
        assert call.price is None and call.end_time is not None

    def refusal_has_its_code():
        error = refused(21216, lambda: create(REFUSED))
        assert error.status == 400

    def ringing_is_canceled():
        call = create(NO_ANSWER, status_callback=receiver.url)
        client.calls(call.sid).update(status="canceled")
        seen = receiver.of(call.sid, "canceled")
        assert len(seen) == 1, "without StatusCallbackEvent only the end is reported"
        refused(21220, lambda: client.calls(call.sid).update(status="completed"))

    def live_is_not_redirected_before_it_lives():
        call = create(NO_ANSWER)
        refused(21220, lambda: client.calls(call.sid).update(twiml=TWIML))
        client.calls(call.sid).update(status="completed")

    def calls_are_listed():
        sids = [call.sid for call in client.calls.list(to=BUSY)]
        assert calls["busy"] in sids
        assert len(client.calls.list(page_size=1)) >= 3, "paging stopped early"

    def unknown_is_404():
        error = refused(20404, lambda: client.calls("CA" + "0" * 32).fetch())
        assert error.status == 404

    def wrong_token_is_401():
        stranger = Client(account, "wrong", http_client=Rewriting(base))
        assert refused(20003, lambda: stranger.calls(calls["busy"]).fetch()).status == 401

    results = {}
    for check in (
        owns_its_number,
        numbers_are_on_sale,
        a_number_is_bought_wired_and_released,
        busy_is_reported,
        busy_is_fetched,
        refusal_has_its_code,
        ringing_is_canceled,
        live_is_not_redirected_before_it_lives,
        calls_are_listed,
        unknown_is_404,
        the_customers_account_is_another,
        wrong_token_is_401,
    ):
        try:
            check()
            results[check.__name__] = True
        except Exception as error:  # every check is tried; what failed is the answer
            results[check.__name__] = f"{type(error).__name__}: {error}"
    ok = all(result is True for result in results.values())
    print(json.dumps({"ok": ok, "checks": results}))
    return 0 if ok else 1


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
