/// The largest JSON text, in bytes, that one value becomes: 16 MiB. A value that needs more is malformed.
pub const MAX_JSON_BYTES: usize = 16 << 20;

/// The largest schema text, and the largest answer of a registry, in bytes: 16 MiB.
pub const MAX_SCHEMA_BYTES: usize = 16 << 20;

/// The greatest depth of values that are nested in each other, and of references between schemas.
pub const MAX_DEPTH: usize = 64;

/// The longest name of a type with its namespace, or package: each name in it is compared with it before.
pub(crate) const MAX_NAME_BYTES: usize = 1000;

/// What an allocation takes beside its contents, about: the sizes of allocators have steps.
pub(crate) const ALLOCATION: usize = 16;

/// The memory that one schema may take once it is compiled, by an estimate that is seldom too low: 64 MiB. Compiling it
/// takes up to twice as much for a moment.
pub(crate) const MAX_COMPILED_BYTES: usize = 64 << 20;

/// How many schemas one schema may refer to, directly and through others.
pub const MAX_REFERENCES: usize = 100;
