"""A call of each kind with the client of openapi-python-client: create, change, show."""

import sys

from switchboard_client import AuthenticatedClient
from switchboard_client.api.agents import create_agent, update_agent
from switchboard_client.api.conversations import create_phone_call, get_conversation
from switchboard_client.models import AgentConfigInput, AgentConfigUpdate, AgentView, ConversationView
from switchboard_client.models import CreatePhoneCallInput

url, token, from_number = sys.argv[1:]
with AuthenticatedClient(base_url=url, token=token) as client:
    body = {
        "prompt": "Be kind.",
        "webhooks": [{"events": ["conversation:ended"], "url": "https://example.com/", "method": "POST"}],
    }
    created = create_agent.sync(client=client, body=AgentConfigInput.from_dict(body))
    assert isinstance(created, AgentView), created
    changed = update_agent.sync(created.id, client=client, body=AgentConfigUpdate(prompt="Be brief."))
    assert isinstance(changed, AgentView), changed
    assert changed.prompt == "Be brief." and len(changed.webhooks) == 1, "what is not named stays"
    body = {"from_number": from_number, "to_number": "+14155550150", "agent_id": created.id}
    call = create_phone_call.sync(client=client, body=CreatePhoneCallInput.from_dict(body))
    assert isinstance(call, ConversationView), call
    shown = get_conversation.sync(call.id, client=client)
    assert isinstance(shown, ConversationView) and shown.id == call.id
