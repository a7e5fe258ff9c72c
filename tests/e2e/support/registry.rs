//! A registry of schemas, as far as a test needs one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Answers by path: status and body.
type Answers = HashMap<String, (u16, String)>;

/// A registry that listens until it is dropped. It keeps the heads of all requests.
pub(crate) struct Registry {
    address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// A port that nobody listens on.
pub(crate) async fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    listener.local_addr().expect("an address").port()
}

impl Registry {
    pub(crate) async fn new() -> Self {
        Self::at(0).await
    }

    pub(crate) async fn at(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        let address = listener.local_addr().expect("an address");
        let answers = Arc::<Mutex<Answers>>::default();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let task = tokio::spawn({
            let answers = Arc::clone(&answers);
            let requests = Arc::clone(&requests);
            async move {
                while let Ok((io, _)) = listener.accept().await {
                    tokio::spawn(answer(io, Arc::clone(&answers), Arc::clone(&requests)));
                }
            }
        });
        Self { address, answers, requests, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it answers from now on at a path. Elsewhere it has no schema.
    pub(crate) fn answer(&self, path: &str, status: u16, body: impl Into<String>) {
        self.answers.lock().expect("no panic").insert(path.to_owned(), (status, body.into()));
    }

    /// A schema of an id.
    pub(crate) fn schema(&self, id: u32, text: &str) {
        let body = serde_json::json!({"schema": text}).to_string();
        self.answer(&format!("/schemas/ids/{id}"), 200, body);
    }

    /// The latest version of a subject.
    pub(crate) fn subject(&self, subject: &str, id: u32, text: &str) {
        let body = serde_json::json!({"subject": subject, "version": 1, "id": id, "schema": text});
        self.answer(&format!("/subjects/{subject}/versions/latest"), 200, body.to_string());
        self.schema(id, text);
    }

    /// The heads of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    mut io: TcpStream,
    answers: Arc<Mutex<Answers>>,
    requests: Arc<Mutex<Vec<String>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match io.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let found = answers.lock().expect("no panic").get(path).cloned();
    requests.lock().expect("no panic").push(head);
    let missing = || (404, r#"{"error_code":40403,"message":"Schema not found"}"#.to_owned());
    let (status, body) = found.unwrap_or_else(missing);
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    );
    // The client may be gone.
    let _ = io.write_all(answer.as_bytes()).await;
}
