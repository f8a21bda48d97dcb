//! The fixed phrases that the agent says without the model, by language.

use crate::{language, response::clause_splitter::clauses};

/// The fixed phrases of one language.
pub(crate) struct Phrases {
    /// Said when a reply takes long. A single clause, so that it has no pause.
    pub(crate) hold: &'static str,
    /// Said instead of a reply that failed.
    pub(crate) apology: &'static str,
    /// Said before the conversation ends because replies failed too often.
    pub(crate) goodbye: &'static str,
    /// Said before the conversation ends because the caller stays silent.
    pub(crate) idle_goodbye: &'static str,
}

const ENGLISH: Phrases = Phrases {
    hold: "One moment, please.",
    apology: "I'm sorry, I didn't catch that. Could you say it again?",
    goodbye: "I'm sorry, I'm having trouble right now. Please call again later. Goodbye.",
    idle_goodbye: "It seems that you are not there any more. Goodbye.",
};

/// By language; callers of another language hear English.
const PHRASES: [(&str, Phrases); 8] = [
    ("en", ENGLISH),
    (
        "de",
        Phrases {
            hold: "Einen Moment bitte.",
            apology: "Entschuldigung, das habe ich nicht verstanden. Können Sie das bitte wiederholen?",
            goodbye: "Es tut mir leid, ich habe gerade technische Schwierigkeiten. Bitte rufen Sie später noch \
                      einmal an. Auf Wiederhören.",
            idle_goodbye: "Sie sind anscheinend nicht mehr da. Auf Wiederhören.",
        },
    ),
    (
        "fr",
        Phrases {
            hold: "Un instant, s'il vous plaît.",
            apology: "Excusez-moi, je n'ai pas bien compris. Pouvez-vous répéter, s'il vous plaît ?",
            goodbye: "Toutes mes excuses, je rencontre un problème technique. Merci de rappeler plus tard. Au \
                      revoir.",
            idle_goodbye: "Il semble que vous ne soyez plus en ligne. Au revoir.",
        },
    ),
    (
        "es",
        Phrases {
            hold: "Un momento, por favor.",
            apology: "Perdone, no le he entendido. ¿Puede repetirlo, por favor?",
            goodbye: "Lo siento, en este momento tengo un problema técnico. Por favor, vuelva a llamar más \
                      tarde. Adiós.",
            idle_goodbye: "Parece que ya no está al teléfono. Adiós.",
        },
    ),
    (
        "it",
        Phrases {
            hold: "Un momento, per favore.",
            apology: "Mi scusi, non ho capito. Può ripetere, per favore?",
            goodbye: "Mi dispiace, in questo momento ho un problema tecnico. La prego di richiamare più tardi. \
                      Arrivederci.",
            idle_goodbye: "Sembra che non sia più in linea. Arrivederci.",
        },
    ),
    (
        "nl",
        Phrases {
            hold: "Een moment, alstublieft.",
            apology: "Sorry, dat heb ik niet verstaan. Kunt u het nog een keer zeggen?",
            goodbye: "Het spijt me, ik heb op dit moment technische problemen. Probeert u het later nog eens. \
                      Tot ziens.",
            idle_goodbye: "Het lijkt erop dat u er niet meer bent. Tot ziens.",
        },
    ),
    (
        "pt",
        Phrases {
            hold: "Um momento, por favor.",
            apology: "Desculpe, não entendi. Pode repetir, por favor?",
            goodbye: "Desculpe, estou com um problema técnico neste momento. Por favor, ligue mais tarde. Até \
                      logo.",
            idle_goodbye: "Parece que já não há ninguém na linha. Até logo.",
        },
    ),
    (
        "sv",
        Phrases {
            hold: "Ett ögonblick bara.",
            apology: "Förlåt, jag hörde inte riktigt. Kan du säga det igen?",
            goodbye: "Tyvärr har jag tekniska problem just nu. Ring gärna igen lite senare. Hej då.",
            idle_goodbye: "Det verkar som att du inte är kvar på linjen. Hej då.",
        },
    ),
];

impl Phrases {
    /// The phrases for a user of this language, a BCP-47 tag.
    pub(crate) fn of(language: &str) -> &'static Self {
        language::entry(&PHRASES, language).unwrap_or(&ENGLISH)
    }

    fn all(&self) -> [&'static str; 4] {
        [self.hold, self.apology, self.goodbye, self.idle_goodbye]
    }
}

/// The fixed phrases that a user of `language` (a BCP-47 tag) may hear, as the clauses that
/// [`Output::Synthesize`](crate::Output::Synthesize) carries. Each text occurs once.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_speaks_the_callers_language_or_else_english() {
        for (language, hold) in [
            ("en", "One moment, please."),
            ("de-AT", "Einen Moment bitte."),
            ("FR", "Un instant, s'il vous plaît."),
            ("ja", "One moment, please."),
            ("", "One moment, please."),
        ] {
            assert_eq!(Phrases::of(language).hold, hold, "{language}");
        }
    }

    #[test]
    fn the_phrases_of_a_language_are_given_as_clauses() {
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
    fn the_hold_phrase_is_one_clause_in_each_language() {
        for (language, phrases) in &PHRASES {
            assert_eq!(clauses(phrases.hold), [phrases.hold], "{language}");
            assert!(phrases.all().iter().all(|phrase| clauses(phrase).join(" ") == *phrase), "{language}");
        }
    }
}
