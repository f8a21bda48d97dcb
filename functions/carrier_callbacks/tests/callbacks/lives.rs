//! Whole lives of a call: each report of it three times, in any order.

use axum::http::StatusCode;
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use switchboard_calls::{StrandedCall, resume_transition, status_transition};
use switchboard_model::{
    conversations::{EndedReason, Lease, LegId, Snapshot, State},
    costs::Prices,
    sweep::{Carrier, Case, Verdict},
};
use switchboard_providers::carrier::{Carrier as _, callbacks::StatusReport};

use crate::world::{
    ACCOUNT, CONVERSATION, SID, World, at, call_id, dialled, fields, path, send, signed, verified,
};

/// An event in the life of a call that was placed.
#[derive(Debug, Clone)]
enum LifeEvent {
    Report(String),
    /// A media stream reaches a worker.
    Stream,
    /// The carrier reports on a stream.
    StreamReport(&'static str),
    /// The carrier requests instructions after a stream.
    Resume,
}

pub(crate) fn read(fields: &str) -> StatusReport {
    let (carrier, callback) = verified(fields);
    carrier.status_report(&callback).unwrap()
}

/// Every report three times, in any order, with streams and requests for instructions between them.
fn lives() -> impl Strategy<Value = Vec<LifeEvent>> {
    let answered = vec!["initiated", "ringing", "in-progress", "completed"];
    let ends = prop_oneof![
        2 => Just(answered),
        1 => prop::sample::select(vec!["busy", "no-answer", "failed", "canceled"])
            .prop_map(|end| vec!["initiated", "ringing", end]),
    ];
    (ends, prop::sample::select(vec!["", "&CallDuration=0", "&CallDuration=42"])).prop_flat_map(
        |(statuses, more)| {
            let mut life: Vec<LifeEvent> = Vec::new();
            for _ in 0..3 {
                life.extend(statuses.iter().map(|status| {
                    LifeEvent::Report(fields(status, if *status == "completed" { more } else { "" }))
                }));
                if statuses.contains(&"in-progress") {
                    let reports = ["stream-started", "stream-stopped", "stream-error"];
                    life.extend(reports.map(LifeEvent::StreamReport));
                    life.extend([LifeEvent::Stream, LifeEvent::Resume]);
                }
            }
            Just(life).prop_shuffle()
        },
    )
}

/// A call, and all its events and messages.
struct Life {
    snapshot: Snapshot,
    lease: Option<Lease>,
    events: Vec<&'static str>,
    sequences: Vec<u64>,
    tokens: u32,
}

impl Life {
    fn handle(&mut self, event: &LifeEvent, second: i64) {
        let Snapshot { conversation, agent } = &self.snapshot;
        let change = match event {
            LifeEvent::Report(fields) => status_transition(&self.snapshot, &read(fields), at(second)),
            // It is admitted with the stored token.
            LifeEvent::Stream => match conversation.state {
                State::Started { .. } => conversation.mark_resumed(LegId::CALLER),
                _ => conversation.mark_started(LegId::CALLER, agent, &call_id(SID), at(second)),
            },
            LifeEvent::StreamReport(event) => {
                let form = format!("CallSid={SID}&StreamEvent={event}");
                let (carrier, callback) = verified(&form);
                let report = carrier.stream_report(&callback).unwrap();
                let stranded = StrandedCall::find(&self.snapshot, self.lease.as_ref(), &report, at(second));
                let is_live = matches!(conversation.state, State::Started { .. });
                assert!(stranded.is_none() || is_live && *event == "stream-error");
                return;
            }
            LifeEvent::Resume => {
                self.tokens += 1;
                let token = format!("token {}", self.tokens);
                resume_transition(&self.snapshot, &call_id(SID), &token, at(second))
            }
        };
        let Ok(change) = change else { return };
        assert_eq!(change.conversation.version, conversation.version + 1);
        assert!(conversation.ended().is_none(), "nothing is written after the end");
        if let LifeEvent::Stream = event {
            self.lease = Some(Lease::new("a".into(), at(second)));
        }
        self.events.extend(change.events.iter().map(|event| event.name.as_str()));
        self.sequences.extend(change.events.iter().map(|event| event.sequence));
        self.snapshot.conversation = change.conversation;
    }

    /// The sweeper finds a call that has not ended at its deadline.
    fn sweep(&mut self) {
        let case = Case {
            snapshot: &self.snapshot,
            lease: self.lease.as_ref(),
            messages: &[],
            carrier: Some(&Carrier::Unknown),
            prices: &Prices::default(),
        };
        let Verdict::End { change, .. } = case.verdict(at(10_000)) else { return };
        self.events.extend(change.events.iter().map(|event| event.name.as_str()));
        self.sequences.extend(change.events.iter().map(|event| event.sequence));
        self.snapshot.conversation = change.conversation;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn reports_in_any_order_end_a_call_once(life in lives()) {
        let mut call =
            Life { snapshot: dialled(), lease: None, events: vec![], sequences: vec![], tokens: 0 };
        for (second, event) in (10..).zip(&life) {
            call.handle(event, second);
        }
        call.sweep();
        prop_assert!(call.snapshot.conversation.ended().is_some());
        let count = |name: &str| call.events.iter().filter(|event| **event == name).count();
        prop_assert_eq!(count("conversation:ended"), 1);
        prop_assert_eq!(count("phone_call:rejected") + count("phone_call:accepted"), 1);
        prop_assert!(count("conversation:started") <= count("phone_call:accepted"));
        prop_assert_eq!(*call.events.last().unwrap(), "conversation:ended");
        prop_assert_eq!(&call.sequences, &(2..2 + call.events.len() as u64).collect::<Vec<_>>());
        prop_assert_eq!(&call.snapshot.conversation.legs.caller().media_token_sha256, &None);
        let (_, reason, _) = call.snapshot.conversation.ended().unwrap();
        prop_assert!(reason != EndedReason::AgentEnded || count("phone_call:rejected") == 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_that_arrive_at_the_same_time_end_a_call_once() {
    // The same reports as above, all at once against a table in memory.
    let mut runner = TestRunner::deterministic();
    for _ in 0..5 {
        let world = World::new().await;
        let life = lives().new_tree(&mut runner).unwrap().current();
        let mut reports = tokio::task::JoinSet::new();
        for event in life {
            if let LifeEvent::Report(fields) = event {
                let router = world.router.clone();
                reports
                    .spawn(async move { send(&router, signed(&path(ACCOUNT, CONVERSATION), &fields)).await });
            }
        }
        while let Some(answer) = reports.join_next().await {
            assert_eq!(answer.unwrap(), (StatusCode::OK, String::new()));
        }
        let names = world.event_names().await;
        assert_eq!(names.iter().filter(|name| **name == "conversation:ended").count(), 1, "{names:?}");
        assert!(names.iter().filter(|name| **name == "phone_call:rejected").count() <= 1, "{names:?}");
    }
}
