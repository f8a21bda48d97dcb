//! The operations of the API: for each route its parameters, body, answer and errors.

use serde_json::Value;
use switchboard_contract::{
    agents::{self, AgentView},
    conversations::{ConversationView, CreatePhoneCall, RecordingView},
    credentials::{self, CredentialView},
    declaration::{Parameter, Schemas},
    events::EventView,
    lists::{self, ListConversations, ListEvents, PageView},
    phone_numbers::{
        self, AvailableNumberView, BuyNumber, DeleteNumber, ImportNumber, PhoneNumberView, SearchNumbers,
    },
    scenarios::ScenarioView,
    service::ServiceView,
    web_calls::{CreateWebCall, CreatedWebCallView},
};
use switchboard_model::{
    ids::{AgentId, ConversationId, CredentialId, EventId},
    phone_numbers::E164,
};

type Schema = fn(&mut Schemas) -> Value;
type Parameters = fn(&mut Schemas) -> Vec<Parameter>;

/// One operation.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// Its name in clients.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) about: &'static str,
    /// Whether it creates an item, so that it takes an idempotency key.
    pub(super) creates: bool,
    /// Whether it needs a token.
    pub(super) needs_token: bool,
    /// The parameters of its path: name, description, schema.
    pub(super) path_parameters: Vec<(&'static str, &'static str, Schema)>,
    pub(super) query: Option<Parameters>,
    pub(super) body: Option<Schema>,
    /// The description and the schema of a successful answer.
    pub(super) answer: (&'static str, Schema),
    /// Errors that no other operation has.
    pub(super) errors: &'static [u16],
}

impl Operation {
    /// The resource: the first word of the path.
    pub(super) fn tag(&self) -> &'static str {
        self.path[1..]
            .split('/')
            .next()
            .filter(|tag| !matches!(*tag, "" | "openapi.json"))
            .unwrap_or("service")
    }

    fn path_parameter(mut self, name: &'static str, about: &'static str, schema: Schema) -> Self {
        self.path_parameters.push((name, about, schema));
        self
    }

    fn query(self, parameters: Parameters) -> Self {
        Self { query: Some(parameters), ..self }
    }

    fn creates(self) -> Self {
        Self { creates: true, ..self }
    }

    fn body(self, body: Schema) -> Self {
        Self { body: Some(body), ..self }
    }

    fn errors(self, errors: &'static [u16]) -> Self {
        Self { errors, ..self }
    }

    fn without_token(self) -> Self {
        Self { needs_token: false, ..self }
    }
}

fn operation(
    (method, path): (&'static str, &'static str),
    id: &'static str,
    summary: &'static str,
    answer: (&'static str, Schema),
) -> Operation {
    Operation {
        method,
        path,
        id,
        summary,
        about: about(id),
        creates: false,
        needs_token: true,
        path_parameters: vec![],
        query: None,
        body: None,
        answer,
        errors: &[],
    }
}

/// The description of an operation, by its id.
fn about(id: &str) -> &'static str {
    match id {
        "get_service" => {
            "Shows the version, links to the resources, and the models and voices that others serve. Needs no token."
        }
        "get_openapi" => "Shows this document. Needs no token.",
        "create_phone_call" => {
            "Stores a call and queues it. The answer is the conversation with status `queued`; a call over the limit of live \
             calls stays queued until another one ends. Either `agent_config` or `agent_id` is required; with both, \
             `agent_config` is used."
        }
        "create_web_call" => {
            "Stores a call that a browser opens with the websocket URL of the answer, once and within a minute. It counts as \
             an inbound call of the account's limits. Either `agent_config` or `agent_id` is required; with both, \
             `agent_config` is used."
        }
        "list_conversations" => "Lists conversations, newest first. Their `messages` are null.",
        "get_conversation" => {
            "Shows a conversation with its messages so far, and its cost once it has ended."
        }
        "get_audio_recording" => {
            "Shows a link to the recording, which works for an hour. 404 until the conversation has ended and its \
             recording is stored."
        }
        "get_scenario" => {
            "Shows a conversation that has ended as a scenario, a file for `switchboard test`: the caller says the stored words \
             again with the same relations in time, the model gives the same replies, and the heard words are the expected \
             ones. Webhooks and credentials are left out. 409 while it is live, and for a call that never started."
        }
        "list_events" => {
            "Lists the events of a conversation in their order, each with every attempt to deliver it. To follow a live call, \
             send the `sequence` of the last event as `after`, and `wait`: the answer comes with the next event, at the \
             latest a second after it is stored, or with an empty page when the time is over or the conversation has ended. \
             Each second of waiting counts as four more requests of the account's limit; where that is exceeded, the wait ends \
             with 429."
        }
        "redeliver_event" => {
            "Delivers an event once more to every webhook that received it, under the same `webhook-id`."
        }
        "end_conversation" => {
            "Ends a conversation that is queued or live. The answer is the conversation, also when it had ended already."
        }
        "delete_conversation" => {
            "Removes all data of a conversation that has ended: messages, recording and events. 409 while it is live."
        }
        "create_agent" => "Stores the configuration of an agent, with every default filled in.",
        "list_agents" => "Lists agents, newest first.",
        "get_agent" => "Shows an agent.",
        "update_agent" => {
            "Changes the fields that the body has; absent ones stay as they are, and null resets one to its default. A block \
             such as `voice` is replaced as a whole. Conversations keep the configuration that they began with."
        }
        "delete_agent" => "Deletes an agent. Conversations keep their snapshots of it.",
        "available_numbers_to_buy" => {
            "Lists numbers that can be bought, those that the deployment keeps already first."
        }
        "buy_phone_number" => "Buys a number. Without `phone_number` any number is bought.",
        "import_phone_number" => {
            "Imports a number of the customer's own account at the carrier, whose calls are then sent here. The carrier's cost \
             of its calls is 0."
        }
        "list_phone_numbers" => "Lists the numbers of the account, newest first.",
        "get_phone_number" => "Shows a number.",
        "update_phone_number" => {
            "Changes the fields that the body has; absent ones stay as they are, and null clears one."
        }
        "delete_phone_number" => {
            "Removes a number from the account. A bought one stays with the deployment unless `release_phone_number` is true; \
             an imported one stays the customer's."
        }
        "create_credential" => "Stores a key of a provider. It is sealed, and never shown again.",
        "list_credentials" => "Lists credentials, newest first, without their keys.",
        "get_credential" => "Shows a credential without its key.",
        "delete_credential" => "Deletes a credential. Live calls of agents that name it end at once.",
        _ => "",
    }
}

/// All operations, in the order of the documentation.
pub(super) fn operations() -> Vec<Operation> {
    let mut all = service();
    all.extend(conversations());
    all.extend(agents());
    all.extend(phone_numbers());
    all.extend(credentials());
    all
}

fn service() -> Vec<Operation> {
    vec![
        operation(
            ("get", "/"),
            "get_service",
            "Show the service",
            ("Version, links and fallbacks.", ServiceView::schema),
        )
        .without_token(),
        operation(
            ("get", "/openapi.json"),
            "get_openapi",
            "Show this document",
            ("An OpenAPI 3.1 document.", ServiceView::schema),
        )
        .without_token(),
    ]
}

fn agents() -> Vec<Operation> {
    let agent: (_, Schema) = ("The agent.", Schemas::view::<AgentView>);
    let by_id =
        |operation: Operation| operation.path_parameter("id", "The agent's id.", Schemas::view::<AgentId>);
    vec![
        operation(("post", "/agents"), "create_agent", "Store an agent", agent)
            .creates()
            .body(agents::create_schema),
        operation(
            ("get", "/agents"),
            "list_agents",
            "List agents, newest first",
            ("A page.", PageView::<AgentView>::schema),
        )
        .query(lists::listing_parameters),
        by_id(operation(("get", "/agents/{id}"), "get_agent", "Show an agent", agent)),
        by_id(operation(
            ("patch", "/agents/{id}"),
            "update_agent",
            "Change the fields that are given; null clears one",
            agent,
        ))
        .body(agents::update_schema),
        by_id(operation(("delete", "/agents/{id}"), "delete_agent", "Delete an agent", agent)),
    ]
}

fn phone_numbers() -> Vec<Operation> {
    let number: (_, Schema) = ("The number.", Schemas::view::<PhoneNumberView>);
    let by_number = |operation: Operation| {
        let about = "The number, its plus encoded as `%2B`.";
        operation.path_parameter("phone_number", about, Schemas::view::<E164>)
    };
    vec![
        operation(
            ("get", "/phone_numbers/buy"),
            "available_numbers_to_buy",
            "List numbers that can be bought",
            ("The numbers.", AvailableNumberView::list_schema),
        )
        .query(SearchNumbers::parameters),
        operation(("post", "/phone_numbers/buy"), "buy_phone_number", "Buy a number", number)
            .creates()
            .body(BuyNumber::schema),
        operation(
            ("post", "/phone_numbers/import"),
            "import_phone_number",
            "Import a number from your own account at the carrier",
            number,
        )
        .creates()
        .body(ImportNumber::schema),
        operation(
            ("get", "/phone_numbers"),
            "list_phone_numbers",
            "List numbers, newest first",
            ("A page.", PageView::<PhoneNumberView>::schema),
        )
        .query(lists::listing_parameters),
        by_number(operation(
            ("get", "/phone_numbers/{phone_number}"),
            "get_phone_number",
            "Show a number",
            number,
        )),
        by_number(operation(
            ("patch", "/phone_numbers/{phone_number}"),
            "update_phone_number",
            "Change the fields that are given; null clears one",
            number,
        ))
        .body(phone_numbers::update_schema),
        by_number(operation(
            ("delete", "/phone_numbers/{phone_number}"),
            "delete_phone_number",
            "Remove a number from the account; an imported one stays yours",
            number,
        ))
        .query(DeleteNumber::parameters),
    ]
}

fn credentials() -> Vec<Operation> {
    let credential: (_, Schema) = ("The credential, without its key.", Schemas::view::<CredentialView>);
    let by_id = |operation: Operation| {
        operation.path_parameter("id", "The credential's id.", Schemas::view::<CredentialId>)
    };
    vec![
        operation(
            ("post", "/credentials"),
            "create_credential",
            "Store your own key of a provider",
            credential,
        )
        .creates()
        .body(credentials::create_schema),
        operation(
            ("get", "/credentials"),
            "list_credentials",
            "List credentials, newest first",
            ("A page.", PageView::<CredentialView>::schema),
        )
        .query(lists::listing_parameters),
        by_id(operation(("get", "/credentials/{id}"), "get_credential", "Show a credential", credential)),
        by_id(operation(
            ("delete", "/credentials/{id}"),
            "delete_credential",
            "Delete a credential; calls of agents that name it end at once",
            credential,
        )),
    ]
}

fn conversations() -> Vec<Operation> {
    let conversation: (_, Schema) = ("The conversation.", Schemas::view::<ConversationView>);
    let event: (_, Schema) = ("The event with its deliveries.", Schemas::view::<EventView>);
    let by_id = |operation: Operation| {
        operation.path_parameter("id", "The conversation's id.", Schemas::view::<ConversationId>)
    };
    vec![
        operation(
            ("post", "/conversations/create_phone_call"),
            "create_phone_call",
            "Have an agent call a number",
            conversation,
        )
        .creates()
        .body(CreatePhoneCall::schema),
        operation(
            ("post", "/conversations/create_web_call"),
            "create_web_call",
            "Have an agent talk with a browser",
            ("The conversation with its URL.", Schemas::view::<CreatedWebCallView>),
        )
        .creates()
        .body(CreateWebCall::schema),
        operation(
            ("get", "/conversations"),
            "list_conversations",
            "List conversations without their messages, newest first",
            ("A page.", PageView::<ConversationView>::schema),
        )
        .query(ListConversations::parameters),
        by_id(operation(
            ("get", "/conversations/{id}"),
            "get_conversation",
            "Show a conversation",
            conversation,
        )),
        by_id(operation(
            ("get", "/conversations/{id}/recording"),
            "get_audio_recording",
            "Show a link to the recording; 404 until there is one",
            ("The link.", Schemas::view::<RecordingView>),
        )),
        by_id(operation(
            ("get", "/conversations/{id}/scenario"),
            "get_scenario",
            "Make a scenario of a conversation that has ended",
            ("The scenario.", Schemas::view::<ScenarioView>),
        ))
        .errors(&[409]),
        by_id(operation(
            ("get", "/conversations/{id}/events"),
            "list_events",
            "List the events with every delivery's attempts, oldest first",
            ("A page.", PageView::<EventView>::schema),
        ))
        .query(ListEvents::parameters),
        by_id(operation(
            ("post", "/conversations/{id}/events/{event_id}/redeliver"),
            "redeliver_event",
            "Deliver an event again, under the same webhook id",
            event,
        ))
        .path_parameter("event_id", "The event's id.", Schemas::view::<EventId>),
        by_id(operation(
            ("post", "/conversations/{id}/end"),
            "end_conversation",
            "End a conversation, whatever its status",
            conversation,
        )),
        by_id(operation(
            ("delete", "/conversations/{id}"),
            "delete_conversation",
            "Remove the messages, the recording and the events' data of a conversation that has ended",
            conversation,
        ))
        .errors(&[409]),
    ]
}
