use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalog::inline::numbered;
use crate::catalog::{Catalog, Framing, Lookup, SchemaId, SchemaKind, SchemaRef, SchemaText};
use crate::limits::MAX_SCHEMA_BYTES;

/// A catalog of files, which are read once. Each subject has one text, whatever the version.
///
/// The id of a schema is the CRC-32C of its text, as a signed number.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct FilesystemCatalog {
    subjects: HashMap<Arc<str>, Arc<SchemaText>>,
    ids: HashMap<SchemaId, Arc<SchemaText>>,
}

/// The file of a schema cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file cannot be read, or it is not UTF-8.
    #[error("schema file `{}` cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The file has more than [`MAX_SCHEMA_BYTES`].
    #[error("schema file `{}` has more than {MAX_SCHEMA_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

impl FilesystemCatalog {
    /// A catalog without schemas.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the file of a subject. This blocks.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is too large, or is not UTF-8.
    pub fn file(
        mut self,
        subject: impl Into<Arc<str>>,
        path: impl AsRef<Path>,
    ) -> Result<Self, FileError> {
        let path = path.as_ref();
        let read = |text: &mut String| {
            let limit = MAX_SCHEMA_BYTES as u64 + 1;
            File::open(path)?.take(limit).read_to_string(text)
        };
        let mut text = String::new();
        if let Err(source) = read(&mut text) {
            return Err(FileError::Read { path: path.to_owned(), source });
        }
        if text.len() > MAX_SCHEMA_BYTES {
            return Err(FileError::TooLarge { path: path.to_owned() });
        }
        let schema = numbered(text.into());
        self.ids.insert(schema.id(), Arc::clone(&schema));
        self.subjects.insert(subject.into(), schema);
        Ok(self)
    }
}

impl Catalog for FilesystemCatalog {
    fn look_up(&self, schema: &SchemaRef, _: SchemaKind) -> Lookup {
        let found = match schema {
            SchemaRef::Id(id) => self.ids.get(id),
            SchemaRef::Subject { subject, .. } => self.subjects.get(subject),
        };
        match found {
            Some(schema) => Lookup::Known(Arc::clone(schema)),
            None => Lookup::Missing,
        }
    }

    fn framing(&self) -> Framing {
        Framing::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_subject_and_by_id() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ids.avsc");
        std::fs::write(&path, "\"string\"").expect("a file");
        let catalog = FilesystemCatalog::new().file("ids", &path).expect("a schema");
        let look_up = |schema| catalog.look_up(&schema, SchemaKind::Avro);
        for version in ["latest", "1"] {
            let found = look_up(SchemaRef::subject("ids", version));
            assert!(matches!(found, Lookup::Known(_)), "{version}");
        }
        let id = SchemaId::Checksum(crc32c::crc32c(b"\"string\"") as i32);
        assert!(matches!(look_up(SchemaRef::Id(id)), Lookup::Known(schema) if schema.id() == id));
        assert!(matches!(look_up(SchemaRef::subject("other", "latest")), Lookup::Missing));
    }

    #[test]
    fn files_that_cannot_be_used_are_errors() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("schema");
        let file = |path: &Path| FilesystemCatalog::new().file("s", path).map(drop);
        assert!(matches!(file(&path), Err(FileError::Read { .. })));
        std::fs::write(&path, b"\xff").expect("a file");
        assert!(matches!(file(&path), Err(FileError::Read { .. })));
        std::fs::write(&path, vec![b' '; MAX_SCHEMA_BYTES]).expect("a file");
        assert!(file(&path).is_ok());
        std::fs::write(&path, vec![b' '; MAX_SCHEMA_BYTES + 1]).expect("a file");
        assert!(matches!(file(&path), Err(FileError::TooLarge { .. })));
    }
}
