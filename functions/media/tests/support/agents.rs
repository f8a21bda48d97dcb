//! Agents and webhooks.

use switchboard_model::{
    agents::{AgentConfig, Function, LanguageModel, ModelSettings, Tool, ToolKind},
    event_names::EventName,
    hooks::{Hook, Instruction},
    webhooks::{Webhook, WebhookMethod},
};

/// The functions of all agents.
const FUNCTIONS: [&str; 18] = [
    "end_call", "price", "hours", "nothing", "broken", "never", "slow", "look_up", "a", "b", "c", "d", "e",
    "f", "g", "h", "i", "j",
];

/// An agent with a greeting.
pub(crate) fn greeting(text: &str) -> AgentConfig {
    AgentConfig { initial_message: Some(text.to_owned()), ..quiet() }
}

/// An agent without a greeting, which hangs up when it calls a function.
pub(crate) fn quiet() -> AgentConfig {
    let tool = |name: &&str| {
        let function = Function { name: (*name).to_owned(), description: None, parameters: None };
        Tool { kind: ToolKind::Function, function }
    };
    let tools = FUNCTIONS.iter().map(tool).collect();
    let settings = ModelSettings { tools, ..ModelSettings::default() };
    let hook = Hook {
        events: vec![EventName::FunctionCallTriggered],
        filter: None,
        instructions: vec![Instruction::HangUp],
    };
    AgentConfig {
        prompt: Some("You are Ada.".to_owned()),
        language_model: LanguageModel::Openai(settings),
        hooks: vec![hook],
        ..AgentConfig::default()
    }
}

/// An agent that continues after it has called a function.
pub(crate) fn calling(webhooks: Vec<Webhook>) -> AgentConfig {
    AgentConfig { hooks: vec![], webhooks, ..quiet() }
}

/// A webhook that answers functions.
pub(crate) fn webhook(url: &str) -> Webhook {
    Webhook {
        events: vec![EventName::FunctionCallTriggered],
        url: url.to_owned(),
        method: WebhookMethod::Post,
        headers: None,
        filter: None,
    }
}
