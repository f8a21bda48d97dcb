//! Telephone numbers: those on sale, and those that the accounts own.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{account::Account, api::national};
use crate::ids;

/// Numbers on sale: `+1415555` and these last four digits.
const STOCK: std::ops::Range<u32> = 200..300;
/// A number that an account owns.
#[derive(Debug, Clone)]
pub(super) struct Number {
    pub(super) sid: String,
    /// The sid of the owner.
    pub(super) account_sid: String,
    pub(super) e164: String,
    pub(super) friendly_name: String,
    /// The URL that decides about calls to the number, requested with `voice_method`.
    pub(super) voice_url: String,
    pub(super) voice_method: String,
    /// The URL that decides if that one fails.
    pub(super) voice_fallback_url: String,
    pub(super) voice_fallback_method: String,
    /// The URL that is told of the end of such a call.
    pub(super) status_callback: String,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
}

/// All owned numbers, by number. A number on sale that is not here can be bought.
#[derive(Debug, Default)]
pub(super) struct Numbers(BTreeMap<String, Number>);

impl Numbers {
    /// Gives a number to an account.
    pub(super) fn add(&mut self, account: &Account, phone_number: &str, now: Timestamp) -> &mut Number {
        let number = Number {
            sid: ids::sid("PN"),
            account_sid: account.sid.clone(),
            e164: phone_number.to_owned(),
            friendly_name: national(phone_number),
            voice_url: String::new(),
            voice_method: "POST".to_owned(),
            voice_fallback_url: String::new(),
            voice_fallback_method: "POST".to_owned(),
            status_callback: String::new(),
            created: now,
            updated: now,
        };
        self.0.entry(phone_number.to_owned()).insert_entry(number).into_mut()
    }

    pub(super) fn get(&self, phone_number: &str) -> Option<&Number> {
        self.0.get(phone_number)
    }

    /// The number, if this account owns it.
    pub(super) fn owned(&self, account: &Account, phone_number: &str) -> Option<&Number> {
        self.get(phone_number).filter(|number| number.account_sid == account.sid)
    }

    pub(super) fn by_sid(&mut self, account: &Account, sid: &str) -> Option<&mut Number> {
        self.0.values_mut().find(|number| number.account_sid == account.sid && number.sid == sid)
    }

    pub(super) fn connect_number(
        &mut self,
        number: &str,
        voice_url: &str,
        fallback_url: &str,
        status_callback: &str,
    ) -> Option<String> {
        let number = self.0.get_mut(number)?;
        voice_url.clone_into(&mut number.voice_url);
        fallback_url.clone_into(&mut number.voice_fallback_url);
        status_callback.clone_into(&mut number.status_callback);
        Some(number.sid.clone())
    }

    /// The numbers of an account, in order.
    pub(super) fn of<'a>(&'a self, account: &'a Account) -> impl Iterator<Item = &'a Number> {
        self.0.values().filter(|number| number.account_sid == account.sid)
    }

    /// Takes a number from its owner.
    pub(super) fn release(&mut self, phone_number: &str) {
        self.0.remove(phone_number);
    }

    pub(super) fn is_on_sale(&self, phone_number: &str) -> bool {
        stock().any(|number| number == phone_number) && !self.0.contains_key(phone_number)
    }
}

pub(super) fn stock() -> impl Iterator<Item = String> {
    STOCK.map(|digits| format!("+1415555{digits:04}"))
}
