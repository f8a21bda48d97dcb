// A call of each kind with the TypeScript client of openapi-generator: create, change, show.
import { AgentsApi, Configuration, ConversationsApi } from "./openapi_generator/index.js";

const [url, token, fromNumber] = process.argv.slice(2) as [string, string, string];
const configuration = new Configuration({ basePath: url, accessToken: token });
const agents = new AgentsApi(configuration);
const created = await agents.createAgent({
  agentConfigInput: {
    prompt: "Be kind.",
    webhooks: [{ events: ["conversation:ended"], url: "https://example.com/", method: "POST" }],
  },
});
const changed = await agents.updateAgent({ id: created.id, agentConfigUpdate: { prompt: "Be brief." } });
if (changed.prompt !== "Be brief." || changed.webhooks.length !== 1) throw new Error("what is not named stays");
const conversations = new ConversationsApi(configuration);
const call = await conversations.createPhoneCall({
  createPhoneCallInput: { fromNumber, toNumber: "+14155550150", agentId: created.id },
});
const shown = await conversations.getConversation({ id: call.id });
if (shown.id !== call.id) throw new Error("another conversation");
