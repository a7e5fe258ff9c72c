//! The port for administration: what is served as JSON, and what an operator may change while it runs.
//!
//! It is no public port. Without a token it is bound to a loopback address or to a socket of the file system.
//! Browsers reach loopback addresses, too, so that a page of another site could send requests: those have an
//! `Origin`, or the name of that site as their `Host`.

use std::convert::Infallible;
use std::sync::Arc;

use ::http::Request;
use tailwater_http::Accept;
use tokio::sync::{Notify, Semaphore};
use tower::service_fn;

use crate::port;
use crate::stack::Handle;
use crate::telemetry::LogLevels;

mod access;
mod answers;
mod clusters;
mod described;
mod ending;
mod filter;
mod inspector;
mod listener;
mod query;
mod response;
mod streams;

use self::access::Access;
pub use self::access::{Token, TokenError};
pub(crate) use self::described::Described;
use self::inspector::Samples;
use self::listener::Bound;
pub use self::listener::{Address, AddressError};
use self::streams::Lister;

/// The maximum number of connections. If there are few open files, the maximum is lower.
pub(crate) const CONNECTIONS: usize = 32;

/// The options of the port for administration.
#[derive(Clone, Debug)]
#[must_use]
pub struct AdminOptions {
    address: Address,
    token: Option<Token>,
    levels: LogLevels,
}

/// The error of [`AdminOptions::new`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no loopback address, where a token is required")]
pub struct TokenRequired(Address);

impl AdminOptions {
    /// Administration at this address, and of this log. Requests need the token if there is one.
    ///
    /// # Errors
    /// The address is neither a loopback address nor a socket of the file system, and there is no token.
    pub fn new(
        address: Address,
        token: Option<Token>,
        levels: LogLevels,
    ) -> Result<Self, TokenRequired> {
        if token.is_none() && !address.is_local() {
            return Err(TokenRequired(address));
        }
        Ok(Self { address, token, levels })
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }
}

/// What requests for administration read and change.
#[derive(Debug)]
pub(crate) struct Admin {
    access: Access,
    handle: Handle,
    levels: LogLevels,
    described: Described,
    drain: Arc<Notify>,
    lister: Lister,
    samples: Samples,
    /// Whoever looks at all streams has this permit.
    turns: Arc<Semaphore>,
}

/// Binds the port, and answers there until the runtime ends. Notifies `drain` where a request asks for it.
pub(crate) fn start(
    options: AdminOptions,
    handle: Handle,
    described: Described,
    drain: Arc<Notify>,
) -> std::io::Result<Started> {
    let AdminOptions { address, token, levels } = options;
    let bound = listener::bind(&address)?;
    let name = bound.name();
    let max_connections = handle.max_admin_connections;
    let access = Access::new(token);
    let lister = Lister::new(handle.streams.clone());
    let samples = Samples::default();
    let turns = Arc::new(Semaphore::new(1));
    let admin = Admin { access, handle, levels, described, drain, lister, samples, turns };
    let admin = Arc::new(admin);
    tokio::spawn(inspector::sample(Arc::clone(&admin)));
    let socket = match bound {
        Bound::Tcp(listener) => {
            tokio::spawn(serve(admin, listener, max_connections));
            None
        }
        Bound::Unix(listener, file) => {
            tokio::spawn(serve(admin, listener, max_connections));
            Some(file)
        }
    };
    Ok(Started { name, _socket: socket })
}

/// The port, which ends with the runtime.
#[derive(Debug)]
pub(crate) struct Started {
    /// The address that was bound.
    pub(crate) name: String,
    /// The file of the socket, which is removed when this is dropped.
    _socket: Option<listener::SocketFile>,
}

async fn serve<A>(admin: Arc<Admin>, listener: A, max_connections: usize)
where
    A: Accept,
    A::Io: Send + 'static,
{
    let service = service_fn(move |request: Request<_>| {
        let admin = Arc::clone(&admin);
        async move { Ok::<_, Infallible>(admin.answer(request).await) }
    });
    port::serve(listener, service, max_connections).await;
}
