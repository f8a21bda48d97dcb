//! Transitions of conversations and their legs.

#[path = "transitions_entries_tests.rs"]
mod entries;

use super::*;
use crate::{
    carriers::CarrierName,
    conversations::{Conversation, Status},
    hooks::{Hook, Instruction},
    ids::{AccountId, ConversationId},
    limits::Slots,
    messages::Role,
    webhooks::{Webhook, WebhookMethod},
};
use switchboard_filters::Filter;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_795_339_800_000 + ms)
}

fn queued() -> Conversation {
    let (id, account) = (ConversationId::new(at(0), 1), AccountId::new(at(0), 2));
    Conversation::outbound(
        id,
        account,
        None,
        "+14155550100".parse().unwrap(),
        "+14155550199".parse().unwrap(),
        at(0),
    )
}

fn agent() -> AgentConfig {
    AgentConfig::default()
}

fn said(text: &str, ms: i64) -> JournalEntry {
    let message = Message {
        kind: crate::messages::MessageKind::Speech,
        role: Role::User,
        content: text.into(),
        started_at: at(ms),
        ended_at: at(ms + 500),
        interrupted: false,
    };
    JournalEntry {
        at: at(ms + 500),
        name: EventName::MessageSent,
        data: Value::Null,
        message: Some(message),
        faults: vec![],
    }
}

const LEG: LegId = LegId::CALLER;

fn call(id: &str) -> CarrierCallId {
    CarrierCallId::new(CarrierName::Twilio, id).unwrap()
}

fn caller(conversation: &Conversation) -> &Leg {
    conversation.legs.caller()
}

/// The slots that a call takes of its account's limits, in each state.
fn expected_slots(state: &State) -> Slots {
    match state {
        State::Queued => Slots { waiting: 1, ..Slots::default() },
        State::Ended { .. } => Slots::default(),
        State::Connecting | State::Started { .. } => Slots { live: 1, ..Slots::default() },
    }
}

/// Makes a transition that must be allowed, and checks the invariants of every transition.
fn after(
    before: &Conversation,
    change: Result<Transition, InvalidTransition>,
    names: &[EventName],
) -> Conversation {
    let next = change.expect("possible here");
    assert_eq!(next.conversation.version, before.version + 1, "every write moves the version");
    assert_eq!(next.conversation.slots(), expected_slots(&next.conversation.state));
    assert_eq!(next.events.iter().map(|event| event.name).collect::<Vec<_>>(), names);
    let sequences: Vec<_> = next.events.iter().map(|event| event.sequence).collect();
    let expected: Vec<_> = (before.next_sequence..next.conversation.next_sequence).collect();
    assert_eq!(sequences, expected, "sequences have no gap");
    next.conversation
}

fn dialing() -> Conversation {
    let conversation = queued();
    after(
        &conversation,
        conversation.mark_dialing(LEG, &agent(), "hash".into(), at(10)),
        &[EventName::ConnectionRequested],
    )
}

fn ringing() -> Conversation {
    let conversation = dialing();
    after(&conversation, conversation.mark_ringing(LEG, &call("CA1"), at(10)), &[])
}

fn answered() -> Conversation {
    let conversation = ringing();
    after(
        &conversation,
        conversation.mark_answered(LEG, &agent(), &call("CA1"), at(3_000)),
        &[EventName::Accepted],
    )
}

fn started() -> Conversation {
    let conversation = answered();
    after(
        &conversation,
        conversation.mark_started(LEG, &agent(), &call("CA1"), at(3_200)),
        &[EventName::Started],
    )
}

fn ended() -> Conversation {
    let conversation = started();
    let end = conversation.end(
        &agent(),
        EndedReason::UserEnded,
        &[],
        &Usage::default(),
        &Prices::default(),
        at(9_000),
    );
    after(&conversation, end, &[EventName::Ended])
}

/// Tries every transition, and returns the names of the allowed ones.
fn possible(conversation: &Conversation) -> Vec<&'static str> {
    let (agent, prices, usage) = (agent(), Prices::default(), Usage::default());
    let changes = [
        ("dial", conversation.mark_dialing(LEG, &agent, "hash".into(), at(1))),
        ("undial", conversation.return_to_queue(LEG)),
        ("prepared", conversation.record_prepared(None, 9)),
        ("placed", conversation.record_placed(LEG, &call("CA2"))),
        ("ringing", conversation.mark_ringing(LEG, &call("CA2"), at(10))),
        ("answered", conversation.mark_answered(LEG, &agent, &call("CA2"), at(1))),
        ("started", conversation.mark_started(LEG, &agent, &call("CA2"), at(1))),
        ("resume", conversation.begin_resume(LEG, "hash".into(), at(3_000))),
        ("resumed", conversation.mark_resumed(LEG)),
        ("request_end", conversation.request_end(at(1))),
        ("append", conversation.append(&agent, &[], &usage)),
        ("carrier_ended", conversation.record_carrier_end(LEG, Some(6), at(1))),
        ("machine_detected", conversation.record_answered_by(LEG, &call("CA1"), "human")),
        ("rejected", conversation.reject(LEG, &agent, RejectReason::Busy, &prices, at(1))),
        ("end", conversation.end(&agent, EndedReason::Unknown, &[], &usage, &prices, at(1))),
    ];
    changes.into_iter().filter(|(_, change)| change.is_ok()).map(|(name, _)| name).collect()
}

#[test]
fn each_state_allows_exactly_its_transitions() {
    assert_eq!(possible(&queued()), ["dial", "prepared", "rejected", "end"]);
    let changes = ["undial", "placed", "ringing", "answered", "started", "resume"];
    let ends = ["machine_detected", "rejected", "end"];
    assert_eq!(possible(&dialing()), [&changes[..], &ends].concat());
    assert_eq!(possible(&ringing()), [&["answered", "started", "resume"][..], &ends].concat());
    assert_eq!(possible(&answered()), ["started", "resume", "machine_detected", "end"]);
    let live = ["resume", "request_end", "append", "carrier_ended", "machine_detected", "end"];
    assert_eq!(possible(&started()), live);
    assert_eq!(possible(&ended()), Vec::<&str>::new(), "an ended conversation never changes");
}

#[test]
fn the_api_sees_three_states() {
    for waiting in [queued(), dialing(), ringing(), answered()] {
        assert_eq!(waiting.status(), Status::Queued);
    }
    assert_eq!(started().status(), Status::Started);
    assert_eq!(ended().status(), Status::Ended);
}

#[test]
fn accepted_precedes_started_if_the_stream_is_faster_than_the_callback() {
    let conversation = dialing();
    let next = conversation.mark_started(LEG, &agent(), &call("CA1"), at(3_000));
    let conversation = after(&conversation, next, &[EventName::Accepted, EventName::Started]);
    assert_eq!(conversation.answered_at(), Some(at(3_000)));
    assert_eq!(
        conversation.mark_answered(LEG, &agent(), &call("CA1"), at(3_100)),
        Err(InvalidTransition),
        "the late callback changes nothing"
    );
}

#[test]
fn the_stream_token_works_once() {
    assert_eq!(caller(&answered()).media_token_sha256.as_deref(), Some("hash"));
    assert_eq!(caller(&started()).media_token_sha256, None);
}

#[test]
fn a_call_whose_media_has_not_begun_gets_another_token() {
    for conversation in [dialing(), ringing(), answered()] {
        let next = after(&conversation, conversation.begin_resume(LEG, "next".into(), at(3_000)), &[]);
        assert_eq!(caller(&next).media_token_sha256.as_deref(), Some("next"));
        assert_eq!((&next.state, next.due_at()), (&conversation.state, conversation.due_at()));
        assert!(next.mark_started(LEG, &agent(), &call("CA1"), at(5_000)).is_ok());
    }
}

#[test]
fn streams_that_no_worker_admits_are_connected_after_growing_pauses() {
    let pauses = |mut conversation: Conversation| {
        let mut pauses = vec![];
        let mut now = at(10_000);
        while let Ok(next) = conversation.begin_resume(LEG, "next".into(), now) {
            conversation = next.conversation;
            let again = caller(&conversation).reconnect.unwrap();
            pauses.push(again.at.since(now).as_secs());
            now = again.at;
        }
        (conversation, pauses)
    };
    let (waiting, live) = pauses(started());
    assert_eq!(live, [0, 2, 8, 20, 60], "a container starts within that time");
    assert_eq!(caller(&waiting.mark_resumed(LEG).unwrap().conversation).reconnect, None);
    let (waiting, first) = pauses(answered());
    assert_eq!(first, [1, 1, 2, 4, 8]);
    let last = caller(&waiting).reconnect.unwrap();
    assert!(waiting.due_at().unwrap() >= last.deadline());
    // A stream that was admitted begins again at once.
    let mut again = started().begin_resume(LEG, "a".into(), at(0)).unwrap().conversation;
    again = again.begin_resume(LEG, "b".into(), at(0)).unwrap().conversation;
    again = again.mark_resumed(LEG).unwrap().conversation;
    let again = again.begin_resume(LEG, "c".into(), at(0)).unwrap().conversation;
    assert_eq!(caller(&again).reconnect.unwrap().at, at(0));
}

#[test]
fn a_call_is_resumed_at_most_five_times() {
    let mut conversation = started();
    for _ in 0..5 {
        conversation = after(&conversation, conversation.begin_resume(LEG, "next".into(), at(3_000)), &[]);
        assert_eq!(caller(&conversation).media_token_sha256.as_deref(), Some("next"));
        conversation = after(&conversation, conversation.mark_resumed(LEG), &[]);
        assert_eq!(conversation.mark_resumed(LEG), Err(InvalidTransition), "each token lets one stream in");
    }
    assert_eq!(conversation.begin_resume(LEG, "again".into(), at(3_000)), Err(InvalidTransition));
}

#[test]
fn every_state_has_a_deadline_until_the_end() {
    assert_eq!(queued().due_at(), Some(at(120_000)), "its message may be lost");
    assert_eq!(dialing().due_at(), Some(at(10 + 120_000)));
    assert_eq!(ringing().due_at(), Some(at(10 + 120_000)), "ringing does not begin anew");
    assert_eq!(answered().due_at(), Some(at(63_000)));
    assert_eq!(started().due_at(), None, "its deadline is the lease");
    let over = started().record_carrier_end(LEG, Some(6), at(9_000)).unwrap().conversation;
    assert_eq!(over.due_at(), Some(at(29_000)));
    assert_eq!(ended().due_at(), None);
}

#[test]
fn the_end_is_requested_once() {
    let conversation = started();
    let conversation = after(&conversation, conversation.request_end(at(5_000)), &[]);
    assert_eq!(conversation.signals.end_requested_at, Some(at(5_000)));
    assert_eq!(conversation.request_end(at(6_000)), Err(InvalidTransition));
}

#[test]
fn the_first_verdict_on_the_answer_stays() {
    let conversation = started();
    let conversation =
        after(&conversation, conversation.record_answered_by(LEG, &call("CA1"), "machine_start"), &[]);
    let word = |of: &Conversation| caller(of).phone_call.as_ref().unwrap().answered_by.clone();
    assert_eq!(word(&conversation).as_deref(), Some("machine_start"));
    assert_eq!(conversation.record_answered_by(LEG, &call("CA1"), "human"), Err(InvalidTransition));
    let next = conversation.append(&agent(), &[said("Hi.", 4_000)], &Usage::default()).unwrap();
    assert_eq!(word(&next.conversation).as_deref(), Some("machine_start"));
    assert_eq!(
        started().record_answered_by(LEG, &call("CA2"), "human"),
        Err(InvalidTransition),
        "another call"
    );
    let early = dialing().record_answered_by(LEG, &call("CA1"), "human").unwrap().conversation;
    assert_eq!(
        caller(&early).carrier_call_id(),
        Some(&call("CA1")),
        "it may be the first report that arrives"
    );
}

#[test]
fn filters_see_who_answered_from_the_next_event_on() {
    let filter = Some(Filter::parse("phone_call.answered_by == 'machine_start'").unwrap());
    let (events, instructions) = (vec![EventName::Started], vec![Instruction::HangUp]);
    let agent = AgentConfig { hooks: vec![Hook { events, filter, instructions }], ..agent() };
    let before = answered();
    assert!(!before.hook_hangs_up(&agent, EventName::Started));
    let known = before.record_answered_by(LEG, &call("CA1"), "machine_start").unwrap().conversation;
    assert!(known.hook_hangs_up(&agent, EventName::Started));
}

#[test]
fn clips_that_are_prepared_before_the_answer_are_in_the_usage() {
    let conversation = queued();
    let conversation = after(&conversation, conversation.record_prepared(None, 40), &[]);
    let conversation = after(&conversation, conversation.record_prepared(None, 2), &[]);
    assert_eq!(conversation.usage.characters, 42);
    let next = conversation.mark_dialing(LEG, &agent(), "hash".into(), at(1)).unwrap().conversation;
    assert_eq!(next.usage.characters, 42, "it was paid for");
}

#[test]
fn a_call_that_is_not_taken_does_not_pay_for_its_clips() {
    let usage = Usage { characters: 1_000, ..Usage::default() };
    let ringing = Conversation { usage: usage.clone(), ..ringing() };
    let (agent, prices, now) = (agent(), Prices::default(), at(9_000));
    let rejected = ringing.reject(LEG, &agent, RejectReason::NoAnswer, &prices, now);
    let canceled = ringing.end(&agent, EndedReason::AgentEnded, &[], &ringing.usage, &prices, now);
    for over in [rejected, canceled] {
        let cost = over.unwrap().conversation.ended().unwrap().2.clone();
        assert_eq!((cost.total.to_string().as_str(), cost.voice.characters), ("0.000000", 0));
    }
    let answered = Conversation { usage, ..answered() };
    let end = answered.end(&agent, EndedReason::Unknown, &[], &answered.usage, &prices, now).unwrap();
    assert_eq!(end.conversation.ended().unwrap().2.voice.characters, 1_000, "it was taken");
}

#[test]
fn a_placed_call_does_not_return_to_the_queue() {
    let conversation = dialing();
    let conversation = after(&conversation, conversation.record_placed(LEG, &call("CA1")), &[]);
    assert_eq!(conversation.return_to_queue(LEG), Err(InvalidTransition));
}

#[test]
fn a_call_that_the_carrier_did_not_take_is_dialled_again() {
    let conversation = dialing();
    let conversation = after(&conversation, conversation.return_to_queue(LEG), &[]);
    assert_eq!(possible(&conversation), ["dial", "prepared", "rejected", "end"]);
}

#[test]
fn a_rejected_call_is_rejected_then_ended_and_costs_nothing() {
    for (reason, ended_reason) in [
        (RejectReason::Busy, EndedReason::UserEnded),
        (RejectReason::NoAnswer, EndedReason::Unknown),
        (RejectReason::Failed, EndedReason::Unknown),
        (RejectReason::HungUp, EndedReason::AgentEnded),
        (RejectReason::Canceled, EndedReason::AgentEnded),
    ] {
        let conversation = ringing();
        let next = conversation.reject(LEG, &agent(), reason, &Prices::default(), at(5_000)).unwrap();
        assert_eq!(next.events[0].data["reason"], serde_json::to_value(reason).unwrap());
        let conversation = after(&conversation, Ok(next), &[EventName::Rejected, EventName::Ended]);
        let (ended_at, reason, cost) = conversation.ended().unwrap();
        assert_eq!((ended_at, reason), (at(5_000), ended_reason));
        assert_eq!(cost.total, crate::costs::Usd::ZERO);
        assert_eq!(conversation.started_at(), None);
    }
}

#[test]
fn a_hook_that_rejects_the_request_leaves_its_event_in_the_log() {
    let conversation = queued();
    let next = conversation.reject(LEG, &agent(), RejectReason::HungUp, &Prices::default(), at(1));
    let names = [EventName::ConnectionRequested, EventName::Rejected, EventName::Ended];
    after(&conversation, next, &names);
}

#[test]
fn ending_before_the_answer_is_a_rejection_too() {
    let conversation = ringing();
    let end = conversation.end(
        &agent(),
        EndedReason::AgentEnded,
        &[],
        &Usage::default(),
        &Prices::default(),
        at(1),
    );
    after(&conversation, end, &[EventName::Rejected, EventName::Ended]);
}

#[test]
fn a_conversation_survives_storage() {
    for conversation in [queued(), dialing(), ringing(), answered(), started(), ended()] {
        let stored = serde_json::to_string(&conversation).unwrap();
        assert_eq!(serde_json::from_str::<Conversation>(&stored).unwrap(), conversation);
    }
}
