//! Creates the account of the local stack, and connects its telephone number.

use anyhow::Context as _;
use switchboard_model::accounts::Limits;
use switchboard_model::carriers::CarrierName;
use switchboard_model::catalogue;
use switchboard_model::ids::PhoneNumberId;
use switchboard_model::phone_numbers::{E164, PhoneNumber};
use switchboard_runtime::{now, random_u128};
use switchboard_sandbox::Sandbox;

use super::emulator;
use super::host_environment::HostEnvironment;
use super::own_carrier::{Callbacks, OwnCarrier};
use super::providers::{ProviderEndpoints, Source};
use crate::new_account;

/// The number that the account owns and calls from. The sandbox's carrier has it, too.
const FROM_NUMBER: &str = "+14155550199";

/// The limits of the account: the machine has one user, and the sandbox's carrier takes any number of calls.
fn limits(live_calls: u32) -> Limits {
    Limits { live_calls, calls_per_second: 100, requests_per_second: 1_000, ..Limits::default() }
}

/// The account's credentials. Not `Debug`: they are secrets.
pub(crate) struct SeededAccount {
    /// `acc_...`.
    pub(crate) account_id: String,
    /// A token of the account, in the clear: the table has only its hash.
    pub(crate) token: String,
    /// The account's number (E.164).
    pub(crate) from_number: String,
    /// Signs the account's webhooks.
    pub(crate) webhook_secret: String,
}

/// The carrier that has the account's number.
pub(crate) enum SeedCarrier<'a> {
    Sandbox(&'a Sandbox),
    Own(OwnCarrier, String),
}

impl<'a> SeedCarrier<'a> {
    /// The carrier of this stack.
    ///
    /// # Errors
    ///
    /// An HTTP client cannot be created.
    pub(crate) fn of(
        providers: &ProviderEndpoints,
        sandbox: &'a Sandbox,
        host: &HostEnvironment,
    ) -> anyhow::Result<Self> {
        let name = CarrierName::default().as_str();
        let Some(Source::Address(url)) = providers.sources.get(name) else {
            return Ok(Self::Sandbox(sandbox));
        };
        let connection = catalogue::connection(name).context("the carrier has no connection")?;
        let key = |position: usize| connection.keys.get(position).and_then(|name| providers.keys.get(name));
        let (sid, token) = key(0).zip(key(1)).context("the carrier has no keys")?;
        let number = host.carrier_number.clone().unwrap_or_else(|| FROM_NUMBER.to_owned());
        Ok(Self::Own(OwnCarrier::new(url, sid, token)?, number))
    }

    fn number(&self) -> &str {
        match self {
            Self::Sandbox(_) => FROM_NUMBER,
            Self::Own(_, number) => number,
        }
    }

    /// Sets the callbacks of the number. Returns the carrier's id of it.
    async fn connect_number(&self, callbacks: &Callbacks) -> anyhow::Result<String> {
        match self {
            Self::Sandbox(sandbox) => sandbox
                .connect_number(FROM_NUMBER, &callbacks.inbound, &callbacks.fallback, &callbacks.status)
                .context("the sandbox's carrier does not own the number"),
            Self::Own(carrier, number) => carrier.connect_number(number, callbacks).await,
        }
    }
}

/// Creates the account, and gives it its number, connected to the API at `api_url`.
///
/// # Errors
///
/// The table refuses a write, or the carrier does not own the number.
pub(crate) async fn seed(
    emulator_url: &str,
    table: &str,
    api_url: &str,
    carrier: &SeedCarrier<'_>,
    live_calls: u32,
) -> anyhow::Result<SeededAccount> {
    let store = emulator::table(emulator_url, table);
    let (account, token) = new_account::create(&store, "local").await.context("storing the account")?;
    store.set_limits(account.id, &limits(live_calls)).await.context("storing the account's limits")?;
    let from_number = carrier.number();
    let number: E164 = from_number.parse().with_context(|| format!("the number {from_number}"))?;
    let base = format!("{api_url}{}", CarrierName::default().callbacks_path(account.id));
    let sid = carrier.connect_number(&Callbacks::below(&base)).await?;
    let id = PhoneNumberId::new(account.created_at, random_u128());
    let number = PhoneNumber::coming(id, account.id, number, None, now()).arrived(sid);
    store.add_phone_number(&number).await.context("storing the number")?;
    Ok(SeededAccount {
        account_id: account.id.to_string(),
        token: token.reveal().to_owned(),
        from_number: from_number.to_owned(),
        webhook_secret: account.signing_secret,
    })
}
