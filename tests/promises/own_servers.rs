//! Local mode talks with any model of the catalogue, and with a model server of the user's.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

use crate::first_call::{demo, demo_in};

const ANSWER: &str = "On Saturday we close at seven in the evening. Can I help you with anything else?";

/// A model server in the manner of Ollama. Returns its base URL, and the keys that requests come with.
fn model_server() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let keys = Arc::<Mutex<Vec<String>>>::default();
    let seen = keys.clone();
    // Ends with the test's process.
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let seen = seen.clone();
            thread::spawn(move || drop(answer(socket, &seen)));
        }
    });
    (url, keys)
}

fn answer(socket: TcpStream, keys: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(socket.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        let lower = line.to_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if lower.starts_with("authorization:") {
            keys.lock().unwrap().push(line["authorization:".len()..].trim().to_owned());
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (content_type, body) = if head.starts_with("POST /v1/chat/completions ") {
        ("text/event-stream", completion(&serde_json::from_slice(&body).unwrap()))
    } else {
        (
            "application/json",
            json!({"object": "list", "data": [{"id": "llama3.2", "object": "model"}]}).to_string(),
        )
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let mut socket = socket;
    socket.write_all(head.as_bytes())?;
    socket.write_all(body.as_bytes())
}

fn completion(request: &Value) -> String {
    assert_eq!(request["model"], "llama3.2");
    let messages = request["messages"].as_array().unwrap();
    let last = messages.last().unwrap();
    let said = last["content"].as_str().unwrap_or_default().to_lowercase();
    let deltas = match last["role"].as_str() {
        Some("tool") => vec![json!({"content": ""})],
        _ if said.contains("goodbye") => {
            let function = json!({"name": "end_call", "arguments": "{}"});
            let call = json!({"id": "call_1", "index": 0, "type": "function", "function": function});
            vec![json!({"content": "Thank you. Goodbye."}), json!({"content": "", "tool_calls": [call]})]
        }
        _ => ANSWER.split_inclusive(' ').map(|word| json!({ "content": word })).collect(),
    };
    let chunk = |delta: Value, reason: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        format!(
            "data: {}\n\n",
            json!({"object": "chat.completion.chunk", "model": "llama3.2", "choices": [choice]})
        )
    };
    let mut stream: String = deltas.into_iter().map(|delta| chunk(delta, Value::Null)).collect();
    stream.push_str(&chunk(json!({}), json!("stop")));
    stream + "data: [DONE]\n\n"
}

#[test]
fn a_demo_talks_with_the_users_own_model() {
    let (url, keys) = model_server();
    let (call, _) = demo_in(&[], &[("OPENAI_API_URL", &url)]);
    let conversation = &call["conversation"];
    assert_eq!(conversation["agent_config"]["language_model"]["model"], "llama3.2");
    let messages = conversation["messages"].as_array().unwrap();
    assert!(messages.iter().any(|message| message["content"] == ANSWER), "{messages:?}");
    let keys = keys.lock().unwrap();
    assert!(!keys.is_empty() && keys.iter().all(|key| key == "Bearer none"), "{keys:?}");
}

#[test]
fn a_demo_talks_with_gemini() {
    let (call, _) = demo(&["--model", "google"]);
    let conversation = &call["conversation"];
    assert_eq!(conversation["ended_reason"], "agent_ended");
    assert_eq!(conversation["cost_breakdown"]["language_model"]["provider"], "google");
    assert!(conversation["cost_breakdown"]["language_model"]["cost"].as_f64().unwrap() > 0.0);
}
