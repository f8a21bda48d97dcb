//! The readers that are compared: a bare socket and an adapter. Both note when they have each piece of an answer.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use futures_util::StreamExt;
use switchboard_providers::{
    Providers,
    audio::AudioFormat,
    egress,
    endpoints::Endpoints,
    keys::Keys,
    language_model::{ChatMessage, Conversation, GenerationEvent, LanguageModel},
    synthesizer::{CallContext, SpeechEvent, VoiceSession},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    scripts::{BARE_CONTEXT, CLAUSE, Role, Script},
    vendor::BARE_REQUEST,
};

/// Counts bytes and does not interpret them.
pub(crate) struct Bare {
    socket: TcpStream,
    /// Sizes of the timed pieces of an answer.
    pieces: Vec<usize>,
    /// Size of the rest.
    end: usize,
}

impl Bare {
    pub(crate) async fn connect(address: SocketAddr, script: Script) -> Self {
        let socket = TcpStream::connect(address).await.expect("the vendor listens");
        socket.set_nodelay(true).expect("a TCP socket has this option");
        let pieces = (script.pieces)(BARE_CONTEXT).iter().map(Vec::len).collect();
        Self { socket, pieces, end: (script.end)(BARE_CONTEXT).len() }
    }

    pub(crate) async fn read(&mut self) -> Vec<Instant> {
        self.socket.write_all(BARE_REQUEST).await.expect("the vendor reads");
        let mut buffer = vec![0; 16 * 1024];
        let (mut received, mut complete, mut bytes) = (Vec::with_capacity(self.pieces.len()), 0, 0);
        let whole = self.pieces.iter().sum::<usize>() + self.end;
        while bytes < whole {
            let read = self.socket.read(&mut buffer).await.expect("the vendor answers");
            assert!(read > 0, "the vendor writes its whole answer");
            bytes += read;
            let now = Instant::now();
            while let Some(piece) = self.pieces.get(received.len())
                && bytes >= complete + piece
            {
                complete += piece;
                received.push(now);
            }
        }
        received
    }
}

/// A provider, as a call uses it.
pub(crate) enum Adapter {
    Voice(Box<dyn VoiceSession>),
    LanguageModel(Arc<dyn LanguageModel>),
}

impl Adapter {
    pub(crate) fn new(address: SocketAddr, role: Role) -> Self {
        let providers = providers(address);
        match role {
            Role::Voice(voice) => {
                let call = CallContext { format: AudioFormat::TELEPHONE, language: "en".into() };
                Self::Voice(providers.synthesizer(&voice).open(&call))
            }
            Role::LanguageModel(model) => Self::LanguageModel(providers.language_model(&model)),
        }
    }

    pub(crate) async fn read(&mut self) -> Vec<Instant> {
        let mut received = vec![];
        match self {
            Self::Voice(session) => {
                let mut speech = session.synthesize(CLAUSE);
                while let Some(event) = speech.next().await {
                    // A client may hand on one chunk in parts: the first one counts.
                    if let SpeechEvent::Audio(_) = event.expect("the vendor speaks")
                        && received.is_empty()
                    {
                        received.push(Instant::now());
                    }
                }
            }
            Self::LanguageModel(model) => {
                let messages = [ChatMessage::User("Have you a table for four at eight?".into())];
                let conversation =
                    Conversation { prompt: Some("You answer for a bistro."), messages: &messages };
                let mut generation = model.generate(&conversation);
                while let Some(event) = generation.next().await {
                    if let GenerationEvent::Text(_) = event.expect("the vendor answers") {
                        received.push(Instant::now());
                    }
                }
            }
        }
        received
    }
}

/// All vendors at this address.
fn providers(address: SocketAddr) -> Providers {
    let keys = r#"{"twilio_account_sid":"AC1","twilio_auth_token":"token","openai_api_key":"sk-1",
        "google_api_key":"go-1","deepgram_api_key":"dg-1","elevenlabs_api_key":"xi-1","azure_api_key":"az-1",
        "rime_api_key":"rm-1","playht_api_key":"ph-1","playht_user_id":"user-1"}"#;
    let url = format!("http://{address}");
    Providers {
        http: egress::client(),
        endpoints: Endpoints::from_vars(&|name| name.ends_with("_URL").then(|| url.clone()))
            .expect("the address is a base URL"),
        keys: Keys::parse(keys).expect("no required key is missing"),
    }
}
