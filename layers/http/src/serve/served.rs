//! The task of one connection.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;
use tracing::debug;

use crate::connection::Connection;
use crate::error::BoxError;

pin_project! {
    /// Serves a connection, and logs an error. `K` is kept until then.
    ///
    /// The task of an idle stream has room for the future alone. An `async` block would also have room for the service
    /// and the socket, which are gone when there is a future, and its arguments twice.
    pub(super) struct Served<S, Io, K>
    where
        S: Service<Connection<Io>>,
    {
        // Until the service is ready.
        waiting: Option<Box<(S, Connection<Io>)>>,
        #[pin]
        future: Option<S::Future>,
        kept: K,
    }
}

impl<S, Io, K> Served<S, Io, K>
where
    S: Service<Connection<Io>>,
{
    pub(super) fn new(service: S, connection: Connection<Io>, kept: K) -> Self {
        Self { waiting: Some(Box::new((service, connection))), future: None, kept }
    }
}

impl<S, Io, K> Served<S, Io, K>
where
    S: Service<Connection<Io>, Response = ()>,
{
    fn poll_served(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let mut this = self.project();
        if let Some((service, _)) = this.waiting.as_deref_mut() {
            ready!(service.poll_ready(cx))?;
        }
        if let Some(waiting) = this.waiting.take() {
            let (mut service, connection) = *waiting;
            this.future.set(Some(service.call(connection)));
        }
        match this.future.as_pin_mut() {
            Some(future) => future.poll(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<S, Io, K> Future for Served<S, Io, K>
where
    S: Service<Connection<Io>, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let served = ready!(self.as_mut().poll_served(cx));
        if let Err(error) = served.map_err(Into::into) {
            debug!(error = &*error as &dyn Error, "connection failed");
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{Ready, ready};
    use std::io::ErrorKind;
    use std::sync::Arc;

    use tokio_test::task::spawn;
    use tokio_test::{assert_pending, assert_ready};

    use super::*;

    /// Is ready at the second poll, and has the result of its call at once.
    #[derive(Clone)]
    struct Slow(bool, Result<(), ErrorKind>);

    impl Service<Connection<()>> for Slow {
        type Response = ();
        type Error = BoxError;
        type Future = Ready<Result<(), BoxError>>;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            if std::mem::replace(&mut self.0, true) {
                return Poll::Ready(Ok(()));
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }

        fn call(&mut self, _: Connection<()>) -> Self::Future {
            assert!(self.0, "called before it was ready");
            ready(self.1.map_err(|kind| std::io::Error::from(kind).into()))
        }
    }

    #[test]
    fn the_service_is_called_when_it_is_ready_and_the_permit_is_kept_until_the_end() {
        for result in [Ok(()), Err(ErrorKind::BrokenPipe)] {
            let permit = Arc::new(());
            let served = Served::new(Slow(false, result), Connection::new(()), Arc::clone(&permit));
            let mut served = spawn(served);
            assert_pending!(served.poll());
            assert!(served.is_woken());
            assert_eq!(Arc::strong_count(&permit), 2);
            assert_ready!(served.poll());
            drop(served);
            assert_eq!(Arc::strong_count(&permit), 1);
        }
    }

    /// With a future of 56 bytes, as that of the program, the task fits 256 bytes: tokio adds some 100.
    #[test]
    fn a_connection_takes_little_more_than_its_future() {
        type Future = Ready<Result<[u64; 6], Infallible>>;
        #[expect(dead_code, reason = "only its size matters")]
        struct Large([u64; 32]);
        impl Service<Connection<[u64; 32]>> for Large {
            type Response = [u64; 6];
            type Error = Infallible;
            type Future = Future;
            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }
            fn call(&mut self, _: Connection<[u64; 32]>) -> Future {
                ready(Ok([0; 6]))
            }
        }
        let size = size_of::<Served<Large, [u64; 32], [u64; 2]>>();
        assert!(size <= size_of::<Future>() + 8 + 8 + 16, "{size}");
    }
}
