//! The response of the scripted model in the API's form.

use serde_json::{Value, json};

use super::contents::signature;
use crate::script::{Reply, tokens};

/// Tokens that the model thinks before it speaks.
const THOUGHTS: usize = 8;

/// The response, as chunks that join to the whole. `ids` has one id per call. The usage counts from the beginning.
pub(super) fn chunks(
    reply: &Reply,
    ids: &[String],
    model: &str,
    response_id: &str,
    prompt: usize,
    thinks: bool,
    max_tokens: usize,
) -> Vec<Value> {
    let thoughts = if thinks { THOUGHTS } else { 0 };
    let left = max_tokens.saturating_sub(thoughts);
    let mut parts: Vec<(Value, usize)> =
        reply.text.split_inclusive(' ').map(|token| (json!([{ "text": token }]), 1)).collect();
    let is_cut = parts.len() > left;
    parts.truncate(left);
    if !is_cut && !reply.calls.is_empty() {
        let calls = reply.calls.iter().zip(ids).enumerate().map(|(index, (call, id))| {
            let function = json!({ "id": id, "name": call.name, "args": call.arguments });
            let mut part = json!({ "functionCall": function });
            if index == 0 {
                part["thoughtSignature"] = json!(signature(&call.name, &call.arguments));
            }
            part
        });
        let count = reply.calls.iter().map(|call| tokens(&call.arguments.to_string())).sum();
        parts.push((calls.collect(), count));
    }
    if parts.is_empty() {
        parts.push((Value::Null, 0));
    }
    let (last, mut candidates) = (parts.len() - 1, 0);
    let chunk = |(index, (parts, count)): (usize, (Value, usize))| {
        candidates += count;
        let mut candidate = json!({ "index": 0 });
        if !parts.is_null() {
            candidate["content"] = json!({ "role": "model", "parts": parts });
        }
        if index == last {
            candidate["finishReason"] = json!(if is_cut { "MAX_TOKENS" } else { "STOP" });
        }
        let mut usage = json!({
            "promptTokenCount": prompt, "candidatesTokenCount": candidates,
            "totalTokenCount": prompt + candidates + thoughts,
            "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": prompt }],
        });
        if thoughts > 0 {
            usage["thoughtsTokenCount"] = json!(thoughts);
        }
        json!({
            "candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": response_id,
        })
    };
    parts.into_iter().enumerate().map(chunk).collect()
}

/// The response in one piece.
pub(super) fn whole(chunks: &[Value]) -> Value {
    let mut whole = chunks.last().cloned().unwrap_or_default();
    let (mut text, mut parts) = (String::new(), vec![]);
    for part in
        chunks.iter().filter_map(|chunk| chunk["candidates"][0]["content"]["parts"].as_array()).flatten()
    {
        match part["text"].as_str() {
            Some(token) => text.push_str(token),
            None => parts.push(part.clone()),
        }
    }
    if !text.is_empty() {
        parts.insert(0, json!({ "text": text }));
    }
    if !parts.is_empty() {
        whole["candidates"][0]["content"] = json!({ "role": "model", "parts": parts });
    }
    whole
}
