//! A vendor on the loopback address: reads requests, writes its script and notes when. It has threads of its own, which
//! end with the process, so that it takes no time of the readers' runtime.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio_tungstenite::tungstenite::{Message, WebSocket, handshake::derive_accept_key, protocol::Role};

use crate::scripts::{BARE_CONTEXT, Dialect, Script};

/// The request of the bare socket for an answer.
pub(crate) const BARE_REQUEST: &[u8] = b"BARE / HTTP/1.1\r\n\r\n";

/// The wait before every write. The readers have nothing left to do, as between two messages of a real vendor.
const THINKING: Duration = Duration::from_millis(2);
/// Maximum time between two requests of a connection, and maximum time of a write.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// When the pieces of the current answer were written.
type Written = Arc<Mutex<Vec<Instant>>>;

pub(crate) struct Vendor {
    pub(crate) address: SocketAddr,
    written: Written,
}

impl Vendor {
    pub(crate) fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback address has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let written = Written::default();
        let shared = Arc::clone(&written);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let written = Arc::clone(&shared);
                // A reader that has closed its connection ends the thread by an error.
                thread::spawn(move || Connection { stream, script, written }.serve());
            }
        });
        Self { address, written }
    }

    /// When the pieces of the last answer were written, in their order.
    pub(crate) fn take_written(&self) -> Vec<Instant> {
        std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Connection {
    stream: TcpStream,
    script: Script,
    written: Written,
}

impl Connection {
    fn serve(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        self.stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
        self.stream.set_write_timeout(Some(IDLE_TIMEOUT))?;
        while let Some(head) = read_request(&mut self.stream)? {
            if let Some(key) = header(&head, "sec-websocket-key") {
                return self.upgrade(key);
            }
            let context = if BARE_REQUEST.starts_with(head.as_bytes()) { BARE_CONTEXT } else { "" };
            self.speak(context)?;
            self.end(context)?;
        }
        Ok(())
    }

    /// Writes the timed pieces of an answer.
    fn speak(&mut self, context: &str) -> io::Result<()> {
        for piece in (self.script.pieces)(context) {
            thread::sleep(THINKING);
            // Before the write, whose cost is part of both measurements.
            self.written.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
            self.stream.write_all(&piece)?;
        }
        Ok(())
    }

    fn end(&mut self, context: &str) -> io::Result<()> {
        self.stream.write_all(&(self.script.end)(context))
    }

    fn upgrade(mut self, key: &str) -> io::Result<()> {
        let accept = derive_accept_key(key.as_bytes());
        write!(
            self.stream,
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {accept}\r\n\r\n"
        )?;
        // It only reads: the frames of the script are written as they are.
        let mut requests = WebSocket::from_raw_socket(self.stream.try_clone()?, Role::Server, None);
        let mut context = String::new();
        loop {
            let Message::Text(text) = requests.read().map_err(io::Error::other)? else { continue };
            let message: Value = serde_json::from_str(&text)?;
            let has_text = message["text"].as_str().is_some_and(|text| !text.trim().is_empty());
            if let Some(named) = message["context_id"].as_str().or(message["contextId"].as_str()) {
                named.clone_into(&mut context);
            }
            match self.script.dialect {
                Dialect::Http => return Err(io::ErrorKind::InvalidInput.into()),
                Dialect::Elevenlabs if message["close_context"] == true => self.end(&context)?,
                Dialect::Elevenlabs if has_text => self.speak(&context)?,
                Dialect::Rime if message["operation"] == "flush" => {
                    self.speak(&context)?;
                    self.end(&context)?;
                }
                Dialect::Elevenlabs | Dialect::Rime => {}
            }
        }
    }
}

/// Reads a request with its body; its head. None if the connection was closed.
fn read_request(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(None);
        }
        request.extend_from_slice(&buffer[..length]);
        let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&request[..end]).into_owned();
        let body = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        if request.len() >= end + 4 + body {
            return Ok(Some(head));
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let headers = head.lines().filter_map(|line| line.split_once(':'));
    let mut named = headers.filter(|(of, _)| of.eq_ignore_ascii_case(name));
    named.next().map(|(_, value)| value.trim())
}
