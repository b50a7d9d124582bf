import { ImmutableClient, PendingEvent } from "@getimmutable/sdk";

const client = new ImmutableClient({
  apiKey: "imk_your_api_key_here",
  baseUrl: "https://getimmutable.dev",
});

// Single target
const event = new PendingEvent(client, { id: "user_2hG9kLm", name: "Sarah Chen", type: "user" });
await event
  .target("folder", "folder_3mK9pLq", "Shared Reports")
  .target("team", "team_5bR7cNx", "Engineering")
  .track("document.shared", "document");

// Multiple targets at once
await new PendingEvent(client, { id: "user_2hG9kLm" })
  .targets([
    { type: "folder", id: "folder_3mK9pLq", name: "Shared Reports" },
    { type: "team", id: "team_5bR7cNx", name: "Engineering" },
  ])
  .track("document.shared", "document");
