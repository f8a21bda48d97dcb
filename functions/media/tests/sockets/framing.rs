//! The media socket itself against peers that break the websocket protocol (RFC 6455). The whole protocol is tested by the
//! Autobahn suite on a server with the same limits: `tests/promises/websocket_suite.rs`.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    prelude::*,
    support::{TEST_TIMEOUT, phone::browser_start},
};

const TEXT: u8 = 0x1;
const PING: u8 = 0x9;
const FIN: u8 = 0x80;
/// Set in the byte with the length.
const MASKED: u8 = 0x80;
/// The length follows in two or in eight bytes.
const LONG: u8 = 0x7E;
const VERY_LONG: u8 = 0x7F;

/// A masked frame. The mask is zero, so the payload is sent as it is.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(length) if length < 126 => frame.push(MASKED | u8::try_from(length).unwrap()),
        Ok(length) => {
            frame.push(MASKED | LONG);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(MASKED | VERY_LONG);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// A socket after its handshake.
async fn connect(worker: SocketAddr, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(worker).await.unwrap();
    let request = format!(
        "GET /media{path} HTTP/1.1\r\nhost: worker\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut response = vec![];
    while !response.ends_with(b"\r\n\r\n") {
        response.push(socket.read_u8().await.unwrap());
    }
    assert!(response.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&response));
    socket
}

/// Reads until the worker has closed the connection, or has sent this text.
async fn read_until(socket: &mut TcpStream, text: &str) -> Vec<u8> {
    let reading = async {
        let mut received = vec![];
        while !String::from_utf8_lossy(&received).contains(text) {
            match socket.read_u8().await {
                Ok(byte) => received.push(byte),
                Err(_) => break,
            }
        }
        received
    };
    timeout(TEST_TIMEOUT, reading).await.expect("the worker sends it, or closes the connection")
}

#[tokio::test]
async fn a_socket_that_breaks_the_protocol_is_closed_and_the_call_can_still_begin() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let (call, path) = world.conversation.web(greeting("Hello.")).await;
    let worker = world.worker().await;
    let unmasked = [&[FIN | TEXT, 2][..], b"{}"].concat();
    let oversize =
        [&[FIN | TEXT, MASKED | VERY_LONG][..], &(64 * 1024 + 1_u64).to_be_bytes(), &[0; 4]].concat();
    let pieces = [frame(TEXT, b"\xce\xba\xe1\xbd"), frame(FIN, b"\xb9\xed\xa0\x80")].concat();
    for (fault, bytes) in [
        ("a reserved bit", frame(FIN | 0x40 | TEXT, b"{}")),
        ("a reserved opcode", frame(FIN | 0x3, b"")),
        ("a reserved control opcode", frame(FIN | 0xB, b"")),
        ("no mask", unmasked),
        ("a ping in fragments", frame(PING, b"")),
        ("a ping of 126 bytes", frame(FIN | PING, &[b'a'; 126])),
        ("a continuation of nothing", frame(FIN, b"{}")),
        ("a text within a text", [frame(TEXT, b"{"), frame(FIN | TEXT, b"{}")].concat()),
        ("no UTF-8", frame(FIN | TEXT, b"\xff")),
        ("no UTF-8, in pieces", pieces),
        ("more than 64 KiB", oversize),
        (
            "more than 64 KiB in fragments",
            [frame(TEXT, &vec![b' '; 65_000]), frame(0, &[b' '; 1_000])].concat(),
        ),
        ("a close of one byte", frame(FIN | 0x8, b"\x03")),
        ("a close with a code that may not be sent", frame(FIN | 0x8, &1_005_u16.to_be_bytes())),
        ("a close with a reason that is no UTF-8", frame(FIN | 0x8, b"\x03\xe8\xff")),
    ] {
        let mut socket = connect(worker.address, &path).await;
        socket.write_all(&bytes).await.unwrap();
        let received = read_until(&mut socket, "\"resume\"").await;
        assert!(!String::from_utf8_lossy(&received).contains("resume"), "{fault}");
    }

    // Fragments with a ping between them are a message.
    let start = browser_start("audio/x-mulaw", 8_000, None);
    let (one, other) = start.as_bytes().split_at(20);
    let mut socket = connect(worker.address, &path).await;
    let sent = [frame(TEXT, one), frame(FIN | PING, b"in between"), frame(FIN, other)].concat();
    socket.write_all(&sent).await.unwrap();
    let received = read_until(&mut socket, "\"resume\"").await;
    let text = String::from_utf8_lossy(&received);
    assert!(text.contains("in between") && text.contains("\"resume\""), "{text}");
    call.started().await;
}
