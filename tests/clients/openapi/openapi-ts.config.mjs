export default {
  input: "openapi.json",
  output: { path: "hey_api", module: { extension: ".js" } },
  plugins: ["@hey-api/client-fetch", "@hey-api/sdk", "@hey-api/typescript"],
};
