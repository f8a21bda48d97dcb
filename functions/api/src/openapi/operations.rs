//! What each route takes and gives.

use schemars::JsonSchema;
use serde_json::{Value, json};
use switchboard_contract::views::{
    AgentView, ConversationView, CredentialView, EventView, NumberOnSaleView, PhoneNumberView,
};
use switchboard_model::{
    agents::AgentConfig,
    conversations::Status,
    ids::{AgentId, ConversationId, CredentialId, EventId},
    lists,
    phone_numbers::E164,
};

use super::{bodies, schemas::Schemas};

type Schema = fn(&mut Schemas) -> Value;

/// One route, described.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// The name that clients give it.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    /// Whether it makes something, so that it takes an idempotency key.
    pub(super) is_create: bool,
    /// Whether it takes a token.
    pub(super) is_guarded: bool,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<Schema>,
    pub(super) gives: &'static str,
    pub(super) answer: Schema,
    /// What else can go wrong.
    pub(super) statuses: &'static [u16],
}

/// Where a parameter stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Path,
    Query,
}

/// A parameter.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) description: &'static str,
    pub(super) schema: Schema,
}

impl Operation {
    /// What it is about: the first word of its path.
    pub(super) fn tag(&self) -> &'static str {
        self.path[1..]
            .split('/')
            .next()
            .filter(|tag| !matches!(*tag, "" | "openapi.json"))
            .unwrap_or("service")
    }

    fn with(mut self, name: &'static str, place: Place, description: &'static str, schema: Schema) -> Self {
        self.parameters.push(Parameter { name, place, description, schema });
        self
    }

    fn of(self, name: &'static str, description: &'static str, schema: Schema) -> Self {
        self.with(name, Place::Path, description, schema)
    }

    fn asked(self, name: &'static str, description: &'static str, schema: Schema) -> Self {
        self.with(name, Place::Query, description, schema)
    }

    fn paged(self) -> Self {
        self.asked("index", "Which page, from 1; `index * limit` is at most 10,000.", |_| {
            json!({ "type": "integer", "minimum": 1, "maximum": lists::MAX_DEPTH, "default": 1 })
        })
        .asked("limit", "Items on a page, at most.", |_| {
            json!({ "type": "integer", "minimum": 1, "maximum": lists::MAX_LIMIT, "default": lists::MAX_LIMIT })
        })
    }

    fn by_time(self) -> Self {
        let time: Schema = |_| json!({ "type": "string", "format": "date-time" });
        self.asked("created_after", "Only what was made later; ISO 8601, UTC if it names no offset.", time)
            .asked("created_before", "Only what was made earlier.", time)
            .paged()
    }

    fn makes(self) -> Self {
        Self { is_create: true, ..self }
    }

    fn takes(self, body: Schema) -> Self {
        Self { body: Some(body), ..self }
    }

    fn may(self, statuses: &'static [u16]) -> Self {
        Self { statuses, ..self }
    }

    fn open(self) -> Self {
        Self { is_guarded: false, ..self }
    }
}

fn operation(
    (method, path): (&'static str, &'static str),
    id: &'static str,
    summary: &'static str,
    (gives, answer): (&'static str, Schema),
) -> Operation {
    Operation {
        method,
        path,
        id,
        summary,
        is_create: false,
        is_guarded: true,
        parameters: vec![],
        body: None,
        gives,
        answer,
        statuses: &[],
    }
}

fn page<T: JsonSchema>(schemas: &mut Schemas) -> Value {
    let item = schemas.answer::<T>();
    json!({
        "type": "object",
        "required": ["items", "index", "has_more"],
        "properties": {
            "items": { "type": "array", "items": item, "description": "What is on the page." },
            "index": { "type": "integer", "minimum": 1, "description": "Which page it is." },
            "has_more": { "type": "boolean", "description": "Whether there is a next one." },
        },
    })
}

/// All of them, in the order in which the documentation shows them.
pub(super) fn operations() -> Vec<Operation> {
    let mut all = service();
    all.extend(conversations());
    all.extend(agents());
    all.extend(phone_numbers());
    all.extend(credentials());
    all
}

fn service() -> Vec<Operation> {
    let any: Schema = |_| json!({ "type": "object" });
    vec![
        operation(
            ("get", "/"),
            "get_service",
            "What this service is",
            ("Version, links, substitutions.", any),
        )
        .open(),
        operation(
            ("get", "/openapi.json"),
            "get_openapi",
            "This document",
            ("An OpenAPI 3.1 document.", any),
        )
        .open(),
    ]
}

fn agents() -> Vec<Operation> {
    let agent: (_, Schema) = ("The agent.", Schemas::answer::<AgentView>);
    let config: Schema = Schemas::input::<AgentConfig>;
    let one = |operation: Operation| operation.of("id", "The agent's id.", Schemas::answer::<AgentId>);
    vec![
        operation(("post", "/agents"), "create_agent", "Table an agent", agent).makes().takes(config),
        operation(
            ("get", "/agents"),
            "list_agents",
            "List agents, newest first",
            ("A page.", page::<AgentView>),
        )
        .by_time(),
        one(operation(("get", "/agents/{id}"), "get_agent", "Show an agent", agent)),
        one(operation(
            ("patch", "/agents/{id}"),
            "update_agent",
            "Change the fields that are given; null clears one",
            agent,
        ))
        .takes(config),
        one(operation(("delete", "/agents/{id}"), "delete_agent", "Delete an agent", agent)),
    ]
}

fn phone_numbers() -> Vec<Operation> {
    let number: (_, Schema) = ("The number.", Schemas::answer::<PhoneNumberView>);
    let one = |operation: Operation| {
        operation.of("phone_number", "The number, its plus encoded as `%2B`.", Schemas::answer::<E164>)
    };
    vec![
        operation(
            ("get", "/phone_numbers/buy"),
            "available_numbers_to_buy",
            "Numbers on sale",
            ("The numbers.", |schemas| {
                let number = schemas.answer::<NumberOnSaleView>();
                json!({ "type": "array", "items": number })
            }),
        )
        .asked(
            "contains",
            "Digits that stand in the number; `*` is any one digit.",
            |_| json!({ "type": "string", "minLength": 2, "maxLength": 16, "pattern": r"^[0-9+*]{2,16}$" }),
        )
        .asked("limit", "Numbers, at most.", |_| {
            json!({
                "type": "integer",
                "minimum": 1,
                "maximum": switchboard_contract::phone_numbers::MAX_ON_SALE,
                "default": switchboard_contract::phone_numbers::USUAL_ON_SALE,
            })
        }),
        operation(("post", "/phone_numbers/buy"), "buy_phone_number", "Buy a number", number)
            .makes()
            .takes(Schemas::input::<bodies::BuyPhoneNumber>),
        operation(
            ("post", "/phone_numbers/import"),
            "import_phone_number",
            "Bring a number from your own account at the carrier",
            number,
        )
        .makes()
        .takes(Schemas::input::<bodies::ImportPhoneNumber>),
        operation(
            ("get", "/phone_numbers"),
            "list_phone_numbers",
            "List numbers, newest first",
            ("A page.", page::<PhoneNumberView>),
        )
        .by_time(),
        one(operation(("get", "/phone_numbers/{phone_number}"), "get_phone_number", "Show a number", number)),
        one(operation(
            ("patch", "/phone_numbers/{phone_number}"),
            "update_phone_number",
            "Change the fields that are given; null clears one",
            number,
        ))
        .takes(Schemas::input::<bodies::UpdatePhoneNumber>),
        one(operation(
            ("delete", "/phone_numbers/{phone_number}"),
            "delete_phone_number",
            "Give a number back; an imported one stays yours",
            number,
        ))
        .asked(
            "release_phone_number",
            "If false the number is only taken out of this account, not given back to the carrier.",
            |_| json!({ "type": "boolean", "default": true }),
        ),
    ]
}

fn credentials() -> Vec<Operation> {
    let credential: (_, Schema) = ("The credential, without its key.", Schemas::answer::<CredentialView>);
    let one =
        |operation: Operation| operation.of("id", "The credential's id.", Schemas::answer::<CredentialId>);
    vec![
        operation(
            ("post", "/credentials"),
            "create_credential",
            "Table a key of your own for one of the providers",
            credential,
        )
        .makes()
        .takes(Schemas::input::<bodies::CreateCredential>),
        operation(
            ("get", "/credentials"),
            "list_credentials",
            "List credentials, newest first",
            ("A page.", page::<CredentialView>),
        )
        .by_time(),
        one(operation(("get", "/credentials/{id}"), "get_credential", "Show a credential", credential)),
        one(operation(
            ("delete", "/credentials/{id}"),
            "delete_credential",
            "Delete a credential; calls of agents that name it end at once",
            credential,
        )),
    ]
}

fn conversations() -> Vec<Operation> {
    let conversation: (_, Schema) = ("The conversation.", Schemas::answer::<ConversationView>);
    let event: (_, Schema) = ("The event with its deliveries.", Schemas::answer::<EventView>);
    let one = |operation: Operation| {
        operation.of("id", "The conversation's id.", Schemas::answer::<ConversationId>)
    };
    vec![
        operation(
            ("post", "/conversations/create_phone_call"),
            "create_phone_call",
            "Have an agent call somebody",
            conversation,
        )
        .makes()
        .takes(Schemas::input::<bodies::CreatePhoneCall>),
        operation(
            ("get", "/conversations"),
            "list_conversations",
            "List conversations without their messages, newest first",
            ("A page.", page::<ConversationView>),
        )
        .asked("status", "Only those that stand here.", Schemas::answer::<Status>)
        .by_time(),
        one(operation(
            ("get", "/conversations/{id}"),
            "get_conversation",
            "Show a conversation",
            conversation,
        )),
        one(operation(
            ("get", "/conversations/{id}/recording"),
            "get_audio_recording",
            "A link to the recording; 404 until there is one",
            ("The link.", Schemas::answer::<bodies::Recording>),
        )),
        one(operation(
            ("get", "/conversations/{id}/events"),
            "list_events",
            "The event log with every delivery's attempts, oldest first",
            ("A page.", page::<EventView>),
        ))
        .paged(),
        one(operation(
            ("post", "/conversations/{id}/events/{event_id}/redeliver"),
            "redeliver_event",
            "Deliver an event again, under the same webhook id",
            event,
        ))
        .of("event_id", "The event's id.", Schemas::answer::<EventId>),
        one(operation(
            ("post", "/conversations/{id}/end"),
            "end_conversation",
            "End a conversation, wherever it stands",
            conversation,
        )),
        one(operation(
            ("delete", "/conversations/{id}"),
            "delete_conversation",
            "Remove what was said, the recording and the events' data of a conversation that has ended",
            conversation,
        ))
        .may(&[409]),
    ]
}
