// A call of each kind with the client of hey-api: create, change, show.
import { createAgent, createPhoneCall, getConversation, updateAgent } from "./hey_api/index.js";
import { client } from "./hey_api/client.gen.js";

const [url, token, from_number] = process.argv.slice(2) as [string, string, string];
client.setConfig({ baseUrl: url, auth: token });
const created = await createAgent({
  body: {
    prompt: "Be kind.",
    webhooks: [{ events: ["conversation:ended"], url: "https://example.com/", method: "POST" }],
  },
});
if (!created.data) throw new Error(JSON.stringify(created.error));
const changed = await updateAgent({ path: { id: created.data.id }, body: { prompt: "Be brief." } });
if (changed.data?.prompt !== "Be brief." || changed.data.webhooks.length !== 1) throw new Error("what is not named stays");
const call = await createPhoneCall({
  body: { from_number, to_number: "+14155550150", agent_id: created.data.id },
});
if (!call.data) throw new Error(JSON.stringify(call.error));
const shown = await getConversation({ path: { id: call.data.id } });
if (shown.data?.id !== call.data.id) throw new Error(JSON.stringify(shown.error));
