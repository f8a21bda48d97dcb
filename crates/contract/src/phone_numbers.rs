//! Phone numbers: search, purchase, import, change, and their views.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use switchboard_model::{
    carriers::CarrierName,
    egress_policy::EgressPolicy,
    ids::{AccountId, AgentId, PhoneNumberId},
    phone_numbers::{E164, PhoneNumber},
    secrets::Secret,
    time::Timestamp,
    webhooks::Webhook,
};

use crate::{
    agents::webhooks::{FilterCount, WebhookSchema, number_webhook},
    declaration::{FieldType, Parameter, Record, Schemas, types},
    references::{Checked, References, read_query},
    validation::FieldError,
};

/// Maximum number of available numbers in one answer.
const MAX_AVAILABLE: i64 = 100;
/// Available numbers in an answer, unless the request says otherwise.
const DEFAULT_AVAILABLE: usize = 10;
/// Maximum number of webhooks of a phone number: an inbound call waits for all of them at once.
const MAX_WEBHOOKS: usize = 10;

/// The query of `GET /phone_numbers/buy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchNumbers {
    /// Digits that the number contains; `*` stands for any one digit.
    pub contains: Option<String>,
    /// Maximum number of results.
    pub limit: usize,
}

impl SearchNumbers {
    /// Reads the query.
    pub fn read(query: &Value) -> Result<Self, Vec<FieldError>> {
        read_query(query, |field| Self::record().read(field))
    }

    /// The parameters of the query.
    pub fn parameters(schemas: &mut Schemas) -> Vec<Parameter> {
        schemas.parameters(&Self::record())
    }

    fn record() -> Record<'static, Self> {
        Record::new("SearchNumbers", "", |members| {
            let contains = members.optional(
                "contains",
                digits(),
                "Digits that the number contains; `*` stands for any one digit.",
            );
            let limit = members.or(
                "limit",
                types::count(1..=MAX_AVAILABLE),
                DEFAULT_AVAILABLE,
                "Maximum number of results.",
            );
            Ok(Self { contains: contains?.filter(|digits| !digits.is_empty()), limit: limit? })
        })
    }
}

/// Digits without their spaces and punctuation; empty if there are none.
fn digits<'c>() -> FieldType<'c, String> {
    const PATTERN: &str = r"^[ -),-/:-@\[-`{-~]*(([0-9*+][ -),-/:-@\[-`{-~]*){2,16})?$";
    FieldType::plain(
        |field| {
            // In a query, digits arrive as a number.
            let mut text = field.value().as_str().map_or_else(|| field.value().to_string(), str::to_owned);
            text.retain(|character| {
                matches!(character, '+' | '*') || !(character == ' ' || character.is_ascii_punctuation())
            });
            let is_pattern = text.bytes().all(|byte| byte.is_ascii_digit() || b"+*".contains(&byte));
            if is_pattern && (text.is_empty() || (2..=16).contains(&text.len())) {
                return Ok(text);
            }
            field.reject("value_error", "Should be 2 to 16 digits, or * for any digit")
        },
        json!({ "type": "string", "pattern": PATTERN, "examples": ["415"] }),
    )
}

/// The body of `POST /phone_numbers/buy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuyNumber {
    /// The number to buy; `None`: any.
    pub phone_number: Option<E164>,
}

impl BuyNumber {
    /// Reads the body.
    #[must_use]
    pub fn read(body: &Value) -> Checked<Self> {
        Checked::body(body, |field, _| Self::record().read(field))
    }

    /// The schema of the body.
    pub fn schema(schemas: &mut Schemas) -> Value {
        schemas.input(&Self::record())
    }

    fn record() -> Record<'static, Self> {
        Record::new("BuyPhoneNumber", "A number to buy.", |members| {
            let provider = members.or("provider", carrier(), CarrierName::default(), "The carrier.");
            let phone_number =
                members.optional("phone_number", types::parsed(), "The number; null: any number.");
            provider?;
            Ok(Self { phone_number: phone_number? })
        })
    }
}

fn carrier<'c>() -> FieldType<'c, CarrierName> {
    FieldType::plain(
        |field| field.choice(&CarrierName::ALL.map(|carrier| (carrier.as_str(), carrier))),
        json!({ "type": "string", "const": CarrierName::default() }),
    )
}

/// The body of `POST /phone_numbers/import`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportNumber {
    /// The number to import.
    pub phone_number: E164,
    /// The customer's own account at the carrier.
    pub account_sid: String,
    /// The token of that account.
    pub auth_token: Secret,
}

impl ImportNumber {
    /// Reads the body.
    #[must_use]
    pub fn read(body: &Value) -> Checked<Self> {
        Checked::body(body, |field, _| Self::record().read(field))
    }

    /// The schema of the body.
    pub fn schema(schemas: &mut Schemas) -> Value {
        schemas.input(&Self::record())
    }

    fn record() -> Record<'static, Self> {
        let about = "A number of the customer's own account at the carrier.";
        Record::new("ImportPhoneNumber", about, |members| {
            let phone_number = members.required("phone_number", types::parsed(), "The number.");
            let account_sid =
                members.required("account_sid", account_sid(), "The carrier's id of the account.");
            let auth_token = members.required(
                "auth_token",
                auth_token(),
                "The token of the account; it is sealed, and never shown again.",
            );
            Ok(Self { phone_number: phone_number?, account_sid: account_sid?, auth_token: auth_token? })
        })
    }
}

fn account_sid<'c>() -> FieldType<'c, String> {
    FieldType::plain(
        |field| {
            let text = field.str()?;
            let digits = text.strip_prefix("AC").unwrap_or_default();
            // It becomes part of a path, so nothing else may pass.
            if digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Ok(text.to_owned());
            }
            field.reject("value_error", "Should be AC and 32 hexadecimal digits")
        },
        json!({ "type": "string", "pattern": "^AC[0-9a-fA-F]{32}$" }),
    )
}

fn auth_token<'c>() -> FieldType<'c, Secret> {
    const MAX_BYTES: usize = 256;
    FieldType::plain(
        |field| {
            let text = field.non_empty_string()?;
            if text.len() <= MAX_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Ok(Secret::new(text));
            }
            field.reject("value_error", "Should be at most 256 visible ASCII characters without spaces")
        },
        json!({ "type": "string", "minLength": 1, "maxLength": MAX_BYTES, "pattern": r"^[\x21-\x7e]+$" }),
    )
}

/// Reads the body of `PATCH /phone_numbers/{phone_number}`, a change of `number`: a member that is present has its
/// new value, a null one is cleared, an absent one stays as it is.
#[must_use]
pub fn update(number: &PhoneNumber, body: &Value, egress_policy: EgressPolicy) -> Checked<PhoneNumber> {
    Checked::body(body, |field, references| {
        let current =
            Changes { inbound_agent_id: number.inbound_agent_id, webhooks: number.webhooks.clone() };
        let Changes { inbound_agent_id, webhooks } =
            changes(current, egress_policy, references).read(field)?;
        Ok(PhoneNumber { inbound_agent_id, webhooks, ..number.clone() })
    })
}

/// The schema of the body of `PATCH /phone_numbers/{phone_number}`.
pub fn update_schema(schemas: &mut Schemas) -> Value {
    let references = References::default();
    schemas.input(&changes(Changes::default(), EgressPolicy::PublicOnly, &references))
}

/// The fields of a number that a client can change.
#[derive(Default)]
struct Changes {
    inbound_agent_id: Option<AgentId>,
    webhooks: Vec<Webhook>,
}

fn changes(current: Changes, egress_policy: EgressPolicy, references: &References) -> Record<'_, Changes> {
    let about = "A change of a number: an absent field stays as it is, null clears one.";
    Record::new("UpdatePhoneNumber", about, move |members| {
        let inbound_agent_id = members.change(
            "inbound_agent_id",
            references.agent().nullable(),
            &current.inbound_agent_id,
            "The stored agent that takes inbound calls.",
        );
        let webhooks = members.change(
            "webhooks",
            webhooks(egress_policy),
            &current.webhooks,
            "The endpoints that choose the agent of an inbound call.",
        );
        Ok(Changes { inbound_agent_id: inbound_agent_id?, webhooks: webhooks? })
    })
}

fn webhooks<'c>(egress_policy: EgressPolicy) -> FieldType<'c, Vec<Webhook>> {
    FieldType::new(
        move |field| {
            let filters = FilterCount::default();
            let webhooks = types::list(0, number_webhook(egress_policy, &filters)).read(field);
            if field.value().as_array().is_some_and(|webhooks| webhooks.len() > MAX_WEBHOOKS) {
                return field
                    .reject("too_long", format!("A number should have at most {MAX_WEBHOOKS} webhooks"));
            }
            webhooks
        },
        move |generator, form| {
            let filters = FilterCount::default();
            types::list(0, number_webhook(egress_policy, &filters))
                .keywords(json!({ "maxItems": MAX_WEBHOOKS }))
                .schema(generator, form)
        },
    )
}

/// The query of `DELETE /phone_numbers/{phone_number}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteNumber {
    /// Whether the number is released at the carrier, not only removed from the account.
    pub release: bool,
}

impl DeleteNumber {
    /// Reads the query.
    pub fn read(query: &Value) -> Result<Self, Vec<FieldError>> {
        read_query(query, |field| Self::record().read(field))
    }

    /// The parameters of the query.
    pub fn parameters(schemas: &mut Schemas) -> Vec<Parameter> {
        schemas.parameters(&Self::record())
    }

    fn record() -> Record<'static, Self> {
        Record::new("DeleteNumber", "", |members| {
            let about = "If true, the number is released at the carrier, and may be lost. If false, it leaves this account \
                         and stays with the deployment, which gives it to the next purchase that it fits.";
            Ok(Self { release: members.or("release_phone_number", types::flag(), false, about)? })
        })
    }
}

/// A phone number of the account.
#[derive(Serialize, JsonSchema)]
pub struct PhoneNumberView {
    /// Its id, such as `num_01JD...`.
    pub id: PhoneNumberId,
    /// The URL of this number.
    pub uri: String,
    /// The account that owns it.
    pub account_id: AccountId,
    /// The number.
    pub phone_number: E164,
    /// The stored agent that takes inbound calls; null: they are rejected, unless a webhook chooses an agent.
    pub inbound_agent_id: Option<AgentId>,
    /// The endpoints that choose the agent of an inbound call.
    #[schemars(with = "Vec<WebhookSchema>")]
    pub webhooks: Vec<Webhook>,
    /// Its carrier.
    pub telephony: TelephonyView,
    /// The time at which the account got it.
    pub created_at: Timestamp,
    /// The time of its last change.
    pub updated_at: Timestamp,
}

/// The carrier of a number.
#[derive(Serialize, JsonSchema)]
pub struct TelephonyView {
    /// The carrier.
    #[schemars(
        with = "&'static str",
        description = CarrierName::description(),
        extend("const" = CarrierName::default())
    )]
    pub provider: CarrierName,
    /// The carrier's id of the number.
    pub phone_number_sid: String,
    /// The customer's own account at the carrier; null if the number was bought here.
    pub account_sid: Option<String>,
    /// Always null: it is never shown.
    #[schemars(with = "Option<String>")]
    pub auth_token: Option<()>,
}

/// A number that can be bought.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NumberOnSaleView")]
pub struct AvailableNumberView {
    /// The carrier.
    #[schemars(
        with = "&'static str",
        description = CarrierName::description(),
        extend("const" = CarrierName::default())
    )]
    pub provider: CarrierName,
    /// The number.
    pub phone_number: E164,
    /// The place of the number; null if the carrier does not say.
    pub postal_code: Option<String>,
    /// ISO 3166-1 alpha-2, such as `US`.
    pub iso_country: Option<String>,
}

impl AvailableNumberView {
    /// The schema of the answer to `GET /phone_numbers/buy`.
    pub fn list_schema(schemas: &mut Schemas) -> Value {
        let number = schemas.view::<Self>();
        json!({ "type": "array", "items": number })
    }
}

impl PhoneNumberView {
    /// `public_url` is the API's, without a slash at the end.
    #[must_use]
    pub fn new(public_url: &str, number: PhoneNumber) -> Self {
        let PhoneNumber { id, account_id, phone_number, inbound_agent_id, webhooks, .. } = number;
        Self {
            id,
            // Of the characters of a number, only the plus has another meaning in a URL.
            uri: format!("{public_url}/phone_numbers/%2B{}", &phone_number.as_str()[1..]),
            account_id,
            phone_number,
            inbound_agent_id,
            webhooks,
            telephony: TelephonyView {
                provider: CarrierName::default(),
                phone_number_sid: number.carrier.sid.unwrap_or_default(),
                account_sid: number.carrier.own.map(|own| own.account_sid),
                auth_token: None,
            },
            created_at: number.created_at,
            updated_at: number.updated_at,
        }
    }
}

#[cfg(test)]
#[path = "phone_numbers_tests.rs"]
mod tests;
