//! A recording of any length becomes one file without ever being in memory as a whole.

use harness::shared;
use switchboard_aws::table::Outcome;
use switchboard_model::{
    agents::AgentConfig,
    audio::AudioFormat,
    conversations::{Conversation, EndedReason, LegState, Snapshot, State},
    costs::{Prices, Usage},
    ids::ConversationId,
    recording,
};
use switchboard_runtime as system;

use crate::table::{self, StackTable};

/// Pieces of ten seconds: more than fits into two parts of an upload.
const PIECES: u8 = 60;

#[tokio::test]
async fn the_parts_of_a_long_recording_are_joined_on_request() {
    let stack = shared();
    let table = StackTable::of(stack);
    let (account, id, at) =
        (table.account, ConversationId::new(system::now(), system::random_u128()), system::now());
    let (to, from) = ("+14155550174".parse().unwrap(), "+14155550199".parse().unwrap());
    let mut conversation = Conversation::outbound(id, account, None, to, from, at);
    conversation.legs.caller_mut().state = LegState::Answered { answered_at: at };
    conversation.state = State::Started { started_at: at };
    let snapshot = Snapshot { conversation, agent: AgentConfig::default() };
    table.table.create_conversation(&snapshot).await.unwrap();
    let recordings = table::recordings(stack).await;
    let mut whole = vec![];
    for number in 0..PIECES {
        let piece = [number.wrapping_mul(41), number.wrapping_mul(73)].repeat(80_000);
        recordings
            .put_piece(account, id, (AudioFormat::TELEPHONE, whole.len() as u64 / 2), piece.clone())
            .await
            .unwrap();
        whole.extend(piece);
    }
    let ended = table.table.transition(account, id, |now| {
        let (reason, usage, prices) = (EndedReason::Unknown, Usage::default(), Prices::default());
        now.conversation.end(&now.agent, reason, &[], &usage, &prices, system::now())
    });
    assert!(matches!(ended.await.unwrap(), Outcome::Changed(_)));
    let file = stack.recording(&id.to_string()).await.unwrap();
    assert!(file == recording::wav(AudioFormat::TELEPHONE, &whole), "{} bytes", file.len());
}
