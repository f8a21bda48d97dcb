//! The table, and a gate before it that can be closed.

use std::net::SocketAddr;

use serde_json::json;
use switchboard_aws::table::{Table, testing};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::watch,
    task::JoinSet,
};

pub(crate) const TABLE: &str = "switchboard";

/// What becomes of the requests that come to the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// They pass.
    Open,
    /// They get nowhere.
    Closed,
    /// They pass, but the answers to writes do not.
    Unanswered,
}

/// Stands between the workers and their table.
pub(crate) struct Gate {
    address: SocketAddr,
    way: watch::Sender<Way>,
}

impl Gate {
    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The table behind it, for one worker.
    pub(crate) async fn table(&self) -> Table {
        connect(self.address).await
    }
}

/// A table for the test, and the gate to it.
pub(crate) async fn open() -> (Table, Gate) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let table = listener.local_addr().unwrap();
    let database = dynoxide::Database::memory().unwrap();
    database.create_table(serde_json::from_value(definition()).unwrap()).unwrap();
    // The runtime of the test owns them: each test has its own and ends what is in it.
    Handle::current().spawn(dynoxide::server::serve_on(listener, database));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, way) = watch::channel(Way::Open);
    Handle::current().spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((worker, _)) = listener.accept().await {
            let way = way.clone();
            connections.spawn(async move {
                let Ok(table) = TcpStream::connect(table).await else { return };
                pass(worker, table, way).await;
            });
        }
    });
    (connect(table).await, Gate { address, way: sender })
}

async fn connect(address: SocketAddr) -> Table {
    Table::new(&testing::config(&format!("http://{address}")).await, TABLE.to_owned())
}

async fn pass(mut worker: TcpStream, mut table: TcpStream, mut way: watch::Receiver<Way>) {
    let mut writes = false;
    let (mut request, mut answer) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        // A connection over which a request has come ends as soon as the gate is closed.
        tokio::select! {
            biased;
            () = closed(&mut way) => return,
            read = worker.read(&mut request) => match read {
                Ok(length) if length > 0 => {
                    let text = String::from_utf8_lossy(&request[..length]);
                    // Of the pieces of a request the first one has its head.
                    if text.contains("DynamoDB_20120810.") {
                        writes = text.contains("DynamoDB_20120810.TransactWriteItems");
                    }
                    if table.write_all(&request[..length]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            read = table.read(&mut answer) => match read {
                Ok(length) if length > 0 && !(writes && *way.borrow() == Way::Unanswered) => {
                    if worker.write_all(&answer[..length]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}

async fn closed(way: &mut watch::Receiver<Way>) {
    // Fails only when the test is over.
    let _ = way.wait_for(|way| *way == Way::Closed).await;
}

/// As much of `template.yaml` as the worker needs.
fn definition() -> serde_json::Value {
    let key = |name, kind| json!({ "AttributeName": name, "KeyType": kind });
    json!({
        "TableName": TABLE,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            { "AttributeName": "pk", "AttributeType": "S" },
            { "AttributeName": "sk", "AttributeType": "S" },
        ],
        "KeySchema": [key("pk", "HASH"), key("sk", "RANGE")],
    })
}
