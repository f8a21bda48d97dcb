//! The vendors' addresses. The catalogue names an environment variable per vendor, so that a compatible server, a
//! regional endpoint or a simulation can stand in.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Url;
use switchboard_model::{
    catalogue::{self, Connection},
    credentials::is_api_version,
};

/// Base URLs, by vendor; paths are appended to their own path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    urls: BTreeMap<&'static str, Url>,
    /// The vendors whose address is a customer's own server.
    customers: BTreeSet<&'static str>,
    /// The vendors that may not train their models with the calls.
    opted_out: BTreeSet<&'static str>,
}

/// A variable does not hold a base URL.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct BadEndpoint {
    /// The variable's name.
    pub variable: &'static str,
    /// The problem with the value, which is not repeated: it may hold a password.
    pub problem: &'static str,
}

impl Endpoints {
    /// Reads the variables of the catalogue through `variable`; an unset or empty one means the vendor's own address.
    ///
    /// # Errors
    /// Every bad variable.
    pub fn from_vars(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<BadEndpoint>> {
        let (mut urls, mut opted_out, mut bad) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        for connection in catalogue::connections() {
            let name = connection.url_variable;
            let value = variable(name).filter(|text| !text.trim().is_empty());
            match parse(value.as_deref().unwrap_or(connection.default_url).trim()) {
                Ok(url) => drop(urls.insert(connection.provider, url)),
                Err(problem) => bad.push(BadEndpoint { variable: name, problem }),
            }
            let Some(name) = connection.opt_out_variable else { continue };
            match variable(name).as_deref().map(str::trim) {
                None | Some("" | "false") => {}
                Some("true") => drop(opted_out.insert(connection.provider)),
                Some(_) => bad.push(BadEndpoint { variable: name, problem: "must be true or false" }),
            }
        }
        if bad.is_empty() { Ok(Self { urls, customers: BTreeSet::new(), opted_out }) } else { Err(bad) }
    }

    /// The base URL of a vendor.
    ///
    /// # Panics
    /// The catalogue has no adapter for the vendor.
    #[must_use]
    pub fn of(&self, vendor: &str) -> &Url {
        self.urls.get(vendor).expect("a vendor with an adapter has a connection in the catalogue")
    }

    /// Replaces the base URL of a vendor by a customer's.
    pub fn set(&mut self, connection: &Connection, url: Url) {
        self.urls.insert(connection.provider, url);
        self.customers.insert(connection.provider);
    }

    /// Whether the vendor may not train its models with the calls.
    #[must_use]
    pub fn opts_out(&self, vendor: &str) -> bool {
        self.opted_out.contains(vendor)
    }

    /// Whether the vendor's address is a customer's own server.
    #[must_use]
    pub fn is_customers(&self, vendor: &str) -> bool {
        self.customers.contains(vendor)
    }
}

fn parse(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "not a URL")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with https:// or http://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password");
    }
    if url.query().is_some_and(|query| !is_api_version(query)) || url.fragment().is_some() {
        return Err("must not hold a query other than api-version, or a fragment");
    }
    Ok(url)
}

/// `base` with `path` (which begins with a slash) after its own path.
pub(crate) fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unset_variable_means_the_vendors_own_address() {
        let endpoints = Endpoints::from_vars(&|_| None).unwrap();
        for connection in catalogue::connections() {
            let own = connection.default_url.trim_end_matches('/');
            assert_eq!(endpoints.of(connection.provider).as_str().trim_end_matches('/'), own);
            assert_eq!(join(endpoints.of(connection.provider), "/a/b").as_str(), format!("{own}/a/b"));
        }
    }

    #[test]
    fn the_template_names_every_key_and_variable() {
        let template = include_str!("../../../template.yaml");
        for connection in catalogue::connections() {
            assert!(connection.opt_out_variable.is_none_or(|variable| template.contains(variable)));
            let (variable, parameter) = (connection.url_variable, connection.template_parameter());
            assert!(
                template.contains(&format!("{variable}: !Ref {parameter}\n")),
                "{variable} of a function"
            );
            let value = format!("{{ Name: {variable}, Value: !Ref {parameter} }}\n");
            assert!(template.contains(&value), "{variable} of the worker");
            let parameter =
                format!("\n  {parameter}:\n    Type: String\n    Default: {}\n", connection.default_url);
            assert!(template.contains(&parameter), "the template lacks {parameter}");
            assert!(connection.keys.iter().all(|key| template.contains(key)), "{:?}", connection.keys);
        }
    }

    #[test]
    fn an_address_may_have_a_version_and_no_other_query() {
        let base = "https://bakery.openai.azure.com/openai/deployments/ada";
        for (query, is_good) in [("?api-version=2024-10-21", true), ("?key=secret", false), ("#a", false)] {
            let url = format!("{base}{query}");
            let endpoints = Endpoints::from_vars(&|name| (name == "OPENAI_API_URL").then(|| url.clone()));
            assert_eq!(endpoints.is_ok(), is_good, "{query}");
        }
    }

    #[test]
    fn a_vendor_may_be_forbidden_to_train() {
        let opts_out = |value: &'static str| {
            let of = move |name: &str| (name == "DEEPGRAM_MIP_OPT_OUT").then(|| value.to_owned());
            Endpoints::from_vars(&of).map(|endpoints| endpoints.opts_out("deepgram"))
        };
        assert_eq!(opts_out("true"), Ok(true));
        assert_eq!((opts_out("false"), opts_out("")), (Ok(false), Ok(false)));
        let bad = opts_out("yes").unwrap_err();
        assert_eq!(bad[0].to_string(), "DEEPGRAM_MIP_OPT_OUT: must be true or false");
    }

    #[test]
    fn every_bad_variable_is_reported_without_its_value() {
        let variables: Vec<_> = catalogue::connections().iter().map(|each| each.url_variable).collect();
        let [good, with_password, with_other_scheme, ..] = variables[..] else { panic!("{variables:?}") };
        let bad = Endpoints::from_vars(&|name| {
            let url = match name {
                name if name == with_other_scheme => "ftp://example.com",
                name if name == with_password => "https://user:hunter2@example.com",
                name if !variables.contains(&name) => "false",
                _ => "http://127.0.0.1:4010/v1/",
            };
            Some(url.to_owned())
        })
        .unwrap_err();
        let bad: Vec<String> = bad.iter().map(ToString::to_string).collect();
        assert_eq!(
            bad,
            [
                format!("{with_password}: must not hold a user name or password"),
                format!("{with_other_scheme}: must begin with https:// or http://"),
            ]
        );
        assert!(bad.iter().all(|problem| !problem.starts_with(good)));
    }
}
