//! Telephone numbers: those on sale, and those of an account.

use std::{fmt, time::Duration};

use http::{Method, StatusCode};
use reqwest::Url;
use serde::Deserialize;
use switchboard_model::phone_numbers::{CarrierAccount, E164, PhoneNumber};

use super::rest::{Described, VENDOR, described, lost, refusal};
use crate::{Error, Providers, Secret, egress, endpoints::join};

/// Searching takes the carrier a second or two, buying as long.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where numbers are searched.
const COUNTRY: &str = "US";

/// "Not found".
const NOT_FOUND: u32 = 20404;

/// The numbers of one account at the carrier.
#[derive(Debug, Clone)]
pub struct Numbers {
    /// Buying must not be repeated unknowingly, so connections are not reused.
    http: reqwest::Client,
    twilio: Url,
    account_sid: Secret,
    auth_token: Secret,
    timeout: Duration,
}

/// A number that can be bought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberOnSale {
    /// The number.
    pub phone_number: E164,
    /// Where it belongs to, if the carrier says.
    pub postal_code: Option<String>,
    /// ISO 3166-1 alpha-2, such as `US`.
    pub iso_country: Option<String>,
}

/// A number of the account's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedNumber {
    /// The carrier's id of it, `PN...`.
    pub sid: String,
    /// The name it was given, or that the carrier gave it.
    pub friendly_name: String,
    /// What is asked when somebody calls it; empty: nothing.
    pub voice_url: String,
}

/// What the carrier asks and tells when somebody calls a number.
#[derive(Clone, Copy)]
pub struct Wires<'a> {
    /// What is asked how the call goes on.
    pub voice_url: &'a str,
    /// What is told of its end.
    pub status_callback: &'a str,
}

impl Wires<'_> {
    /// None: nothing is asked, and the carrier turns calls away.
    const CUT: Self = Self { voice_url: "", status_callback: "" };

    fn form(&self) -> [(&str, &str); 4] {
        [
            ("VoiceUrl", self.voice_url),
            ("VoiceMethod", "POST"),
            ("StatusCallback", self.status_callback),
            ("StatusCallbackMethod", "POST"),
        ]
    }
}

impl fmt::Debug for Wires<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wires([redacted])")
    }
}

/// Why a number was not bought, as far as that is known.
#[derive(Debug, thiserror::Error)]
pub enum BuyError {
    /// The carrier will not sell this number: it is gone, or was never there.
    #[error("the carrier refused to sell the number ({code}): {message}")]
    Refused {
        /// The carrier's code, such as 21422 for a number that is not available.
        code: u32,
        /// Its explanation.
        message: String,
    },
    /// It certainly did not; try later.
    #[error("the number was not bought")]
    NotBought(#[source] Error),
    /// It may have: its answer was lost or cannot be understood.
    #[error("whether the number was bought is unknown")]
    Unknown(#[source] Error),
}

impl Numbers {
    /// Those of the deployment's own account.
    #[must_use]
    pub fn new(providers: &Providers) -> Self {
        Self {
            http: egress::single_use_client(),
            twilio: providers.endpoints.twilio.clone(),
            account_sid: providers.keys.twilio_account_sid.clone(),
            auth_token: providers.keys.twilio_auth_token.clone(),
            timeout: TIMEOUT,
        }
    }

    /// The same with another patience; connecting is always limited to [`egress::CONNECT_TIMEOUT`].
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Those of a customer's own account.
    #[must_use]
    pub fn of(&self, account: &CarrierAccount) -> Self {
        Self {
            account_sid: Secret::new(&account.account_sid),
            auth_token: account.auth_token.clone(),
            ..self.clone()
        }
    }

    /// Numbers on sale, at most `limit`. `contains` are digits, `*` any one of them.
    pub async fn on_sale(&self, contains: Option<&str>, limit: usize) -> Result<Vec<NumberOnSale>, Error> {
        let limit = limit.to_string();
        let mut query = vec![("VoiceEnabled", "true"), ("PageSize", &*limit)];
        query.extend(contains.map(|contains| ("Contains", contains)));
        let resource = format!("AvailablePhoneNumbers/{COUNTRY}/Local.json");
        let response = self.request(Method::GET, &resource).query(&query).send().await.map_err(lost)?;
        if !response.status().is_success() {
            return Err(refusal(response).await.0);
        }
        let page: OnSale = response.json().await.map_err(lost)?;
        let readable = |number: ResourceOnSale| {
            let ResourceOnSale { phone_number, postal_code, iso_country } = number;
            Some(NumberOnSale { phone_number: phone_number.parse().ok()?, postal_code, iso_country })
        };
        Ok(page.available_phone_numbers.into_iter().filter_map(readable).collect())
    }

    /// Buys a number under a name of ours, wired from its first moment on. The carrier's id of it.
    pub async fn buy(&self, number: &E164, name: &str, wires: Wires<'_>) -> Result<String, BuyError> {
        let mut form = vec![("PhoneNumber", number.as_str()), ("FriendlyName", name)];
        form.extend(wires.form());
        let request = self.request(Method::POST, "IncomingPhoneNumbers.json").form(&form);
        let response = request.send().await.map_err(|error| {
            let never_left = error.is_connect();
            let error = lost(error);
            if never_left { BuyError::NotBought(error) } else { BuyError::Unknown(error) }
        })?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS || matches!(status.as_u16(), 401 | 403) {
            return Err(BuyError::NotBought(refusal(response).await.0));
        }
        if status.is_client_error() {
            let Described { code, message } = described(response).await;
            return Err(BuyError::Refused { code, message });
        }
        if !status.is_success() {
            return Err(BuyError::Unknown(refusal(response).await.0));
        }
        let bought: Resource = response.json().await.map_err(|error| BuyError::Unknown(lost(error)))?;
        if is_sid(&bought.sid) {
            return Ok(bought.sid);
        }
        Err(BuyError::Unknown(Error::unavailable(VENDOR, "the answer names no number")))
    }

    /// The number, if it is the account's.
    pub async fn find(&self, number: &E164) -> Result<Option<OwnedNumber>, Error> {
        let request = self.request(Method::GET, "IncomingPhoneNumbers.json");
        let response = request.query(&[("PhoneNumber", number.as_str())]).send().await.map_err(lost)?;
        if !response.status().is_success() {
            return Err(refusal(response).await.0);
        }
        let page: Owned = response.json().await.map_err(lost)?;
        // The carrier finds a number by any part of it.
        let mut found = page.incoming_phone_numbers.into_iter().filter(|found| is_sid(&found.sid));
        let found = found.find(|found| found.phone_number == number.as_str());
        Ok(found.map(|Resource { sid, friendly_name, voice_url, .. }| {
            let voice_url = voice_url.unwrap_or_default();
            OwnedNumber { sid, friendly_name, voice_url }
        }))
    }

    /// Says what the carrier asks and tells when somebody calls the number. False if it is not the account's.
    pub async fn wire(&self, sid: &str, wires: Wires<'_>) -> Result<bool, Error> {
        // An application or a trunk of the account would be asked instead, without a word.
        let mut form = wires.form().to_vec();
        form.extend([("VoiceApplicationSid", ""), ("TrunkSid", "")]);
        self.change(Method::POST, sid, |request| request.form(&form)).await
    }

    /// Cuts the wires of a number, if they lead to us: what its owner has it do since is not ours to change.
    /// False if they do not, or the number is not the account's (any more).
    pub async fn cut(&self, number: &PhoneNumber) -> Result<bool, Error> {
        let found = self.find(&number.phone_number).await?;
        let path = PhoneNumber::voice_path(number.account_id);
        match found.filter(|found| found.voice_url.ends_with(&path)) {
            Some(found) => {
                self.change(Method::POST, &found.sid, |request| request.form(&Wires::CUT.form())).await
            }
            None => Ok(false),
        }
    }

    /// Gives a number back to the carrier. One whose purchase was cut short before its id was known is told
    /// by its name. False if it was not the account's (any more).
    pub async fn release(&self, number: &PhoneNumber) -> Result<bool, Error> {
        let sid = match &number.carrier.sid {
            Some(sid) => Some(sid.clone()),
            None => self.bought(number).await?,
        };
        match sid {
            Some(sid) => self.change(Method::DELETE, &sid, |request| request).await,
            None => Ok(false),
        }
    }

    /// The carrier's id of a number, if it was bought under this number's name and no other.
    pub async fn bought(&self, number: &PhoneNumber) -> Result<Option<String>, Error> {
        let found = self.find(&number.phone_number).await?;
        let ours = found.filter(|found| found.friendly_name == number.friendly_name());
        Ok(ours.map(|found| found.sid))
    }

    async fn change(
        &self,
        method: Method,
        sid: &str,
        fill: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Result<bool, Error> {
        if !is_sid(sid) {
            return Ok(false);
        }
        let request = fill(self.request(method, &format!("IncomingPhoneNumbers/{sid}.json")));
        let response = request.send().await.map_err(lost)?;
        if response.status().is_success() {
            return Ok(true);
        }
        match refusal(response).await {
            (_, NOT_FOUND) => Ok(false),
            (error, _) => Err(error),
        }
    }

    fn request(&self, method: Method, resource: &str) -> reqwest::RequestBuilder {
        let path = format!("/2010-04-01/Accounts/{}/{resource}", self.account_sid.reveal());
        self.http
            .request(method, join(&self.twilio, &path))
            .basic_auth(self.account_sid.reveal(), Some(self.auth_token.reveal()))
            .timeout(self.timeout)
    }
}

/// It becomes part of a path, so nothing else may pass.
fn is_sid(text: &str) -> bool {
    let digits = text.strip_prefix("PN").unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[derive(Deserialize)]
struct OnSale {
    available_phone_numbers: Vec<ResourceOnSale>,
}

#[derive(Deserialize)]
struct ResourceOnSale {
    phone_number: String,
    postal_code: Option<String>,
    iso_country: Option<String>,
}

#[derive(Deserialize)]
struct Owned {
    incoming_phone_numbers: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    sid: String,
    phone_number: String,
    #[serde(default)]
    friendly_name: String,
    #[serde(default)]
    voice_url: Option<String>,
}
