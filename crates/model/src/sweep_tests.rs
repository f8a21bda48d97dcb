use super::*;
use crate::{
    agents::AgentConfig,
    carriers::CarrierName,
    conversations::{Conversation, UtteranceProgress},
    costs::Usage,
    ids::{AccountId, ConversationId},
};

const LEG: LegId = LegId::CALLER;
/// A time past every deadline of the calls below.
const LATE: i64 = 3_700;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_795_339_800_000 + seconds * 1_000)
}

fn call() -> CarrierCallId {
    CarrierCallId::new(CarrierName::Twilio, "CA1").unwrap()
}

fn queued() -> Conversation {
    let (to, from) = ("+14155550100".parse().unwrap(), "+14155550199".parse().unwrap());
    Conversation::outbound(ConversationId::new(at(0), 1), AccountId::new(at(0), 2), None, to, from, at(0))
}

fn dialing() -> Conversation {
    queued().mark_dialing(LEG, &AgentConfig::default(), "hash".into(), at(10)).unwrap().conversation
}

fn ringing() -> Conversation {
    dialing().mark_ringing(LEG, &call(), at(10)).unwrap().conversation
}

fn answered() -> Conversation {
    ringing().mark_answered(LEG, &AgentConfig::default(), &call(), at(20)).unwrap().conversation
}

fn started() -> Conversation {
    let usage = Usage { characters: 1_000, ..Usage::default() };
    let agent = AgentConfig::default();
    let started = answered().mark_started(LEG, &agent, &call(), at(21)).unwrap().conversation;
    started.append(&agent, &[], &usage).unwrap().conversation
}

fn over() -> Conversation {
    over_told(Some(9))
}

/// The carrier reported the end of the call at second 30.
fn over_told(seconds: Option<u64>) -> Conversation {
    started().record_carrier_end(LEG, seconds, at(30)).unwrap().conversation
}

fn ended() -> Conversation {
    let agent = AgentConfig::default();
    let usage = Usage::default();
    let end = over().end(&agent, EndedReason::UserEnded, &[], &usage, &Prices::default(), at(31));
    end.unwrap().conversation
}

/// A conversation in each state, with its deadline in seconds (the lease's, where the lease is the deadline).
const LIVES: [(fn() -> Conversation, i64); 7] =
    [(queued, 3_600), (dialing, 130), (ringing, 130), (answered, 80), (started, 81), (over, 50), (ended, 31)];

fn lease(until: i64) -> Lease {
    Lease { until: at(until), ..Lease::new("a".into(), at(until - 60)) }
}

fn answers() -> Vec<Carrier> {
    let mut all = vec![
        Carrier::Silent,
        Carrier::Unknown,
        Carrier::Queued,
        Carrier::Rings,
        Carrier::Talks { call: call(), answered_at: None },
        Carrier::Talks { call: call(), answered_at: Some(at(15)) },
        Carrier::Over { call: call(), talked: Duration::ZERO },
        Carrier::Over { call: call(), talked: Duration::from_secs(42) },
    ];
    all.extend(
        [
            RejectReason::Busy,
            RejectReason::NoAnswer,
            RejectReason::Failed,
            RejectReason::Canceled,
            RejectReason::HungUp,
        ]
        .map(Carrier::Rejected),
    );
    all
}

fn judge(
    conversation: Conversation,
    lease: Option<&Lease>,
    messages: &[Message],
    carrier: Option<&Carrier>,
    now: Timestamp,
) -> Verdict {
    let snapshot = Snapshot { conversation, agent: AgentConfig::default() };
    Case { snapshot: &snapshot, lease, messages, carrier, prices: &Prices::default() }.verdict(now)
}

/// The events of the end, its reason, and whether the sweeper hangs up first.
fn end_of(verdict: Verdict) -> (Vec<&'static str>, EndedReason, bool) {
    let Verdict::End { hang_up, change } = verdict else { panic!("not an end: {verdict:?}") };
    let names = change.events.iter().map(|event| event.name.as_str()).collect();
    (names, change.conversation.ended().unwrap().1, hang_up)
}

#[test]
fn every_verdict_is_legal() {
    let leases = [None, Some(lease(25)), Some(lease(60)), Some(lease(LATE + 60))];
    let asked: Vec<_> = std::iter::once(None).chain(answers().into_iter().map(Some)).collect();
    let times = [0, 24, 25, 26, 49, 50, 51, 79, 80, 81, 129, 130, 131, 3_599, 3_600, LATE, 8_000];
    for (conversation, _) in LIVES {
        for (lease, carrier, now) in leases
            .iter()
            .flat_map(|lease| asked.iter().map(move |carrier| (lease, carrier)))
            .flat_map(|(lease, carrier)| times.map(|now| (lease.as_ref(), carrier.as_ref(), at(now))))
        {
            let before = conversation();
            let case = format!("{:?} {lease:?} {carrier:?} {now}", before.state);
            let is_held = lease.is_some_and(|lease| lease.is_live(now));
            let live = matches!(carrier, Some(Carrier::Queued | Carrier::Rings | Carrier::Talks { .. }));
            match judge(before.clone(), lease, &[], carrier, now) {
                Verdict::End { hang_up, change } => {
                    assert!(!is_held, "only its worker ends it: {case}");
                    assert!(!hang_up || live, "only a live call is hung up: {case}");
                    let is_started = matches!(before.state, State::Started { .. });
                    let untold = before.legs.caller().reported_end.is_none();
                    assert!(hang_up == live || !untold || before.state == State::Queued, "{case}");
                    if before.state != State::Queued && untold {
                        assert!(carrier.is_some(), "the carrier is asked first: {case}");
                    }
                    if !is_started {
                        assert!(before.due_at().unwrap() <= now, "not before its deadline: {case}");
                    }
                    let after = &change.conversation;
                    assert_eq!(after.version, before.version + 1, "{case}");
                    assert_eq!(after.due_at(), None, "{case}");
                    assert_eq!(after.usage, before.usage, "the last checkpoint's: {case}");
                    let sequences: Vec<_> = change.events.iter().map(|event| event.sequence).collect();
                    let expected: Vec<_> = (before.next_sequence..after.next_sequence).collect();
                    assert_eq!(sequences, expected, "{case}");
                    let ends = change.events.iter().filter(|event| event.name == EventName::Ended);
                    assert_eq!(ends.count(), 1, "{case}");
                    assert_eq!(change.events.last().unwrap().name, EventName::Ended, "{case}");
                    assert_eq!(change.events.last().unwrap().created_at, now, "when it was noticed: {case}");
                    let (ended_at, ..) = after.ended().unwrap();
                    assert!(ended_at <= now, "{case}");
                    let is_in_order = [after.answered_at(), after.started_at(), Some(ended_at)];
                    assert!(is_in_order.into_iter().flatten().is_sorted(), "{case}");
                    assert!(after.answered_at().is_none_or(|at| at <= now), "{case}");
                }
                Verdict::Ask => {
                    assert!(carrier.is_none() && !is_held, "asked once: {case}");
                }
                Verdict::Record(change) => {
                    assert!(carrier == Some(&Carrier::Queued) && !is_held, "{case}");
                    assert!(change.conversation.due_at().unwrap() > now, "time moves: {case}");
                }
                Verdict::Wait(until) | Verdict::Wake(until) => assert!(until > now, "time moves: {case}"),
                Verdict::Nothing => {
                    let is_over = before.ended().is_some();
                    assert!(is_over || is_held || before.due_at().is_none_or(|due| now < due), "{case}");
                }
            }
        }
    }
}

#[test]
fn without_a_lease_every_conversation_ends() {
    for (conversation, due) in LIVES.into_iter().filter(|(life, _)| life().ended().is_none()) {
        for carrier in answers().into_iter().filter(|carrier| *carrier != Carrier::Queued) {
            let verdict = |now| judge(conversation(), None, &[], Some(&carrier), at(now));
            if conversation().state == State::Queued {
                assert_eq!(verdict(119), Verdict::Nothing);
                assert_eq!(verdict(120), Verdict::Wake(at(240)));
                assert_eq!(verdict(due - 1), Verdict::Wake(at(due)));
            } else {
                assert_eq!(verdict(due - 1), Verdict::Nothing, "{carrier:?}");
            }
            let is_silence = carrier == Carrier::Silent && conversation().state != State::Queued && due != 50;
            if is_silence {
                assert_eq!(verdict(due), Verdict::Wait(at(due + 60)));
                assert_eq!(verdict(due + 3_599), Verdict::Wait(at(due + 3_659)));
                assert!(matches!(verdict(due + 3_600), Verdict::End { hang_up: false, .. }));
            } else {
                assert!(matches!(verdict(due), Verdict::End { .. }), "{due} {carrier:?}");
            }
        }
    }
}

#[test]
fn the_carrier_is_asked_before_a_dialled_call_ends() {
    for (conversation, due, asks) in [
        (queued as fn() -> Conversation, 3_600, false),
        (dialing, 130, true),
        (ringing, 130, true),
        (answered, 80, true),
        (started, 81, true),
        (over, 50, false),
    ] {
        let verdict = judge(conversation(), None, &[], None, at(due));
        assert_eq!(verdict == Verdict::Ask, asks, "{:?}", conversation().state);
    }
}

#[test]
fn a_call_that_is_not_dialled_in_time_fails() {
    let end = end_of(judge(queued(), None, &[], None, at(3_600)));
    assert_eq!(end, (vec!["phone_call:rejected", "conversation:ended"], EndedReason::Unknown, false));
}

#[test]
fn a_call_without_reports_ends_as_the_carrier_says() {
    let rejected = || vec!["phone_call:rejected", "conversation:ended"];
    let accepted = || vec!["phone_call:accepted", "conversation:ended"];
    for conversation in [dialing, ringing] {
        for (carrier, expected) in [
            (Carrier::Unknown, (rejected(), EndedReason::Unknown, false)),
            (Carrier::Rings, (rejected(), EndedReason::Unknown, true)),
            (
                Carrier::Talks { call: call(), answered_at: Some(at(15)) },
                (accepted(), EndedReason::Unknown, true),
            ),
            (Carrier::Rejected(RejectReason::Busy), (rejected(), EndedReason::UserEnded, false)),
            (Carrier::Rejected(RejectReason::NoAnswer), (rejected(), EndedReason::Unknown, false)),
            (Carrier::Rejected(RejectReason::Canceled), (rejected(), EndedReason::AgentEnded, false)),
            (
                Carrier::Over { call: call(), talked: Duration::ZERO },
                (rejected(), EndedReason::Unknown, false),
            ),
            (
                Carrier::Over { call: call(), talked: Duration::from_secs(42) },
                (accepted(), EndedReason::UserEnded, false),
            ),
        ] {
            let end = end_of(judge(conversation(), None, &[], Some(&carrier), at(130)));
            assert_eq!(end, expected, "{carrier:?}");
        }
    }
}

#[test]
fn a_call_that_rings_too_long_is_not_answered() {
    let Verdict::End { change, .. } = judge(ringing(), None, &[], Some(&Carrier::Rings), at(130)) else {
        panic!("it rings for two minutes")
    };
    assert_eq!(change.events[0].data["reason"], "no_answer");
}

#[test]
fn a_call_in_the_carriers_queue_is_not_unanswered() {
    let queued = Some(&Carrier::Queued);
    let Verdict::Record(change) = judge(dialing(), None, &[], queued, at(130)) else {
        panic!("the carrier has not dialled it yet")
    };
    assert!(change.events.is_empty());
    let waiting = change.conversation;
    assert_eq!(waiting.due_at(), Some(at(250)));
    // It rings for as long as any other once its turn has come.
    let rings = waiting.mark_ringing(LEG, &call(), at(2_000)).unwrap().conversation;
    assert_eq!(rings.due_at(), Some(at(2_120)));
    assert_eq!(judge(rings, None, &[], Some(&Carrier::Rings), at(2_119)), Verdict::Nothing);
    // After an hour it is not wanted any more.
    let Verdict::End { hang_up: true, change } = judge(waiting, None, &[], queued, at(3_600)) else {
        panic!("it has waited for an hour")
    };
    assert_eq!(change.events[0].data["reason"], "failed");
}

#[test]
fn an_answer_without_a_report_is_billed_and_its_call_id_stored() {
    let other = CarrierCallId::new(CarrierName::Twilio, "CA7").unwrap();
    let carrier = Carrier::Over { call: other.clone(), talked: Duration::from_secs(42) };
    let Verdict::End { change, .. } = judge(dialing(), None, &[], Some(&carrier), at(130)) else {
        panic!("it is over")
    };
    assert_eq!(change.conversation.answered_at(), Some(at(88)));
    assert_eq!(change.conversation.legs.caller().carrier_call_id(), Some(&other));
    assert_eq!(change.conversation.ended().unwrap().2.telephony.as_ref().unwrap().ms, 42_000);
}

#[test]
fn an_answered_call_without_media_ends() {
    let ended = || vec!["conversation:ended"];
    let talks = Carrier::Talks { call: call(), answered_at: None };
    let end = end_of(judge(answered(), None, &[], Some(&talks), at(80)));
    assert_eq!(end, (ended(), EndedReason::Unknown, true));
    let end = end_of(judge(answered(), None, &[], Some(&Carrier::Unknown), at(80)));
    assert_eq!(end, (ended(), EndedReason::Unknown, false));
    let over = Carrier::Over { call: call(), talked: Duration::from_secs(3) };
    assert_eq!(end_of(judge(answered(), None, &[], Some(&over), at(80))).1, EndedReason::UserEnded);
}

#[test]
fn a_call_with_a_dead_worker_ends_with_the_lease() {
    let lease = lease(60);
    let talks = Carrier::Talks { call: call(), answered_at: None };
    assert_eq!(judge(started(), Some(&lease), &[], Some(&talks), at(59)), Verdict::Nothing);
    let end = judge(started(), Some(&lease), &[], Some(&talks), at(60));
    let Verdict::End { change, .. } = &end else { panic!("{end:?}") };
    assert_eq!(change.conversation.ended().unwrap().2.voice.characters, 1_000);
    assert_eq!(end_of(end), (vec!["conversation:ended"], EndedReason::Unknown, true));
}

#[test]
fn a_live_call_waits_for_the_stream_that_the_carrier_connects_after_a_pause() {
    let (mut conversation, mut now) = (started(), at(81));
    for _ in 0..5 {
        conversation = conversation.begin_resume(LEG, "hash".into(), now).unwrap().conversation;
        now = conversation.legs.caller().reconnect.unwrap().at;
    }
    assert_eq!(now, at(171));
    let expired = lease(81);
    let verdict = |seconds| judge(conversation.clone(), Some(&expired), &[], None, at(seconds));
    assert_eq!(verdict(82), Verdict::Wait(at(201)));
    assert_eq!(verdict(201), Verdict::Ask);
}

#[test]
fn a_live_worker_ends_a_call_that_the_carrier_reported_as_over() {
    let late = lease(65);
    assert_eq!(judge(over(), Some(&late), &[], None, at(50)), Verdict::Wait(at(65)));
    assert_eq!(end_of(judge(over(), Some(&late), &[], None, at(65))).1, EndedReason::UserEnded);
}

#[test]
fn an_expired_lease_without_media_waits_for_the_states_deadline() {
    assert_eq!(judge(answered(), Some(&lease(25)), &[], None, at(30)), Verdict::Wait(at(80)));
}

#[test]
fn worker_signals_give_the_reason_of_a_dead_workers_end() {
    let reason = |conversation| end_of(judge(conversation, None, &[], Some(&Carrier::Unknown), at(LATE))).1;
    assert_eq!(reason(started()), EndedReason::Unknown);
    assert_eq!(reason(over()), EndedReason::UserEnded);
    let asked = started().request_end(at(25)).unwrap().conversation;
    assert_eq!(reason(asked.clone()), EndedReason::AgentEnded);
    assert_eq!(
        reason(asked.record_carrier_end(LEG, None, at(26)).unwrap().conversation),
        EndedReason::AgentEnded
    );
    // The call was to go on with another worker, and none was there.
    let waiting = started().begin_resume(LEG, "next".into(), at(21)).unwrap().conversation;
    assert_eq!(
        reason(waiting.record_carrier_end(LEG, None, at(26)).unwrap().conversation),
        EndedReason::Unknown
    );
    let mut worn = started();
    for _ in 0..MAX_RESUMES {
        worn = worn
            .begin_resume(LEG, "next".into(), at(21))
            .unwrap()
            .conversation
            .mark_resumed(LEG)
            .unwrap()
            .conversation;
    }
    assert_eq!(
        reason(worn.record_carrier_end(LEG, None, at(26)).unwrap().conversation),
        EndedReason::Unknown
    );
}

#[test]
fn the_agents_last_words_are_stored_once() {
    let speaking = UtteranceProgress {
        kind: crate::messages::MessageKind::Speech,
        heard: "Your cake is".into(),
        unheard: "ready.".into(),
        started_at: at(22),
    };
    let held = Lease { utterance: Some(speaking), ..lease(88) };
    let words = |messages: &[Message]| {
        let Verdict::End { change, .. } =
            judge(started(), Some(&held), messages, Some(&Carrier::Unknown), at(90))
        else {
            panic!("its lease ran out")
        };
        change.messages
    };
    let message = Message {
        kind: crate::messages::MessageKind::Speech,
        role: Role::Agent,
        content: "Your cake is".into(),
        started_at: at(22),
        ended_at: at(28),
        interrupted: true,
    };
    assert_eq!(words(&[]), [(1, message.clone())]);
    let earlier = Message { started_at: at(21), ..message.clone() };
    let users = Message { role: Role::User, started_at: at(24), ..message.clone() };
    assert_eq!(words(&[earlier, users]).len(), 1);
    // The heartbeat was older than the message that the worker stored before it died.
    let whole = Message { content: "Your cake is ready.".into(), interrupted: false, ..message };
    assert_eq!(words(&[whole]), []);

    let silent = Lease {
        utterance: Some(UtteranceProgress {
            kind: crate::messages::MessageKind::Speech,
            heard: String::new(),
            unheard: "ready.".into(),
            started_at: at(22),
        }),
        ..lease(88)
    };
    let end = judge(started(), Some(&silent), &[], Some(&Carrier::Unknown), at(90));
    assert_eq!(end_of(end).0, ["conversation:ended"], "unheard words are not stored");
}

/// The time of the end, and the billed seconds of the call and of the agent.
fn paid(verdict: Verdict) -> (Timestamp, u64, u64) {
    let Verdict::End { change, .. } = verdict else { panic!("not an end: {verdict:?}") };
    let (ended_at, _, cost) = change.conversation.ended().unwrap();
    (ended_at, cost.telephony.as_ref().unwrap().ms / 1_000, cost.agent.ms / 1_000)
}

#[test]
fn the_time_until_the_sweeper_notices_a_dead_worker_is_free() {
    // The last heartbeat was at second 30, the answer at 20, and media flowed at 21.
    let held = lease(90);
    let talks = Carrier::Talks { call: call(), answered_at: None };
    for carrier in [&talks, &Carrier::Unknown] {
        let verdict = judge(started(), Some(&held), &[], Some(carrier), at(150));
        assert_eq!(paid(verdict), (at(30), 10, 9), "{carrier:?}");
    }
    let message = |until| Message {
        kind: crate::messages::MessageKind::Speech,
        role: Role::User,
        content: "Hello?".into(),
        started_at: at(25),
        ended_at: at(until),
        interrupted: false,
    };
    for (until, expected) in [(28, 30), (33, 33), (999, 150)] {
        let verdict = judge(started(), Some(&held), &[message(until)], Some(&talks), at(150));
        assert_eq!(paid(verdict).0, at(expected), "it was live while the caller spoke");
    }
    let verdict = judge(started(), None, &[], Some(&talks), at(150));
    assert_eq!(paid(verdict), (at(21), 1, 0), "there was no sign of life");
}

#[test]
fn a_call_was_over_at_the_carriers_time() {
    let held = lease(80);
    let over = Carrier::Over { call: call(), talked: Duration::from_secs(42) };
    assert_eq!(paid(judge(started(), Some(&held), &[], Some(&over), at(150))), (at(62), 42, 41));
    // Its report came at second 30, and counts nine seconds from the answer at 20.
    assert_eq!(paid(judge(over_told(Some(9)), Some(&held), &[], None, at(150))), (at(29), 9, 8));
    assert_eq!(paid(judge(over_told(None), Some(&held), &[], None, at(150))), (at(30), 10, 9));
    assert_eq!(paid(judge(over_told(Some(99)), Some(&held), &[], None, at(150))), (at(30), 10, 9));
}

#[test]
fn waiting_for_a_worker_costs_nothing() {
    let talks = |answered_at| Carrier::Talks { call: call(), answered_at };
    assert_eq!(paid(judge(answered(), None, &[], Some(&talks(None)), at(150))), (at(20), 0, 0));
    assert_eq!(paid(judge(ringing(), None, &[], Some(&talks(Some(at(15)))), at(150))), (at(15), 0, 0));
    let over = Carrier::Over { call: call(), talked: Duration::from_secs(3) };
    assert_eq!(paid(judge(answered(), None, &[], Some(&over), at(150))), (at(23), 3, 0));
}
