//! The methods of a type around another one that are the same in each such type.

/// `get_ref`, `get_mut` and `into_inner` for a field.
macro_rules! accessors {
    ($field:ident: $type:ty, $what:literal) => {
        #[doc = concat!("The ", $what, " within.")]
        pub fn get_ref(&self) -> &$type {
            &self.$field
        }

        #[doc = concat!("The ", $what, " within, to change it.")]
        pub fn get_mut(&mut self) -> &mut $type {
            &mut self.$field
        }

        #[doc = concat!("Unwraps the ", $what, ".")]
        pub fn into_inner(self) -> $type {
            self.$field
        }
    };
}

/// Methods of `AsyncRead` and `AsyncWrite` that only call the same method of the byte stream in a field.
macro_rules! forward_io {
    ($field:ident: $($method:ident),+) => { $(forward_io!(@$method $field);)+ };

    (@poll_read $field:ident) => {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.$field).poll_read(cx, buffer)
        }
    };
    (@is_write_vectored $field:ident) => {
        fn is_write_vectored(&self) -> bool {
            self.$field.is_write_vectored()
        }
    };
    (@poll_flush $field:ident) => {
        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.$field).poll_flush(cx)
        }
    };
    (@poll_shutdown $field:ident) => {
        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.$field).poll_shutdown(cx)
        }
    };
}
