//! How does a stream end exactly when its client's token expires?
//!
//! `cargo run -p tailwater-jwt --example guarded`

#![expect(clippy::print_stdout, reason = "shows what happens")]

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, Response, StatusCode};
use serde_json::json;
use tailwater_jwt::{Credentials, Due, Guard, GuardOptions, Jwk, JwtLayer, Keys, Lease, Session};
use tower::{ServiceBuilder, ServiceExt, service_fn};

/// Takes the place of the server where users sign in.
struct Issuer(Ed25519KeyPair);

impl Issuer {
    fn key(&self) -> Result<Jwk, serde_json::Error> {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key());
        serde_json::from_value(json!({ "kty": "OKP", "crv": "Ed25519", "kid": "2026", "x": x }))
    }

    /// A token that is valid for two seconds.
    fn token(&self) -> Result<String, Box<dyn Error>> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64();
        let claims = json!({ "sub": "ada", "scope": "stream", "exp": now + 2.0 });
        let header = json!({ "alg": "EdDSA", "kid": "2026" });
        let encode = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes()));
        Ok(format!("{message}.{signature}"))
    }
}

/// A handler that returns the lease of a stream. The body of its response takes the place of the stream.
async fn handler(request: Request<()>) -> Result<Response<Option<Lease>>, Infallible> {
    let Some(session) = request.extensions().get::<Session>() else {
        return Ok(Response::new(None));
    };
    let demanded = ["stream"];
    if !session.token().has_roles(&demanded) {
        let mut forbidden = Response::new(None);
        *forbidden.status_mut() = StatusCode::FORBIDDEN;
        return Ok(forbidden);
    }
    // A token without the role does not extend the lease.
    Ok(Response::new(Some(session.lease(move |token| token.has_roles(&demanded)))))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let issuer = Issuer(Ed25519KeyPair::generate()?);
    let options = GuardOptions::new("members", Keys::list([issuer.key()?])?)
        .challenge(Duration::from_secs(1));
    let service = ServiceBuilder::new()
        .layer(JwtLayer::new(Guard::new(options), Credentials::bearer()))
        .service(service_fn(handler));

    let authorization = format!("Bearer {}", issuer.token()?);
    let request = Request::get("/events").header("authorization", authorization).body(())?;
    let response = service.clone().oneshot(request).await?;
    println!("GET /events: {}", response.status());
    let mut lease = response.into_body().ok_or("a stream")?;

    let mut renewals = 0;
    loop {
        match poll_fn(|cx| lease.poll_due(cx)).await {
            Due::Challenge(challenge) if renewals < 2 => {
                // A page calls fetch(url, options) with the JSON of the event and its fresh token.
                let options: serde_json::Value = serde_json::from_str(&challenge.json())?;
                let mut answer = Request::post("/events");
                for (name, value) in options["headers"].as_object().into_iter().flatten() {
                    answer = answer.header(name, value.as_str().unwrap_or_default());
                }
                let authorization = format!("Bearer {}", issuer.token()?);
                let answer = answer.header("authorization", authorization).body(())?;
                let response = service.clone().oneshot(answer).await?;
                renewals += 1;
                println!("challenge, answered: {}", response.status());
            }
            Due::Challenge(_) => println!("challenge, not answered"),
            Due::End => break,
            _ => {}
        }
    }
    println!("the token has expired: the stream ends, may send: {}", lease.permits());
    Ok(())
}
