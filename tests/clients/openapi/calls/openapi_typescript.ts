// A call of each kind with openapi-typescript's types and its fetch client: create, change, show.
import createClient from "openapi-fetch";
import type { paths } from "./openapi_typescript_types.js";

const [url, token, from_number] = process.argv.slice(2) as [string, string, string];
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });
const created = await client.POST("/agents", {
  body: {
    prompt: "Be kind.",
    webhooks: [{ events: ["conversation:ended"], url: "https://example.com/", method: "POST" }],
  },
});
if (!created.data) throw new Error(JSON.stringify(created.error));
const changed = await client.PATCH("/agents/{id}", {
  params: { path: { id: created.data.id } },
  body: { prompt: "Be brief." },
});
if (changed.data?.prompt !== "Be brief." || changed.data.webhooks.length !== 1) throw new Error("what is not named stays");
const call = await client.POST("/conversations/create_phone_call", {
  body: { from_number, to_number: "+14155550150", agent_id: created.data.id },
});
if (!call.data) throw new Error(JSON.stringify(call.error));
const shown = await client.GET("/conversations/{id}", { params: { path: { id: call.data.id } } });
if (shown.data?.id !== call.data.id) throw new Error(JSON.stringify(shown.error));
