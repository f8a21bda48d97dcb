//! The caller's own account: its limits with their present use, and the health of its webhooks.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use switchboard_model::{
    accounts::{Account, Limits},
    deliveries::{Health, Host, Window},
    ids::{AccountId, AgentId},
    limits::{AccountUsage, MAX_WAITING, Rate, calls_per_second},
    time::Timestamp,
};

/// The account of the token.
#[derive(Serialize, JsonSchema)]
pub struct AccountView {
    /// Its id, such as `acc_01JD...`.
    pub id: AccountId,
    /// The URL of the account that a token opens.
    pub uri: String,
    /// Its name.
    pub name: String,
    /// The time of its creation.
    pub created_at: Timestamp,
    /// Its limits, each with its present use. The operator of the deployment changes them.
    pub limits: LimitsView,
    /// The next midnight (UTC), at which the counts of a day begin again.
    pub day_ends_at: Timestamp,
}

/// The limits of an account.
#[derive(Serialize, JsonSchema)]
pub struct LimitsView {
    /// Live outbound calls. A call over the limit stays queued.
    pub live_calls: CountLimitView,
    /// Live inbound and web calls, which have a share of their own.
    pub inbound_calls: CountLimitView,
    /// Calls that wait to be dialled.
    pub waiting_calls: CountLimitView,
    /// Calls that start.
    pub calls_per_second: RateLimitView,
    /// Requests to the API.
    pub requests_per_second: RateLimitView,
    /// Phone numbers.
    pub phone_numbers: CountLimitView,
    /// Numbers that are bought on a day (UTC).
    pub numbers_bought_per_day: CountLimitView,
    /// USD that its conversations may cost on a day (UTC). Those that are live count when they end.
    pub daily_spend_usd: SpendLimitView,
    /// The countries that it may call.
    pub destination_countries: CountriesView,
    /// Whether it may call premium-rate numbers, satellite numbers and those that fraud is after.
    pub restricted_numbers: bool,
}

/// A limit of a number of things at a time, or on a day.
#[derive(Serialize, JsonSchema)]
pub struct CountLimitView {
    /// The most that there may be.
    pub limit: u32,
    /// The limit of an account that the operator has not changed.
    pub default_limit: u32,
    /// Those that there are.
    pub used: u32,
}

/// A limit of things per second.
#[derive(Serialize, JsonSchema)]
pub struct RateLimitView {
    /// The most per second, on average.
    pub limit: u32,
    /// The limit of an account that the operator has not changed.
    pub default_limit: u32,
    /// The most that may come at once.
    pub burst: u32,
    /// The part of `burst` that was used and has not come back yet.
    pub used: u32,
}

/// A limit of costs.
#[derive(Serialize, JsonSchema)]
pub struct SpendLimitView {
    /// The most, in USD. Above it no more calls start.
    pub limit: u32,
    /// The limit of an account that the operator has not changed.
    pub default_limit: u32,
    /// The cost so far, in USD.
    pub used: f64,
}

/// The countries that an account may call.
#[derive(Serialize, JsonSchema)]
pub struct CountriesView {
    /// Their calling codes, such as `+44`.
    pub calling_codes: Vec<String>,
    /// Whether they are the countries of the numbers that the account bought, because the operator has listed none.
    pub is_default: bool,
}

impl AccountView {
    /// `public_url` is the API's, without a slash at the end; `day_ends_at` is the next midnight (UTC).
    #[must_use]
    pub fn new(
        public_url: &str,
        account: Account,
        usage: AccountUsage,
        now: Timestamp,
        day_ends_at: Timestamp,
    ) -> Self {
        let Account { id, name, created_at, limits, .. } = account;
        let limits = LimitsView::new(limits, usage, now);
        Self { id, uri: format!("{public_url}/account"), name, created_at, limits, day_ends_at }
    }
}

impl LimitsView {
    fn new(limits: Limits, usage: AccountUsage, now: Timestamp) -> Self {
        let AccountUsage { counters, requests, phone_numbers, own_countries, bought, spent } = usage;
        let default = Limits::default();
        // A counter below zero is a fault of ours, and no use of the limit.
        let count = |limit, default, used: i64| CountLimitView {
            limit,
            default_limit: default,
            used: u32::try_from(used.max(0)).unwrap_or(u32::MAX),
        };
        let rate = |limit, default, rate: Rate, bucket| RateLimitView {
            limit,
            default_limit: default,
            burst: rate.burst(),
            used: rate.used(bucket, now),
        };
        let is_default = limits.destination_countries.is_none();
        Self {
            live_calls: count(limits.live_calls, default.live_calls, counters.live),
            inbound_calls: count(limits.inbound_calls, default.inbound_calls, counters.inbound),
            waiting_calls: count(MAX_WAITING, MAX_WAITING, counters.waiting),
            calls_per_second: rate(
                calls_per_second(&limits, None),
                default.calls_per_second,
                Rate::calls(&limits),
                counters.full_at,
            ),
            requests_per_second: rate(
                limits.requests_per_second,
                default.requests_per_second,
                Rate::requests(&limits),
                requests,
            ),
            phone_numbers: count(limits.phone_numbers, default.phone_numbers, phone_numbers.into()),
            numbers_bought_per_day: count(limits.phone_numbers, default.phone_numbers, bought.into()),
            daily_spend_usd: SpendLimitView {
                limit: limits.daily_spend_usd,
                default_limit: default.daily_spend_usd,
                used: spent.to_f64(),
            },
            destination_countries: CountriesView {
                calling_codes: limits.destination_countries.unwrap_or(own_countries),
                is_default,
            },
            restricted_numbers: limits.restricted_numbers,
        }
    }
}

/// The health of the webhooks of an account's agents.
#[derive(Serialize, JsonSchema)]
pub struct WebhooksHealthView {
    /// Requests that are under way now.
    pub in_flight: usize,
    /// Requests that may be under way at the same time. The number grows with responses, and shrinks without.
    pub slots: usize,
    /// The hosts that receive them, by name.
    pub hosts: Vec<WebhookHostView>,
}

/// A host that receives webhooks.
#[derive(Serialize, JsonSchema)]
pub struct WebhookHostView {
    /// Its name and port.
    pub host: String,
    /// `responding`, `failing` (its last attempt had no response), `paused` (no attempt is made until `paused_until`), or
    /// `idle` (there was no attempt in the last day). Any HTTP status is a response.
    pub state: Health,
    /// Attempts without a response since the last response.
    pub failures: u32,
    /// The time of the next attempt at a host that is paused; else null.
    pub paused_until: Option<Timestamp>,
    /// Requests that are under way now.
    pub in_flight: usize,
    /// The agents with a webhook there.
    pub agents: Vec<AgentId>,
}

impl WebhooksHealthView {
    /// `hosts` has the agents of each host, `stored` what the deliveries left of it.
    #[must_use]
    pub fn new(
        window: &Window,
        hosts: BTreeMap<String, Vec<AgentId>>,
        mut stored: BTreeMap<String, Host>,
        now: Timestamp,
    ) -> Self {
        let hosts = hosts.into_iter().map(|(host, agents)| {
            let found = stored.remove(&host);
            let state = found.as_ref().map_or(Health::Idle, |found| found.health(now));
            let found = found.unwrap_or_default();
            WebhookHostView {
                host,
                state,
                failures: found.failures,
                paused_until: found.open_until.filter(|_| state == Health::Paused),
                in_flight: found.under_way(now),
                agents,
            }
        });
        Self { in_flight: window.under_way(now), slots: window.size, hosts: hosts.collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use switchboard_model::{
        costs::Usd,
        limits::{Counters, Take},
    };

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_795_339_800_000 + ms)
    }

    #[test]
    fn each_limit_has_its_default_and_its_present_use() {
        let id = AccountId::new(at(0), 1);
        let mut account = Account::new(id, "Bakery".into(), at(0), "whsec_a".into());
        account.limits.live_calls = 4;
        let rate = Rate::requests(&account.limits);
        let mut requests = None;
        for _ in 0..3 {
            requests = match rate.take(requests, at(0)).unwrap() {
                Take::First { full_at, .. } => Some(full_at),
                Take::Next { interval, .. } => requests.map(|full| full + interval),
            };
        }
        let counters = Counters { waiting: -1, live: 3, inbound: 2, full_at: None };
        let usage = AccountUsage {
            counters,
            requests,
            phone_numbers: 1,
            own_countries: vec!["+1".into()],
            bought: 1,
            spent: Usd::from_micros(30_944),
        };
        let view =
            serde_json::to_value(AccountView::new("https://api", account, usage, at(0), at(1))).unwrap();
        let limits = &view["limits"];
        assert_eq!(limits["live_calls"], json!({ "limit": 4, "default_limit": 10, "used": 3 }));
        assert_eq!(limits["waiting_calls"]["used"], 0);
        assert_eq!(
            limits["requests_per_second"],
            json!({ "limit": 20, "default_limit": 20, "burst": 40, "used": 3 })
        );
        assert_eq!(limits["calls_per_second"]["used"], 0);
        assert_eq!(
            limits["daily_spend_usd"],
            json!({ "limit": 100, "default_limit": 100, "used": 0.030_944 })
        );
        assert_eq!(limits["destination_countries"], json!({ "calling_codes": ["+1"], "is_default": true }));
        assert!(!view.to_string().contains("whsec"), "{view}");
    }

    #[test]
    fn a_host_is_idle_failing_paused_or_responding() {
        let agent = AgentId::new(at(0), 2);
        let hosts = ["a:443", "b:443", "c:443", "d:443"].map(|host| (host.to_owned(), vec![agent]));
        let failed = |failures, open_until| Host { failures, open_until, ..Host::default() };
        let stored =
            [("a:443", Host::default()), ("b:443", failed(2, None)), ("c:443", failed(5, Some(at(9))))];
        let stored = stored.map(|(host, stored)| (host.to_owned(), stored)).into();
        let view = WebhooksHealthView::new(&Window::default(), hosts.into(), stored, at(0));
        let view = serde_json::to_value(view).unwrap();
        let states = ["responding", "failing", "paused", "idle"];
        for (host, state) in view["hosts"].as_array().unwrap().iter().zip(states) {
            assert_eq!(host["state"], state, "{host}");
            assert_eq!(host["paused_until"].is_null(), state != "paused");
        }
        assert_eq!(view["slots"], 10);
    }
}
