"""Checks the API with the official `voiceos` client: a team that uses the hosted API changes the host, and goes on.

Usage: voiceos_check.py API_URL TOKEN

The token's account should own nothing yet, since the client cannot read everything that the API can hold (one web
call, Google model or whole ElevenLabs setting in a list makes `list_*` raise); this script stays clear of these.

Prints one line of JSON, {"ok": bool, "checks": {name: true or what was wrong}}; exits 0 only if all is well.
"""

import json
import sys
import time
from datetime import datetime, timedelta, timezone

from voiceos.client import VoiceOS
from voiceos.exceptions import ApiException, NotFoundException, UnauthorizedException
from voiceos.models.agent_configuration import AgentConfiguration
from voiceos.models.buy_phone_number import BuyPhoneNumber
from voiceos.models.conversation_status import ConversationStatus
from voiceos.models.create_call import CreateCall
from voiceos.models.message_role import MessageRole
from voiceos.models.update_agent import UpdateAgent
from voiceos.models.update_phone_number import UpdatePhoneNumber

PERSON = "+14155550100"
GREETING = "Hello, this is Ada from the corner bakery. Your cake is ready. Do you have any questions?"
WEBHOOK = "https://example.com/events"
SECONDS = 30
# The longest call of the sandbox's story, on a machine with other things to do.
CALL_SECONDS = 180


def client(url, token):
    """The client as its users make it, but for the host. It waits for ever unless told otherwise."""
    voiceos = VoiceOS(token)
    voiceos.configuration.host = url
    return voiceos


class Checks:
    """Runs the checks in order, each on what the ones before have made."""

    def __init__(self, url, token):
        self.url = url
        self.voiceos = client(url, token)
        self.agents = self.voiceos.agents
        self.numbers = self.voiceos.phone_numbers
        self.conversations = self.voiceos.conversations

    def create_agent(self):
        config = AgentConfiguration.from_dict(
            {
                "initial_message": GREETING,
                "prompt": "You are Ada.",
                "language_model": {"provider": "openai", "model": "gpt-4o"},
                "transcriber": {"provider": "deepgram", "model": "nova-2", "language": "en"},
                "webhooks": [{"events": ["conversation:ended"], "url": WEBHOOK, "method": "POST"}],
                "max_duration_seconds": 60,
            }
        )
        # The client's own reader leaves this out, here and in answers.
        config.metadata = {"order": "42"}
        self.agent = self.agents.create_agent(config, _request_timeout=SECONDS)
        assert self.agent.id.startswith("agt_"), self.agent.id
        assert self.agent.uri == f"{self.url}/agents/{self.agent.id}", self.agent.uri
        assert self.agent.prompt == "You are Ada."
        assert self._metadata() == {"order": "42"}
        assert self.agent.created_at == self.agent.updated_at

    def _metadata(self):
        """The agent's metadata, from the answer as it came."""
        answer = self.agents.get_agent_without_preload_content(self.agent.id, _request_timeout=SECONDS)
        return json.loads(answer.data)["metadata"]

    def get_agent(self):
        assert self.agents.get_agent(self.agent.id, _request_timeout=SECONDS) == self.agent

    def update_agent(self):
        changed = self.agents.update_agent(
            self.agent.id, UpdateAgent(prompt="You are Bob.", max_duration_seconds=45), _request_timeout=SECONDS
        )
        assert changed.prompt == "You are Bob."
        assert changed.max_duration_seconds == 45
        assert changed.initial_message == self.agent.initial_message, "what was not sent has not changed"
        assert self._metadata() == {"order": "42"}
        assert changed.updated_at > self.agent.updated_at

    def every_voice_the_client_knows(self):
        voices = [
            {"provider": "playht", "model": "susan"},
            {
                "provider": "elevenlabs",
                "voice_id": "rachel",
                "model_id": "eleven_multilingual_v2",
                "stability": 1,
                "similarity_boost": 0,
            },
            {"provider": "azure", "model": "en-US-AvaMultilingualNeural", "pitch": 5, "rate": -5},
            {"provider": "rime", "speaker": "lyra"},
        ]
        for voice in voices:
            config = AgentConfiguration.from_dict({"voice": voice})
            made = self.agents.create_agent(config, _request_timeout=SECONDS)
            read = made.voice.to_dict()
            assert {name: read[name] for name in voice} == voice, read
            self.agents.delete_agent(made.id, _request_timeout=SECONDS)

    def list_agents(self):
        others = [self.agents.create_agent(AgentConfiguration(prompt=str(n)), _request_timeout=SECONDS) for n in range(2)]
        page = self.agents.list_agents(index=1, limit=2, _request_timeout=SECONDS)
        assert [agent.id for agent in page.items] == [other.id for other in reversed(others)], "newest first"
        assert page.has_more
        page = self.agents.list_agents(index=2, limit=2, _request_timeout=SECONDS)
        assert [agent.id for agent in page.items] == [self.agent.id]
        assert not page.has_more
        now = datetime.now(timezone.utc)
        hour = timedelta(hours=1)
        # The client sends an offset without a colon.
        for between in [{"created_after": now - hour, "created_before": now + hour}, {"created_after": now - hour}]:
            assert len(self.agents.list_agents(**between, _request_timeout=SECONDS).items) == 3, between
        assert self.agents.list_agents(created_before=now - hour, _request_timeout=SECONDS).items == []

    def delete_agent(self):
        made = self.agents.create_agent(AgentConfiguration(prompt="x"), _request_timeout=SECONDS)
        assert self.agents.delete_agent(made.id, _request_timeout=SECONDS) == made
        refused(NotFoundException, lambda: self.agents.get_agent(made.id, _request_timeout=SECONDS))

    def available_numbers_to_buy(self):
        numbers = self.numbers.available_numbers_to_buy(contains="415", limit=3, _request_timeout=SECONDS)
        assert 0 < len(numbers) <= 3
        assert all("415" in number.phone_number for number in numbers), numbers
        self.on_sale = numbers[0]

    def buy_phone_number(self):
        bought = self.numbers.buy_phone_number(
            BuyPhoneNumber(phone_number=self.on_sale.phone_number), _request_timeout=SECONDS
        )
        assert bought.phone_number == self.on_sale.phone_number
        assert bought.telephony.phone_number_sid.startswith("PN"), bought.telephony
        assert bought.telephony.account_sid is None
        assert bought.telephony.auth_token is None
        self.number = bought

    def get_phone_number(self):
        assert self.numbers.get_phone_number(self.number.phone_number, _request_timeout=SECONDS) == self.number

    def update_phone_number(self):
        webhook = {"events": ["phone_call:connection_requested"], "url": WEBHOOK, "method": "POST"}
        changed = self.numbers.update_phone_number(
            self.number.phone_number,
            UpdatePhoneNumber.from_dict({"inbound_agent_id": self.agent.id, "webhooks": [webhook]}),
            _request_timeout=SECONDS,
        )
        assert changed.inbound_agent_id == self.agent.id
        assert [webhook.url for webhook in changed.webhooks] == [WEBHOOK]

    def list_phone_numbers(self):
        page = self.numbers.list_phone_numbers(_request_timeout=SECONDS)
        assert [number.phone_number for number in page.items] == [self.number.phone_number]
        assert page.index == 1 and not page.has_more

    def create_phone_call(self):
        self.conversation = self.conversations.create_phone_call(
            CreateCall(from_number=self.number.phone_number, to_number=PERSON, agent_id=self.agent.id),
            _request_timeout=SECONDS,
        )
        assert self.conversation.status == "queued"
        assert self.conversation.type == "outbound_phone_call"
        assert self.conversation.agent_id == self.agent.id
        assert self.conversation.phone_call.to_number == PERSON
        assert self.conversation.agent_config.prompt == "You are Bob."

    def get_conversation(self):
        until = time.monotonic() + CALL_SECONDS
        while True:
            conversation = self.conversations.get_conversation(self.conversation.id, _request_timeout=SECONDS)
            if conversation.status == "ended":
                break
            assert time.monotonic() < until, "the call does not end"
            time.sleep(0.2)
        # The client knows no hooks: the longest duration ends the call, if the person does not.
        assert conversation.ended_reason in ("agent_ended", "user_ended"), conversation.ended_reason
        roles = {message.role for message in conversation.messages}
        assert roles == {MessageRole.AGENT, MessageRole.USER}, roles
        assert conversation.messages[0].content.startswith("Hello, this is Ada")
        cost = conversation.cost_breakdown
        parts = [cost.agent, cost.language_model, cost.transcriber, cost.voice, cost.telephony]
        assert abs(cost.total - sum(part.cost for part in parts)) < 1e-9
        assert cost.voice.characters > 0 and cost.transcriber.seconds > 0 and cost.telephony.seconds > 0

    def get_audio_recording(self):
        until = time.monotonic() + SECONDS
        while True:
            try:
                recording = self.conversations.get_audio_recording(self.conversation.id, _request_timeout=SECONDS)
                break
            except NotFoundException:
                assert time.monotonic() < until, "there is no recording"
                time.sleep(0.2)
        assert recording.recording_url.startswith("http"), recording

    def list_conversations(self):
        ended = self.conversations.list_conversations(status=ConversationStatus.ENDED, index=1, limit=10, _request_timeout=SECONDS)
        assert [conversation.id for conversation in ended.items] == [self.conversation.id]
        assert ended.items[0].messages is None
        queued = self.conversations.list_conversations(status=ConversationStatus.QUEUED, _request_timeout=SECONDS)
        assert queued.items == [] and not queued.has_more

    def delete_phone_number(self):
        released = self.numbers.delete_phone_number(self.number.phone_number, _request_timeout=SECONDS)
        assert released.uri == self.number.uri
        refused(
            NotFoundException,
            lambda: self.numbers.get_phone_number(self.number.phone_number, _request_timeout=SECONDS),
        )

    def errors_are_the_clients_own(self):
        missing = "agt_01JD9XQ4T0000000000000000A"
        refused(NotFoundException, lambda: self.agents.get_agent(missing, _request_timeout=SECONDS))
        nobody = client(self.url, "sk_" + "0" * 32)
        refused(UnauthorizedException, lambda: nobody.agents.list_agents(_request_timeout=SECONDS))
        call = CreateCall(from_number="+14155550198", to_number="nonsense", agent_id=missing)
        error = refused(
            ApiException, lambda: self.conversations.create_phone_call(call, _request_timeout=SECONDS)
        )
        assert error.status == 422, error
        wrong = {tuple(item.loc[-1:])[0].actual_instance for item in error.data.detail}
        assert wrong == {"from_number", "to_number", "agent_id"}, wrong


def refused(kind, request):
    """The error of a request that must be refused."""
    try:
        request()
    except ApiException as error:
        assert type(error) is kind, error
        return error
    raise AssertionError(f"not refused with {kind.__name__}")


def main():
    url, token = sys.argv[1:]
    checks = Checks(url, token)
    results = {}
    for name in [name for name in vars(Checks) if not name.startswith("_")]:
        try:
            getattr(checks, name)()
            results[name] = True
        except Exception as error:  # whatever it is, it is this check's result
            results[name] = f"{type(error).__name__}: {error}"
    ok = all(result is True for result in results.values())
    print(json.dumps({"ok": ok, "checks": results}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
