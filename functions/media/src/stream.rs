//! One media stream of the carrier: lets it in, runs its call, and closes it.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::extract::ws::WebSocket;
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::{
    admission::{self, Admission},
    call::Call,
    conversation_key::ConversationKey,
    media_stream::{self, MediaStream},
    teardown,
    worker::Worker,
};

/// How long the carrier may take to say which call a stream belongs to.
const START: Duration = Duration::from_secs(10);

/// Serves one stream of the carrier, from its first message to its end.
pub(crate) async fn serve(worker: Arc<Worker>, socket: WebSocket, shutdown: CancellationToken) {
    let (carrier, start) = match MediaStream::accept(socket, START).await {
        Ok(accepted) => accepted,
        Err(socket) => {
            tracing::warn!("a stream did not say which call it is");
            return media_stream::turn_away(*socket).await;
        }
    };
    let address = ConversationKey { account: start.account, conversation: start.conversation };
    let (admitted, first_words, held) = match admission::admit(&worker, &start, address).await {
        Ok(Admission::Admitted(admitted, first_words, held)) => (admitted, first_words, held),
        Ok(Admission::WithoutProviders(lease)) => {
            teardown::abandon(&worker, address, &start.call, lease.holder()).await;
            return carrier.close().await;
        }
        Ok(Admission::Refused) => {
            tracing::warn!(conversation = %address.conversation, "a stream was not let in");
            return carrier.close().await;
        }
        Err(error) => {
            tracing::error!(conversation = %address.conversation, %error, "a stream could not be let in");
            return carrier.close().await;
        }
    };
    tracing::info!(conversation = %address.conversation, resumed = admitted.resumed.is_some(), "media flows");
    let holder = held.lease.holder().to_owned();
    let call = Call::new(&worker, &admitted, carrier, held);
    // A panic ends this call alone.
    if let Ok(finished) = AssertUnwindSafe(call.run(first_words, &shutdown)).catch_unwind().await {
        teardown::close(&worker, address, &start.call, finished).await;
    } else {
        tracing::error!(conversation = %address.conversation, "the call panicked");
        teardown::abandon(&worker, address, &start.call, &holder).await;
    }
    tracing::info!(conversation = %address.conversation, "media ended");
}
