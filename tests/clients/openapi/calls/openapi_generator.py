"""A call of each kind with the Python client of openapi-generator: create, change, show."""

import sys

import openapi_client
from openapi_client.api import AgentsApi, ConversationsApi

url, token, from_number = sys.argv[1:]
configuration = openapi_client.Configuration(host=url, access_token=token)
with openapi_client.ApiClient(configuration) as client:
    agents = AgentsApi(client)
    created = agents.create_agent(
        openapi_client.AgentConfigInput.from_dict(
            {
                "prompt": "Be kind.",
                "webhooks": [{"events": ["conversation:ended"], "url": "https://example.com/", "method": "POST"}],
            }
        )
    )
    changed = agents.update_agent(created.id, openapi_client.AgentConfigUpdate(prompt="Be brief."))
    assert changed.prompt == "Be brief." and len(changed.webhooks) == 1, "what is not named stays"
    call = ConversationsApi(client).create_phone_call(
        openapi_client.CreatePhoneCallInput(from_number=from_number, to_number="+14155550150", agent_id=created.id)
    )
    shown = ConversationsApi(client).get_conversation(call.id)
    assert shown.id == call.id and shown.agent_config.prompt == "Be brief."
