//! Journal entries of a call: messages, events, and the filters and hooks on them.

use super::*;

#[test]
fn messages_are_numbered_and_part_of_their_events() {
    let conversation = started();
    let first =
        conversation.append(&agent(), &[said("one", 4_000), said("two", 5_000)], &Usage::default()).unwrap();
    assert_eq!(first.messages.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(first.events[1].data["message"]["content"], "two");
    let second = first.conversation.append(&agent(), &[said("three", 6_000)], &Usage::default()).unwrap();
    assert_eq!(second.messages[0].0, 3);
}

#[test]
fn the_last_words_come_before_the_end_and_usage_is_in_the_cost() {
    let conversation = started();
    let usage = Usage { characters: 1_000, ..Usage::default() };
    let end = conversation.end(
        &agent(),
        EndedReason::AgentEnded,
        &[said("bye", 8_000)],
        &usage,
        &Prices::default(),
        at(9_000),
    );
    let conversation = after(&conversation, end, &[EventName::MessageSent, EventName::Ended]);
    assert_eq!(conversation.ended().unwrap().2.voice.characters, 1_000);
}

#[test]
fn faults_are_stored_with_their_event_and_with_the_end() {
    let failed = |text: &str| vec![text.to_owned()];
    let entry = JournalEntry { faults: failed("the voice failed"), ..said("one", 4_000) };
    let next = started().append(&agent(), &[entry, said("two", 5_000)], &Usage::default()).unwrap();
    let notes: Vec<_> = next.events.iter().map(|event| event.faults.clone()).collect();
    assert_eq!(notes, [failed("the voice failed"), vec![]]);

    let (usage, prices) = (Usage::default(), Prices::default());
    let last = said("bye", 8_000);
    let end = next.conversation.end(&agent(), EndedReason::AgentEnded, &[last], &usage, &prices, at(9_000));
    let end = end.unwrap().with_faults(failed("2 answers"));
    let notes: Vec<_> = end.events.iter().map(|event| (event.name, event.faults.clone())).collect();
    assert_eq!(notes, [(EventName::MessageSent, vec![]), (EventName::Ended, failed("2 answers"))]);
}

#[test]
fn a_duration_event_is_stored_only_for_a_webhook() {
    let second = JournalEntry {
        at: at(4_000),
        name: EventName::Duration,
        data: json!({"duration": 1}),
        message: None,
        faults: vec![],
    };
    let conversation = started();
    let next = conversation.append(&agent(), std::slice::from_ref(&second), &Usage::default()).unwrap();
    assert!(next.events.is_empty());
    assert_eq!(next.conversation.next_sequence, conversation.next_sequence, "it takes no number");

    let mut listening = agent();
    listening.webhooks = ["https://a.example/", "https://b.example/"]
        .into_iter()
        .zip([EventName::Ended, EventName::Duration])
        .map(|(url, name)| Webhook {
            events: vec![name],
            url: url.into(),
            method: WebhookMethod::Post,
            headers: None,
            filter: None,
        })
        .collect();
    let next = conversation.append(&listening, &[second], &Usage::default()).unwrap();
    assert_eq!(next.events[0].webhooks, [1]);
}

#[test]
fn a_hook_hangs_up_on_its_own_events_only() {
    let mut agent = agent();
    agent.hooks = vec![Hook {
        events: vec![EventName::FunctionCallTriggered],
        filter: None,
        instructions: vec![Instruction::HangUp],
    }];
    let conversation = started();
    assert!(conversation.hook_hangs_up(&agent, EventName::FunctionCallTriggered));
    assert!(!conversation.hook_hangs_up(&agent, EventName::MessageSent));
}

#[test]
fn a_failing_filter_is_logged_once_per_conversation() {
    let filter = |text: &str| Some(Filter::parse(text).unwrap());
    let webhook = |text: &str| Webhook {
        events: vec![EventName::MessageSent, EventName::Duration],
        url: "https://a.example/".into(),
        method: WebhookMethod::Post,
        headers: None,
        filter: filter(text),
    };
    let hook = Hook {
        events: vec![EventName::Duration],
        filter: filter("message.content"),
        instructions: vec![Instruction::HangUp],
    };
    let agent = AgentConfig {
        webhooks: vec![webhook("message.role == 'agent'"), webhook("message.content.contains('Hello')")],
        hooks: vec![hook],
        ..agent()
    };
    let second = |number: u64| JournalEntry {
        at: at(4_000),
        name: EventName::Duration,
        data: json!({ "duration": number }),
        message: None,
        faults: vec![],
    };
    let conversation = started();
    let entries = [said("Hello.", 3_500), second(1), second(2)];
    let next = conversation.append(&agent, &entries, &Usage::default()).unwrap();
    let notes: Vec<_> =
        next.events.iter().map(|event| (event.webhooks.clone(), event.faults.clone())).collect();
    let failed = [
        "webhooks.1.filter failed and did not match: 'contains' does not take (null, string)",
        "hooks.0.filter failed and did not match: the result is null, neither true nor false",
    ];
    assert_eq!(notes, [(vec![1], vec![]), (vec![], failed.map(str::to_owned).to_vec())]);
    assert_eq!(
        next.events[1].sequence + 1,
        next.conversation.next_sequence,
        "the next second takes no number"
    );

    // The conversation stores it, for the next writer.
    let stored = serde_json::to_string(&next.conversation).unwrap();
    let conversation: Conversation = serde_json::from_str(&stored).unwrap();
    let next = conversation.append(&agent, &[second(3)], &Usage::default()).unwrap();
    assert_eq!(next.events, []);
}

#[test]
fn a_hook_with_a_filter_hangs_up_before_the_answer() {
    let mut agent = agent();
    agent.metadata.insert("blocked".into(), "+14155550100".into());
    agent.hooks = vec![Hook {
        events: vec![EventName::ConnectionRequested],
        filter: Some(Filter::parse("phone_call.to_number == metadata.blocked").unwrap()),
        instructions: vec![Instruction::HangUp],
    }];
    assert!(queued().hook_hangs_up(&agent, EventName::ConnectionRequested));
    agent.metadata.clear();
    assert!(!queued().hook_hangs_up(&agent, EventName::ConnectionRequested));
}
