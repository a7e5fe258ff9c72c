/// The largest JSON text, in bytes, that one value becomes: 16 MiB. A value that needs more is malformed.
pub const MAX_JSON_BYTES: usize = 16 << 20;

/// The largest schema text, and the largest answer of a registry, in bytes: 16 MiB.
pub const MAX_SCHEMA_BYTES: usize = 16 << 20;

/// The greatest depth of values that are nested in each other, and of references between schemas.
pub const MAX_DEPTH: usize = 64;

/// How many schemas one schema may refer to, directly and through others.
pub const MAX_REFERENCES: usize = 100;
