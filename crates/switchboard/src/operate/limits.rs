//! `switchboard accounts limits`: shows and changes the limits of an account.

use clap::value_parser;
use serde_json::json;
use switchboard_aws::table::{Table, TableError};
use switchboard_model::accounts::{Account, Limits};
use switchboard_model::limits::MAX_CALLS_PER_SECOND;
use switchboard_model::phone_numbers::parse_calling_code;

use super::output::CommandOutput;

/// The limits to change.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct LimitChanges {
    /// Concurrent outbound calls; a call over the limit waits as `queued`.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=100_000))]
    live_calls: Option<u32>,
    /// Concurrent inbound and web calls; a call over the limit is rejected as busy.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(0..=100_000))]
    inbound_calls: Option<u32>,
    /// Calls started per second: at most the rate that the carrier grants this deployment.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=i64::from(MAX_CALLS_PER_SECOND)))]
    calls_per_second: Option<u32>,
    /// API requests per second on average; bursts of twice as many are accepted, more are answered with 429.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1_000))]
    requests_per_second: Option<u32>,
    /// Phone numbers that the account may have.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(0..=100_000))]
    phone_numbers: Option<u32>,
    /// USD that the account's conversations may cost in a day (UTC); then new calls are answered with 429.
    #[arg(long, value_name = "USD", value_parser = value_parser!(u32).range(0..=1_000_000))]
    daily_spend_usd: Option<u32>,
    /// Whether the account may call premium-rate, satellite and high-fraud numbers.
    #[arg(long, value_name = "BOOL")]
    restricted_numbers: Option<bool>,
    /// The countries that the account may call, by calling code, such as `+1,+44`; `own`: those of the numbers it bought.
    #[arg(long, value_name = "CODES", value_parser = destinations)]
    destinations: Option<Destinations>,
}

/// Calling codes; `None`: those of the account's own numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Destinations(Option<Vec<String>>);

fn destinations(text: &str) -> Result<Destinations, String> {
    if text == "own" {
        return Ok(Destinations(None));
    }
    let code = |text: &str| {
        parse_calling_code(text)
            .ok_or_else(|| format!("{text} is neither a calling code, such as +1 or +44, nor `own`"))
    };
    let mut codes = text.split(',').map(|text| code(text.trim())).collect::<Result<Vec<_>, _>>()?;
    codes.sort_unstable();
    codes.dedup();
    Ok(Destinations(Some(codes)))
}

impl LimitChanges {
    /// Returns `limits` with the named ones changed.
    fn apply(self, limits: Limits) -> Limits {
        let Self {
            live_calls,
            inbound_calls,
            calls_per_second,
            requests_per_second,
            phone_numbers,
            daily_spend_usd,
            restricted_numbers,
            destinations,
        } = self;
        Limits {
            live_calls: live_calls.unwrap_or(limits.live_calls),
            inbound_calls: inbound_calls.unwrap_or(limits.inbound_calls),
            calls_per_second: calls_per_second.unwrap_or(limits.calls_per_second),
            requests_per_second: requests_per_second.unwrap_or(limits.requests_per_second),
            phone_numbers: phone_numbers.unwrap_or(limits.phone_numbers),
            daily_spend_usd: daily_spend_usd.unwrap_or(limits.daily_spend_usd),
            restricted_numbers: restricted_numbers.unwrap_or(limits.restricted_numbers),
            destination_countries: match destinations {
                Some(Destinations(countries)) => countries,
                None => limits.destination_countries,
            },
        }
    }
}

/// Stores the named limits, if any, and reports all of them.
pub(super) async fn change(
    table: &Table,
    account: Account,
    options: LimitChanges,
) -> Result<CommandOutput, TableError> {
    let Account { id, limits: before, .. } = account;
    let limits = options.apply(before.clone());
    if limits != before {
        table.set_limits(id, &limits).await?;
    }
    let destinations = match &limits.destination_countries {
        Some(countries) => countries.join(", "),
        None => "the countries of the numbers it bought".to_owned(),
    };
    let Limits {
        live_calls,
        inbound_calls,
        calls_per_second,
        requests_per_second,
        phone_numbers,
        daily_spend_usd,
        ..
    } = limits;
    let restricted = if limits.restricted_numbers { "allowed" } else { "denied" };
    let text = format!(
        "Account              {id}\n\
         Live calls           {live_calls}\n\
         Inbound calls        {inbound_calls}\n\
         Calls per second     {calls_per_second}\n\
         Requests per second  {requests_per_second}\n\
         Phone numbers        {phone_numbers}\n\
         USD a day            {daily_spend_usd}\n\
         Destinations         {destinations}\n\
         Restricted numbers   {restricted}\n"
    );
    let mut json = json!(limits);
    json["account_id"] = json!(id);
    Ok(CommandOutput { text, json })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_calling_codes_or_own() {
        assert_eq!(destinations("own"), Ok(Destinations(None)));
        let codes = Destinations(Some(vec!["+1".to_owned(), "+351".to_owned()]));
        assert_eq!(destinations("+351, +1,+1"), Ok(codes));
        for bad in ["", "+1,", "1", "+12", "none", "+1,own"] {
            assert!(destinations(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn limits_that_are_not_named_stay() {
        let limits = Limits { destination_countries: Some(vec!["+1".to_owned()]), ..Limits::default() };
        assert_eq!(LimitChanges::default().apply(limits.clone()), limits);
        let options = LimitChanges {
            live_calls: Some(3),
            destinations: Some(Destinations(None)),
            ..LimitChanges::default()
        };
        assert_eq!(options.apply(limits), Limits { live_calls: 3, ..Limits::default() });
    }
}
