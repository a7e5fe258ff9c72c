//! The accessors that every type around another one has.

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
