//! What the agent says of its own accord, in the caller's language.

use super::speech::clauses;

/// The fixed phrases of one language.
pub(super) struct Phrases {
    /// The answer takes a while. One clause, so that it is said in one breath.
    pub(super) moment: &'static str,
    /// There is no answer.
    pub(super) apology: &'static str,
    /// There was no answer too often.
    pub(super) goodbye: &'static str,
    /// Nobody is there any more.
    pub(super) nobody: &'static str,
}

const ENGLISH: Phrases = Phrases {
    moment: "One moment, please.",
    apology: "I'm sorry, I didn't catch that. Could you say it again?",
    goodbye: "I'm sorry, I'm having trouble right now. Please call again later. Goodbye.",
    nobody: "It seems that you are not there any more. Goodbye.",
};

/// By language (the first part of a BCP-47 tag); everybody else is spoken to in English.
const PHRASES: [(&str, Phrases); 8] = [
    ("en", ENGLISH),
    (
        "de",
        Phrases {
            moment: "Einen Moment bitte.",
            apology: "Entschuldigung, das habe ich nicht verstanden. Können Sie das bitte wiederholen?",
            goodbye: "Es tut mir leid, ich habe gerade technische Schwierigkeiten. Bitte rufen Sie später noch \
                      einmal an. Auf Wiederhören.",
            nobody: "Sie sind anscheinend nicht mehr da. Auf Wiederhören.",
        },
    ),
    (
        "fr",
        Phrases {
            moment: "Un instant, s'il vous plaît.",
            apology: "Excusez-moi, je n'ai pas bien compris. Pouvez-vous répéter, s'il vous plaît ?",
            goodbye: "Toutes mes excuses, je rencontre un problème technique. Merci de rappeler plus tard. Au \
                      revoir.",
            nobody: "Il semble que vous ne soyez plus en ligne. Au revoir.",
        },
    ),
    (
        "es",
        Phrases {
            moment: "Un momento, por favor.",
            apology: "Perdone, no le he entendido. ¿Puede repetirlo, por favor?",
            goodbye: "Lo siento, en este momento tengo un problema técnico. Por favor, vuelva a llamar más \
                      tarde. Adiós.",
            nobody: "Parece que ya no está al teléfono. Adiós.",
        },
    ),
    (
        "it",
        Phrases {
            moment: "Un momento, per favore.",
            apology: "Mi scusi, non ho capito. Può ripetere, per favore?",
            goodbye: "Mi dispiace, in questo momento ho un problema tecnico. La prego di richiamare più tardi. \
                      Arrivederci.",
            nobody: "Sembra che non sia più in linea. Arrivederci.",
        },
    ),
    (
        "nl",
        Phrases {
            moment: "Een moment, alstublieft.",
            apology: "Sorry, dat heb ik niet verstaan. Kunt u het nog een keer zeggen?",
            goodbye: "Het spijt me, ik heb op dit moment technische problemen. Probeert u het later nog eens. \
                      Tot ziens.",
            nobody: "Het lijkt erop dat u er niet meer bent. Tot ziens.",
        },
    ),
    (
        "pt",
        Phrases {
            moment: "Um momento, por favor.",
            apology: "Desculpe, não entendi. Pode repetir, por favor?",
            goodbye: "Desculpe, estou com um problema técnico neste momento. Por favor, ligue mais tarde. Até \
                      logo.",
            nobody: "Parece que já não há ninguém na linha. Até logo.",
        },
    ),
    (
        "sv",
        Phrases {
            moment: "Ett ögonblick bara.",
            apology: "Förlåt, jag hörde inte riktigt. Kan du säga det igen?",
            goodbye: "Tyvärr har jag tekniska problem just nu. Ring gärna igen lite senare. Hej då.",
            nobody: "Det verkar som att du inte är kvar på linjen. Hej då.",
        },
    ),
];

impl Phrases {
    /// Those of a BCP-47 tag.
    pub(super) fn of(language: &str) -> &'static Self {
        let primary = primary(language);
        let known = PHRASES.iter().find(|(name, _)| name.eq_ignore_ascii_case(primary));
        known.map_or(&ENGLISH, |(_, phrases)| phrases)
    }

    /// Whether `text` is what was heard of the first phrase, to a word.
    pub(super) fn is_moment(&self, text: &str) -> bool {
        let rest = self.moment.strip_prefix(text).filter(|_| !text.is_empty());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    }

    fn all(&self) -> [&'static str; 4] {
        [self.moment, self.apology, self.goodbye, self.nobody]
    }
}

/// All that the agent may have to say of its own accord to someone who speaks `language` (a BCP-47 tag),
/// cut as [`super::Output::Synthesize`] carries it. Each text once.
#[must_use]
pub fn phrases(language: &str) -> Vec<String> {
    let mut texts: Vec<String> = vec![];
    for clause in Phrases::of(language).all().into_iter().flat_map(clauses) {
        if !texts.contains(&clause) {
            texts.push(clause);
        }
    }
    texts
}

/// The language of a BCP-47 tag, without its region.
pub(super) fn primary(language: &str) -> &str {
    language.split('-').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_is_spoken_to_in_their_language_or_else_in_english() {
        for (language, moment) in [
            ("en", "One moment, please."),
            ("de-AT", "Einen Moment bitte."),
            ("FR", "Un instant, s'il vous plaît."),
            ("ja", "One moment, please."),
            ("", "One moment, please."),
        ] {
            assert_eq!(Phrases::of(language).moment, moment, "{language}");
        }
    }

    #[test]
    fn the_phrases_of_a_language_are_the_clauses_it_is_spoken_in() {
        assert_eq!(
            phrases("en-US"),
            [
                "One moment, please.",
                "I'm sorry, I didn't catch that.",
                "Could you say it again?",
                "I'm sorry, I'm having trouble right now.",
                "Please call again later.",
                "Goodbye.",
                "It seems that you are not there any more.",
            ]
        );
    }

    #[test]
    fn one_moment_is_said_in_one_breath_in_every_language() {
        for (language, phrases) in &PHRASES {
            assert_eq!(clauses(phrases.moment), [phrases.moment], "{language}");
            assert!(phrases.all().iter().all(|phrase| clauses(phrase).join(" ") == *phrase), "{language}");
        }
    }
}
