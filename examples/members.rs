//! How does an axum server stream only to clients with a valid token, and only while it is valid?
//!
//! Run `cargo run --example members`, then the `curl` lines that it prints. Ctrl-C ends the streams within
//! three seconds. The example creates the key of the issuer itself, so that it can print tokens. A real
//! server uses `Keys::issuer(ISSUER)` and creates no tokens.

use std::convert::Infallible;
use std::error::Error;
use std::future::ready;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::Router;
use axum::routing::get_service;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream;
use http::StatusCode;
use serde_json::json;
use tailwater::http::{
    Connection, HttpLayer, ListenOptions, ServeOptions, Shutdown, WriteDeadline, raise_open_files,
    serve,
};
use tailwater::jwt::{
    ConnectionSessions, Credentials, Guard, GuardOptions, Jwk, JwtLayer, Keys, Session,
};
use tailwater::session_lease;
use tailwater::sse::{Event, Events, Rejection, SseLayer, Subscription, from_stream};
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;
use tower::{Layer as _, Service as _, ServiceBuilder, service_fn};

const ISSUER: &str = "https://auth.example.com";
/// The roles that a token must have.
const ROLES: [&str; 1] = ["clock:read"];
const CHALLENGE: Duration = Duration::from_secs(20);
const DRAIN: Duration = Duration::from_secs(3);

/// The source: greets a member once a second. Rejects clients without a token, or without the roles.
fn greetings(subscription: &Subscription) -> Result<impl Events + use<>, Rejection> {
    let session = subscription.parts().extensions.get::<Session>();
    let session =
        session.ok_or_else(|| Rejection::new(StatusCode::UNAUTHORIZED, "there is no session"))?;
    if !session.token().has_roles(&ROLES) {
        return Err(Rejection::new(StatusCode::FORBIDDEN, "a role is missing"));
    }
    let greeting = format!("hello, {}", session.token().subject().unwrap_or("stranger"));
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    Ok(from_stream(stream::unfold((interval, greeting), async |(mut interval, greeting)| {
        interval.tick().await;
        Some((Ok::<_, Infallible>(Event::data(greeting.clone())), (interval, greeting)))
    })))
}

/// Takes the place of the server where users sign in.
struct Issuer(Ed25519KeyPair);

impl Issuer {
    fn key(&self) -> Jwk {
        let mut key = Jwk::default();
        key.kty = "OKP".to_owned();
        key.crv = Some("Ed25519".to_owned());
        key.kid = Some("1".to_owned());
        key.x = Some(URL_SAFE_NO_PAD.encode(self.0.public_key()));
        key
    }

    fn token(&self, roles: &str, life: Duration) -> Result<String, Box<dyn Error>> {
        let expiry = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)? + life;
        let header = json!({ "alg": "EdDSA", "kid": "1" });
        let claims =
            json!({ "iss": ISSUER, "sub": "ada", "scope": roles, "exp": expiry.as_secs() });
        let encode = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes()));
        Ok(format!("{message}.{signature}"))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address: SocketAddr = address.as_deref().unwrap_or("127.0.0.1:8080").parse()?;
    raise_open_files()?;

    let issuer = Issuer(Ed25519KeyPair::generate()?);
    let options = GuardOptions::new("members", Keys::list([issuer.key()])?)
        .issuer(ISSUER)
        .challenge(CHALLENGE);
    let guard = Guard::new(options);
    let shutdown = Shutdown::new();
    let source = service_fn(|subscription: Subscription| ready(greetings(&subscription)));
    // A stream ends with the token of its client, unless a fresh token with the same roles extends it.
    let lease = session_lease(|token| token.has_roles(&ROLES));
    let events = SseLayer::new().drain(&tailwater::drain(&shutdown)).lease(lease).layer(source);
    let router = Router::new().route("/greetings", get_service(events));

    let http = ServiceBuilder::new()
        .layer(HttpLayer::new().shutdown(shutdown.clone()))
        // It also answers challenge responses, on any path.
        .layer(JwtLayer::new(guard, Credentials::bearer()))
        .service(router);
    // One challenge response renews all streams of a client on an HTTP/2 connection.
    let service = service_fn(move |mut connection: Connection<WriteDeadline<TcpStream>>| {
        connection.extensions_mut().insert(ConnectionSessions::default());
        http.clone().call(connection)
    });

    let listener = ListenOptions::new().bind(address)?;
    let url = format!("http://{}/greetings", listener.local_address()?);
    let minute = issuer.token("clock:read", Duration::from_secs(60))?;
    let hour = issuer.token("clock:read", Duration::from_secs(3600))?;
    eprintln!("A stream of a minute:\n  curl -N -H 'Authorization: Bearer {minute}' {url}");
    eprintln!(
        "It is challenged after {} s. With the session of the challenge, one of an hour:\n  \
         curl -i -X POST -H 'Content-Type: application/x-challenge-response' \
         -H 'X-Challenge-Session: …' -H 'Authorization: Bearer {hour}' {url}",
        60 - CHALLENGE.as_secs()
    );
    let server = tokio::spawn(serve([listener], service, ServeOptions::new(), shutdown.clone()));

    tokio::signal::ctrl_c().await?;
    shutdown.begin(DRAIN);
    server.await?;
    Ok(())
}
