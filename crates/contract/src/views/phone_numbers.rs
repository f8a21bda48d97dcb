use schemars::JsonSchema;
use serde::Serialize;

use switchboard_model::{
    agents::Webhook,
    ids::{AccountId, AgentId, PhoneNumberId},
    phone_numbers::{E164, PhoneNumber},
    time::Timestamp,
};

/// A phone number of the account.
#[derive(Serialize, JsonSchema)]
pub struct PhoneNumberView {
    /// Its id, such as `num_01JD...`.
    pub id: PhoneNumberId,
    /// The URL of this number.
    pub uri: String,
    /// Whose it is.
    pub account_id: AccountId,
    /// The number.
    pub phone_number: E164,
    /// The stored agent that takes its calls; null: they are rejected, unless a webhook chooses an agent.
    pub inbound_agent_id: Option<AgentId>,
    /// Who is asked, when a call comes in, which agent takes it.
    pub webhooks: Vec<Webhook>,
    /// Its carrier.
    pub telephony: TelephonyView,
    /// When it became the account's.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The carrier of a number.
#[derive(Serialize, JsonSchema)]
pub struct TelephonyView {
    /// The carrier: always `twilio`.
    #[schemars(extend("const" = "twilio"))]
    pub provider: &'static str,
    /// The carrier's id of the number.
    pub phone_number_sid: String,
    /// The customer's own account at the carrier; null if the number was bought here.
    pub account_sid: Option<String>,
    /// Always null: it is never shown.
    pub auth_token: Option<()>,
}

/// A number that can be bought.
#[derive(Serialize, JsonSchema)]
pub struct NumberOnSaleView {
    /// The carrier: always `twilio`.
    #[schemars(extend("const" = "twilio"))]
    pub provider: &'static str,
    /// The number.
    pub phone_number: E164,
    /// Where it belongs to; null if the carrier does not say.
    pub postal_code: Option<String>,
    /// ISO 3166-1 alpha-2, such as `US`.
    pub iso_country: Option<String>,
}

impl PhoneNumberView {
    /// `public_url` is the API's, without a slash at the end.
    #[must_use]
    pub fn new(public_url: &str, number: PhoneNumber) -> Self {
        let PhoneNumber { id, account_id, phone_number, inbound_agent_id, webhooks, .. } = number;
        Self {
            id,
            // Of what is in a number, only the plus means something else in a URL.
            uri: format!("{public_url}/phone_numbers/%2B{}", &phone_number.as_str()[1..]),
            account_id,
            phone_number,
            inbound_agent_id,
            webhooks,
            telephony: TelephonyView {
                provider: "twilio",
                phone_number_sid: number.carrier.sid.unwrap_or_default(),
                account_sid: number.carrier.own.map(|own| own.account_sid),
                auth_token: None,
            },
            created_at: number.created_at,
            updated_at: number.updated_at,
        }
    }
}
