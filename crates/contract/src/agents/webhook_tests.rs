use serde_json::{Value, json};

use super::{
    tests::{check, read_with},
    *,
};
use switchboard_model::event_names::EventName;

#[test]
fn an_agent_has_at_most_twenty_webhooks() {
    let webhook =
        json!({ "events": ["conversation:ended"], "url": "https://example.com/", "method": "POST" });
    let webhooks = |count: usize| json!({ "webhooks": vec![webhook.clone(); count] });
    check([
        (webhooks(20), &[][..]),
        (webhooks(21), &["webhooks too_long"]),
        (webhooks(100), &["webhooks too_long"]),
    ]);
}

#[test]
fn webhooks_are_checked() {
    let good =
        json!({ "events": ["conversation:ended"], "url": "https://example.com/hook", "method": "POST" });
    let webhook = |changes: Value| {
        let mut webhook = good.clone();
        for (name, value) in changes.as_object().unwrap() {
            webhook[name] = value.clone();
        }
        json!({ "webhooks": [good, webhook] })
    };
    check([
        (webhook(json!({})), &[]),
        (webhook(json!({ "method": "GET", "headers": { "Authorization": "Bearer x", "x-a": "" } })), &[]),
        (webhook(json!({ "headers": null, "filter": null })), &[]),
        (webhook(json!({ "events": EventName::ALL })), &[]),
        (webhook(json!({ "events": [] })), &["webhooks.1.events too_short"]),
        (webhook(json!({ "events": null })), &["webhooks.1.events list_type"]),
        (webhook(json!({ "events": "conversation:ended" })), &["webhooks.1.events list_type"]),
        (
            webhook(json!({ "events": ["conversation:ended", "nothing", 5] })),
            &["webhooks.1.events.1 enum", "webhooks.1.events.2 enum"],
        ),
        (webhook(json!({ "method": "PUT" })), &["webhooks.1.method enum"]),
        (webhook(json!({ "method": "post" })), &["webhooks.1.method enum"]),
        (webhook(json!({ "method": null })), &["webhooks.1.method enum"]),
        (webhook(json!({ "headers": ["a"] })), &["webhooks.1.headers dict_type"]),
        (webhook(json!({ "headers": { "x-a": 1 } })), &["webhooks.1.headers.x-a string_type"]),
        (webhook(json!({ "headers": { "x a": "b" } })), &["webhooks.1.headers.x a value_error"]),
        (webhook(json!({ "headers": { "x-a": "b\r\nx-c: d" } })), &["webhooks.1.headers.x-a value_error"]),
        (webhook(json!({ "headers": { "Host": "internal" } })), &["webhooks.1.headers.Host value_error"]),
        (
            webhook(
                json!({ "headers": { "webhook-id": "1", "Webhook-Signature": "v1,x", "webhooks": "y" } }),
            ),
            &[
                "webhooks.1.headers.Webhook-Signature value_error",
                "webhooks.1.headers.webhook-id value_error",
            ],
        ),
        (webhook(json!({ "filter": "duration == 300" })), &[]),
        (webhook(json!({ "filter": "duration = 300" })), &["webhooks.1.filter value_error"]),
        (webhook(json!({ "filter": true })), &["webhooks.1.filter string_type"]),
        (webhook(json!({ "filter": "" })), &["webhooks.1.filter value_error"]),
        (json!({ "webhooks": {} }), &["webhooks list_type"]),
        (json!({ "webhooks": [null] }), &["webhooks.0 model_attributes_type"]),
        (
            json!({ "webhooks": [{}] }),
            &["webhooks.0.events missing", "webhooks.0.url missing", "webhooks.0.method missing"],
        ),
    ]);
}

#[test]
fn a_webhook_url_is_https_and_complete() {
    let check = |egress_policy: EgressPolicy, url: &str| {
        let webhook = json!({ "events": ["conversation:ended"], "method": "POST", "url": url });
        match read_with(&json!({ "webhooks": [webhook] }), egress_policy) {
            Ok(_) => "ok".to_owned(),
            Err(errors) => errors.join(",").replace("webhooks.0.url ", ""),
        }
    };
    for (url, deployed, local) in [
        ("https://example.com", "ok", "ok"),
        ("HTTPS://example.com:8443/a?b=c#d", "ok", "ok"),
        ("https://93.184.215.14/a", "ok", "ok"),
        ("https://[2606:2800:21f:cb07::1]:8443/a", "ok", "ok"),
        ("https://user:secret@example.com/", "value_error", "value_error"),
        ("https://192.168.0.1/a", "value_error", "value_error"),
        ("https://[::ffff:169.254.169.254]/a", "value_error", "value_error"),
        ("https://2130706433/", "value_error", "ok"),
        ("https://localhost/", "value_error", "ok"),
        ("https://xn--bcher-kva.example/a", "ok", "ok"),
        ("http://localhost:8080/hook", "url_scheme", "ok"),
        ("ftp://example.com", "url_scheme", "url_scheme"),
        ("javascript:alert(1)", "url_parsing", "url_parsing"),
        ("example.com/hook", "url_parsing", "url_parsing"),
        ("", "url_parsing", "url_parsing"),
        ("https://", "url_parsing", "url_parsing"),
        ("https:///hook", "url_parsing", "url_parsing"),
        ("https://user@/hook", "url_parsing", "url_parsing"),
        ("https://example.com:0/", "url_parsing", "url_parsing"),
        ("https://example.com:99999/", "url_parsing", "url_parsing"),
        ("https://[::1/", "url_parsing", "url_parsing"),
        ("https://exa mple.com/", "url_parsing", "url_parsing"),
        ("https://example.com/a b", "url_parsing", "url_parsing"),
        ("https://example.com\\@internal/", "url_parsing", "url_parsing"),
        ("https://example.com/\r\nHost: internal", "url_parsing", "url_parsing"),
    ] {
        assert_eq!(check(EgressPolicy::PublicOnly, url), deployed, "{url}");
        assert_eq!(check(EgressPolicy::Local, url), local, "{url} in local mode");
    }
    assert_eq!(check(EgressPolicy::PublicOnly, &format!("https://example.com/{}", "a".repeat(2_063))), "ok");
    assert_eq!(
        check(EgressPolicy::PublicOnly, &format!("https://example.com/{}", "a".repeat(2_064))),
        "url_too_long"
    );
}

#[test]
fn hooks_are_checked_and_a_bad_filter_is_located() {
    let hook = |hook: Value| json!({ "hooks": [hook] });
    check([
        (
            hook(
                json!({ "events": ["function_call:triggered"], "instructions": [{ "instruction": "hang_up" }] }),
            ),
            &[],
        ),
        (hook(json!({ "events": ["conversation:duration"], "instructions": [], "filter": null })), &[]),
        (hook(json!({})), &["hooks.0.events missing", "hooks.0.instructions missing"]),
        (
            hook(json!({ "events": [], "instructions": [{ "instruction": "dance" }] })),
            &["hooks.0.events too_short", "hooks.0.instructions.0.instruction enum"],
        ),
        (
            hook(json!({ "events": ["speech:ended"], "instructions": [{}, "hang_up"] })),
            &["hooks.0.instructions.0.instruction missing", "hooks.0.instructions.1 model_attributes_type"],
        ),
        (
            hook(json!({ "events": ["speech:ended"], "instructions": { "instruction": "hang_up" } })),
            &["hooks.0.instructions list_type"],
        ),
    ]);
    let filtered =
        hook(json!({ "events": ["speech:ended"], "instructions": [], "filter": "speech.role = 'user'" }));
    assert_eq!(
        json!(create(&filtered, EgressPolicy::PublicOnly).into_valid().unwrap_err()),
        json!([{ "loc": ["body", "hooks", 0, "filter"], "msg": "line 1, column 13: unexpected '= '", "type": "value_error" }])
    );
}
