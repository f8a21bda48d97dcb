//! Numbers that cost far more than their country's usual price, and those that fraud is after.

use super::E164;

/// Prefixes of such numbers. Whoever owns one earns by its calls, so nobody calls them by default. As of 2026-11-30, by
/// the published plans: NANPA (area codes), Ofcom (National Telephone Numbering Plan), Bundesnetzagentur
/// (Nummernraum 0), Arcep, AGCOM, CNMC and ACM, and ITU-T E.164 (list of assigned codes, Operational Bulletin).
const PREFIXES: &[&str] = &[
    // North America: premium rate, and the islands that share its calling code but not its prices.
    "+1900", "+1242", "+1246", "+1264", "+1268", "+1284", "+1345", "+1441", "+1473", "+1649", "+1658",
    "+1664", "+1721", "+1758", "+1767", "+1784", "+1809", "+1829", "+1849", "+1868", "+1869", "+1876",
    // United Kingdom: premium rate, service numbers, directory enquiries, personal numbers, pagers.
    "+449", "+44871", "+44872", "+44873", "+44870", "+4484", "+44118", "+4470", "+4476",
    // Germany: premium rate, mass calls, shared cost, directory enquiries.
    "+49900", "+49137", "+49180", "+49118",
    // France, Italy, Spain, the Netherlands: premium rate and directory enquiries.
    "+3389", "+33118", "+3989", "+39199", "+39144", "+39166", "+34803", "+34806", "+34807", "+34905",
    "+34907", "+34118", "+31900", "+31906", "+31909",
    // Satellite networks, and international networks, shared cost and premium rate.
    "+870", "+878", "+881", "+882", "+883", "+888", "+808", "+979",
];

impl E164 {
    /// Whether it is a premium-rate or satellite number, or one of a small country that fraud is after.
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        PREFIXES.iter().any(|prefix| self.as_str().starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn premium_satellite_and_island_numbers_are_restricted() {
        let number = |text: &str| text.parse::<E164>().unwrap();
        for restricted in [
            "+19005550100",
            "+18765550100",
            "+18095550100",
            "+447012345678",
            "+449012345678",
            "+448712345678",
            "+448451234567",
            "+499001234567",
            "+33899123456",
            "+881612345678",
            "+870773123456",
            "+979123456789",
        ] {
            assert!(number(restricted).is_restricted(), "{restricted}");
        }
        for usual in [
            "+14155550100",
            "+16045550100",
            "+18005550100",
            "+442079460000",
            "+447700900123",
            "+448001234567",
            "+4930901820",
            "+4915112345678",
            "+33140000000",
            "+390612345678",
            "+34911234567",
        ] {
            assert!(!number(usual).is_restricted(), "{usual}");
        }
    }

    #[test]
    fn every_prefix_begins_a_number() {
        for prefix in PREFIXES {
            let number = format!("{prefix}0000000").parse::<E164>().unwrap();
            assert!(number.is_restricted(), "{prefix}");
        }
    }
}
